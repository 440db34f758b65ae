import { setTimeout as pause } from 'node:timers/promises';
import type { ChangeRound } from '../baselines/change-source.ts';
import { environment } from '../lib/append-contender.ts';
import { serve } from '../lib/serve.ts';
import { deposit, openAccounts, shown, startBank } from './bank.ts';

/** A Millrace that serves GraphQL, or its workers. ROLE: all, gateway or worker. */
const role = environment('ROLE') as 'all' | 'gateway' | 'worker';
const app = await startBank({ role, door: role !== 'worker' });

const STEP_MS = 10;
let turn = 0;

serve(
  {
    /** Opens the accounts. `shown`: answers when each is in its view, which needs workers. */
    prepare: (options: { readonly shown: boolean }) => openAccounts(app, options),
    url: () => `${app.url}/graphql`,
    /** Deposits at a rate, one account after the other; answers how many when all are acknowledged. */
    async changes({ perSecond, durationMs, accountCount }: ChangeRound): Promise<number> {
      const begun = performance.now();
      const sent: Promise<unknown>[] = [];
      for (let elapsed = 0; elapsed < durationMs; elapsed = performance.now() - begun) {
        const due = Math.floor((elapsed / 1_000) * perSecond);
        while (sent.length < due) sent.push(deposit(app, turn++ % accountCount));
        await pause(STEP_MS);
      }
      await Promise.all(sent);
      return sent.length;
    },
    /** One change of the first account. */
    changeOne: async () => void (await deposit(app, 0)),
    /** What is left of a round is not the next contender's load: resolves when the view shows all that was sent. */
    settle: async () => shown(app, 0, await deposit(app, 0)),
  },
  () => app.stop(),
);
