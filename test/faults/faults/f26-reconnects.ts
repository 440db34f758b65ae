import { until } from '../../setup/until.ts';
import type { Fault } from '../harness/fault.ts';
import { expectEqual } from '../harness/fault.ts';
import { pause } from '../harness/moments.ts';
import { POISON_AMOUNT } from '../harness/poison-app.ts';
import type { Stage } from '../harness/stage.ts';
import { type Shown, StockFollower, ViewFollower, type ViewQuery } from '../harness/view-followers.ts';

const APP = 'test/faults/harness/poison-app.ts';
const CLIENTS = 10;
/** Documents come into it and leave it as money moves. */
const MIDDLE = { gte: 60, lt: 140 };
const DEAD = '{ deadLetters(filter: { consumer: "tallies" }, first: 10) { edges { node { state } } } }';
const RETRY = 'mutation { retryDeadLetters(filter: { consumer: "tallies" }, reason: "mended") { id } }';

interface Watched {
  readonly query: ViewQuery;
  readonly follower: {
    readonly shown: Shown;
    readonly connectCount: number;
    disconnect(): boolean;
    end(): Promise<void>;
  };
  /** What it has to show in the end. */
  readonly stored: () => Promise<ReadonlyMap<string, unknown>>;
}

export const reconnects: Fault = {
  id: 'F26',
  title:
    'subscribers of the log, of documents and of lists lose their connections hard, at random, over two gateways; meanwhile a dead letter is healed',
  target:
    'log: 0 gaps, 0 repetitions; views: versions only rise, the end is the read model, also of the healed key, and no GAP but for cut snapshots',
  profiles: ['production'],
  timeoutMs: 240_000,
  async run(stage, size) {
    const cutTarget = size === 'brief' ? 60 : 500;
    const workers = await Promise.all([0, 1].map(() => stage.start('worker', { app: APP })));
    await Promise.all([0, 1].map(() => stage.start('gateway', { app: APP })));
    await stage.follow();
    await stage.clients.open(20);
    const bad = stage.clients.accounts[0] ?? '';
    await stage.clients.command(0, 'deposit', bad, POISON_AMOUNT);
    await until('the key is dead', async () => (await deadState(stage)).includes('"DEAD"') || undefined, {
      timeoutMs: 20_000,
    });
    // Nothing may be on its way when they begin.
    await stage.drained(20_000);
    const followers = [];
    for (let n = 0; n < CLIENTS; n++) followers.push(await stage.follow());
    const watched = watchers(stage, bad);
    try {
      const all = [...followers, ...watched.map(({ follower }) => follower)];
      const over = new AbortController();
      const working = stage.clients.run({ clientCount: 40, perSecond: 200, signal: over.signal, readShare: 0 });
      const mending = { begun: false, done: Promise.resolve() };
      const begunMs = performance.now();
      let cuts = 0;
      while (cuts < cutTarget) {
        await pause(10 + stage.random.below(40));
        if (stage.random.pick(all).disconnect()) cuts++;
        if (cuts < cutTarget / 2 || mending.begun) continue;
        mending.begun = true;
        mending.done = mend(stage, workers);
      }
      await mending.done;
      const cutMs = performance.now() - begunMs;
      over.abort();
      await working;
      const drainMs = await stage.drained(30_000);
      for (const { query, follower, stored } of watched) {
        await until(
          `${query.field}(${query.args}) shows what the view has`,
          async () => follower.shown.difference(await stored()).length === 0 || undefined,
          { timeoutMs: 20_000, seen: () => [...follower.shown.documents] },
        );
        expectEqual(`versions that went back in ${query.field}(${query.args})`, follower.shown.regressions, []);
        const gaps = [...follower.shown.gaps.keys()].filter((reason) => reason !== 'INCOMPLETE');
        expectEqual(`gaps in ${query.field}(${query.args})`, gaps, []);
      }
      const sum = (of: (shown: Shown) => number): number =>
        watched.reduce((total, { follower }) => total + of(follower.shown), 0);
      const events = await stage.store.log.end();
      return {
        'of the log': CLIENTS,
        'of views': watched.length,
        'connections cut': cuts,
        'cuts/s': Math.round((cuts * 1_000) / cutMs),
        connects: all.reduce((total, { connectCount }) => total + connectCount, 0),
        events,
        'events/s': Math.round((events * 1_000) / cutMs),
        'changes sent': sum((shown) => shown.changeCount),
        'sent twice': sum((shown) => shown.repeatCount),
        'cut snapshots': sum((shown) => shown.gaps.get('INCOMPLETE') ?? 0),
        healed: 1,
        'drain ms': drainMs,
      };
    } finally {
      await Promise.all(watched.map(({ follower }) => follower.end()));
    }
  },
};

/** Some go by the docs and connect anew with `after`; some are graphql-ws's own client with its retries. */
function watchers(stage: Stage, bad: string): Watched[] {
  const accounts: ViewQuery = { field: 'accountsChanged', args: '', select: 'balance' };
  const middle = `filter: { balance: { gte: ${MIDDLE.gte}, lt: ${MIDDLE.lt} } }`;
  const one = (id: string): ViewQuery => ({ field: 'accountChanged', args: `id: "${id}"`, select: 'balance' });
  const balances = async (filter: object): Promise<ReadonlyMap<string, unknown>> => {
    const found = stage.db.collection<{ _id: string; balance: number }>('view_account_g1').find(filter);
    return new Map(await found.map(({ _id, balance }) => [_id, { balance }] as const).toArray());
  };
  const tallies = async (filter: object): Promise<ReadonlyMap<string, unknown>> => {
    const found = stage.db.collection<{ _id: string; amounts: number[] }>('view_tally_g1').find(filter);
    return new Map(await found.map(({ _id, amounts }) => [_id, { amounts }] as const).toArray());
  };
  const [, a = '', b = ''] = stage.clients.accounts;
  const wanted: readonly Pick<Watched, 'query' | 'stored'>[] = [
    { query: accounts, stored: () => balances({}) },
    { query: { ...accounts, args: middle }, stored: () => balances({ balance: { $gte: MIDDLE.gte, $lt: MIDDLE.lt } }) },
    { query: one(a), stored: () => balances({ _id: a }) },
    { query: one(b), stored: () => balances({ _id: b }) },
    { query: { field: 'talliesChanged', args: '', select: 'amounts' }, stored: () => tallies({}) },
    { query: { field: 'tallyChanged', args: `id: "${bad}"`, select: 'amounts' }, stored: () => tallies({ _id: bad }) },
  ];
  const ports = (): readonly number[] => stage.ports;
  return wanted.flatMap(({ query, stored }, turn) => [
    { query, stored, follower: new ViewFollower(ports, turn, query).start() },
    { query, stored, follower: new StockFollower(ports, turn + 1, query) },
  ]);
}

/** Other workers with mended code; then the key that is dead is tried again. */
async function mend(stage: Stage, workers: readonly { stop(): Promise<unknown> }[]): Promise<void> {
  await Promise.all([0, 1].map(() => stage.start('worker', { app: APP, env: { POISON_MENDED: '1' } })));
  await Promise.all(workers.map((worker) => worker.stop()));
  await stage.clients.ask(0, RETRY, {});
  await until('nothing is dead any more', async () => !(await deadState(stage)).includes('"state"') || undefined, {
    timeoutMs: 60_000,
  });
}

const deadState = async (stage: Stage): Promise<string> => JSON.stringify(await stage.clients.ask(0, DEAD, {}));
