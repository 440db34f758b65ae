import { until } from '../../setup/until.ts';
import { expectAtMost, expectEqual, type Fault } from '../harness/fault.ts';
import { POISON_AMOUNT } from '../harness/poison-app.ts';
import type { Stage } from '../harness/stage.ts';

const APP = 'test/faults/harness/poison-app.ts';
const LATER = 9;
const OTHERS = 90;
/** What a machine may be slower from one moment to the next. */
const OTHERS_LATER_MS = 500;

interface Tally {
  readonly _id: string;
  readonly _version: number;
  readonly amounts: readonly number[];
}
const DEAD = `{ deadLetters(filter: { consumer: "tallies" }, first: 10) { edges { node { id key state attempts parkedCount } } } }`;
const RETRY = `mutation { retryDeadLetters(filter: { consumer: "tallies" }, reason: "the handler is mended") { id } }`;

interface DeadLetters {
  readonly deadLetters: {
    readonly edges: readonly {
      readonly node: { readonly key: string; readonly state: string; readonly parkedCount: number };
    }[];
  };
}

export const poison: Fault = {
  id: 'F23',
  title: 'a handler always fails for one event; nine later ones of its key and ninety of others follow',
  target: 'others are not delayed; one dead letter with 9 parked; mended and retried it runs in order, once',
  async run(stage) {
    const start = (env: Record<string, string> = {}) =>
      Promise.all([stage.start('worker', { app: APP, env }), stage.start('worker', { app: APP, env })]);
    const workers = await start();
    await stage.start('gateway', { app: APP });
    await stage.follow();
    await stage.clients.open(10);
    const [bad = '', ...others] = stage.clients.accounts;
    const deposit = (account: string, amount: number) => stage.clients.command(0, 'deposit', account, amount);

    const each = OTHERS / others.length;
    let rounds = 0;
    /** Ninety commands of the others, sent and shown. */
    const ofOthers = async (): Promise<number> => {
      const begun = performance.now();
      rounds++;
      const ofOne = async (account: string): Promise<void> => {
        for (let n = 0; n < each; n++) await deposit(account, 1 + n);
      };
      await Promise.all(others.map(ofOne));
      await untilTallied(stage, others, each * rounds);
      return Math.round(performance.now() - begun);
    };
    await ofOthers();
    const beforeMs = await ofOthers();
    await deposit(bad, 1);
    await deposit(bad, POISON_AMOUNT);
    for (let n = 0; n < LATER; n++) await deposit(bad, 10 + n);
    const othersMs = await ofOthers();
    let seen: unknown;
    const dead = await until(
      'the key is dead with nine parked events',
      async () => {
        const { deadLetters } = await stage.clients.ask<DeadLetters>(0, DEAD, {});
        seen = deadLetters;
        const [only] = deadLetters.edges;
        return only?.node.state === 'DEAD' && only.node.parkedCount === LATER ? deadLetters : undefined;
      },
      { timeoutMs: 20_000, seen: () => seen },
    );
    expectEqual('dead letters', dead.edges.length, 1);
    expectEqual('what is shown of the key', (await tallyOf(stage, bad))?.amounts, [1]);

    // The mended code is deployed; nobody touches the data.
    await Promise.all(workers.map((worker) => worker.stop()));
    await start({ POISON_MENDED: '1' });
    const retriedMs = performance.now();
    await stage.clients.ask(0, RETRY, {});
    const expected = [1, POISON_AMOUNT, ...Array.from({ length: LATER }, (_, n) => 10 + n)];
    const healed = await until(
      'the key has all its events',
      async () => {
        const found = await tallyOf(stage, bad);
        return found !== undefined && found.amounts.length >= expected.length ? found : undefined;
      },
      { timeoutMs: 20_000 },
    );
    const healedMs = Math.round(performance.now() - retriedMs);
    expectEqual('its events in order, once', healed.amounts, expected);
    expectEqual('times that it was written', healed._version, expected.length);
    const left = await stage.clients.ask<DeadLetters>(0, DEAD, {});
    expectEqual('dead letters that are left', left.deadLetters.edges.length, 0);
    await stage.drained(20_000);
    expectAtMost('others are shown in ms', othersMs, 2 * beforeMs + OTHERS_LATER_MS);
    return {
      'dead letters': 1,
      parked: LATER,
      'others sent and shown ms': `${othersMs}, ${beforeMs} before`,
      'healed after the retry ms': healedMs,
    };
  },
};

const tallyOf = async (stage: Stage, id: string): Promise<Tally | undefined> =>
  (await stage.db.collection<Tally>('view_tally_g1').findOne({ _id: id })) ?? undefined;

async function untilTallied(stage: Stage, accounts: readonly string[], count: number): Promise<void> {
  let seen = 0;
  await until(
    'the others are tallied',
    async () => {
      const found = await stage.db
        .collection<Tally>('view_tally_g1')
        .find({ _id: { $in: [...accounts] } })
        .toArray();
      seen = found.filter(({ amounts }) => amounts.length >= count).length;
      return seen === accounts.length || undefined;
    },
    { timeoutMs: 20_000, seen: () => seen },
  );
}
