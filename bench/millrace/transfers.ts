import { module, start } from 'millrace';
import { MongoClient } from 'mongodb';
import { account } from '../../examples/bank/account.ts';
import { accountView, balances } from '../../examples/bank/balances.ts';
import { moneyTransfer } from '../../examples/bank/money-transfer.ts';
import { transfer } from '../../examples/bank/transfer.ts';
import { transfers, transferView } from '../../examples/bank/transfers.ts';
import { accountId, environment } from '../lib/append-contender.ts';
import { closedLoop } from '../lib/closed-loop.ts';
import { ACCOUNT_COUNT } from '../lib/options.ts';
import { serve } from '../lib/serve.ts';
import { deposit, openAccounts, settings } from './bank.ts';

/** The bank with its transfer saga, everything in one process. */
const client = await new MongoClient(environment('MONGODB_URL')).connect();
const events = client.db(environment('MONGODB_DATABASE')).collection<{ type: string }>('events');
const bank = module({
  name: 'bank',
  parts: [account, accountView, balances, transfer, transferView, transfers, moneyTransfer],
});
const app = await start({ modules: [bank], role: 'all', settings: settings() });

const IN_FLIGHT_COUNT = 64;
/** Transfers may be on their way for so long after the last order. */
const LEVEL_MAX_MS = 60_000;
let orderedCount = 0;

async function order(): Promise<void> {
  const from = orderedCount++ % ACCOUNT_COUNT;
  const to = (from + 1) % ACCOUNT_COUNT;
  const data = { from: accountId(from), to: accountId(to), amount: 1 };
  const outcome = await app.send(transfer, undefined, { type: 'RequestTransfer', data });
  if (outcome.kind !== 'accepted') throw new Error(`a transfer was not accepted: ${JSON.stringify(outcome)}`);
}

const ended = (): Promise<number> => events.countDocuments({ type: 'TransferCompleted' });

serve(
  {
    async prepare(): Promise<void> {
      await openAccounts(app, { shown: true });
      for (let round = 0; round < 10; round++) {
        await Promise.all(Array.from({ length: ACCOUNT_COUNT }, (_, i) => deposit(app, i)));
      }
    },
    /** Orders transfers for a while and waits until the last one has arrived. Transfers a second over the whole time. */
    async round(durationMs: number): Promise<number> {
      const before = orderedCount;
      const startMs = performance.now();
      await closedLoop({ concurrency: IN_FLIGHT_COUNT, durationMs, operation: order });
      const until = performance.now() + LEVEL_MAX_MS;
      for (let count = await ended(); count < orderedCount; count = await ended()) {
        if (performance.now() > until) throw new Error(`${count} of ${orderedCount} transfers have arrived`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return ((orderedCount - before) / (performance.now() - startMs)) * 1000;
    },
  },
  async () => {
    await app.stop();
    await client.close();
  },
);
