import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { aggregate, type RunningApp } from '../../src/index.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import type { CommitDocument, SnapshotDocument } from '../../src/store/documents.ts';
import { startCommandApp } from '../setup/command-app.ts';
import { testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

/** Nothing is kept in memory: every command loads its stream. */
const COLD = { role: 'gateway', env: { AGGREGATE_CACHE_COUNT: '0' } } as const;
const EVERY = 10;
const servers = testServers();
let connection: Connection;
beforeAll(async () => {
  connection = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
});
afterAll(async () => {
  await connection.client.close();
});
const snapshots = () => connection.db.collection<SnapshotDocument>('snapshots');
const commits = () => connection.db.collection<CommitDocument>('commits');
const streamOf = (id: string): string => `default/meter/${id}`;
const snapshotAt = (id: string, version: number): Promise<SnapshotDocument> =>
  until(`${id} has a snapshot at ${version}`, async () => {
    const found = await snapshots().findOne({ _id: streamOf(id) });
    return found !== null && found.version >= version ? found : undefined;
  });

/** Events that were folded in this process. */
let foldedCount = 0;
interface Meter {
  readonly total: number;
}
const definition = {
  name: 'meter',
  events: { Added: z.object({ by: z.int(), totalBefore: z.int() }), Stopped: z.object({}) },
  commands: { Add: z.object({ by: z.int() }), Stop: z.object({}) },
  closes: ['Stopped'],
  initial: (): Meter => ({ total: 0 }),
  decide: {
    Add: ({ total }: Meter, { by }: { by: number }) => ({ type: 'Added', data: { by, totalBefore: total } }) as const,
    Stop: () => ({ type: 'Stopped', data: {} }) as const,
  },
} as const;
const meter = (snapshot: { every?: number; version: number } | null = { every: EVERY, version: 1 }) =>
  aggregate({
    ...definition,
    ...(snapshot && { snapshot }),
    evolve: {
      Added: ({ total }, { by }) => {
        foldedCount++;
        return { total: total + by };
      },
      Stopped: (state) => state,
    },
  });
/** The same events mean another state. */
const doubled = aggregate({
  ...definition,
  snapshot: { every: EVERY, version: 1 },
  evolve: { Added: ({ total }, { by }) => ({ total: total + 2 * by }), Stopped: (state) => state },
});

async function add(app: RunningApp, id: string, count = 1): Promise<number> {
  let before = Number.NaN;
  for (let done = 0; done < count; done++) {
    const outcome = await app.send(meter(), id, { type: 'Add', data: { by: 1 } });
    if (outcome.kind !== 'accepted') throw new Error(JSON.stringify(outcome));
    before = (outcome.events as readonly { data: { totalBefore: number } }[])[0]?.data.totalBefore ?? Number.NaN;
  }
  return before;
}
/** Events that one more command folds. */
async function folded(app: RunningApp, id: string): Promise<number> {
  foldedCount = 0;
  await add(app, id);
  return foldedCount;
}

describe('a stream with snapshots', () => {
  let app: RunningApp;
  beforeAll(async () => {
    app = await startCommandApp(servers, [meter()], COLD);
  });

  test('is loaded from the last one on', async () => {
    expect(await add(app, 'long', 35)).toBe(34);
    // Written beside the commands: a load that comes before that offers what it folded, which is a little newer.
    const { version, state, closed } = await snapshotAt('long', 30);
    expect({ state, closed }).toEqual({ state: JSON.stringify({ total: version }), closed: false });
    expect(await folded(app, 'long')).toBeLessThanOrEqual(7);
    expect(await add(app, 'long')).toBe(36);
  });
  test('gets one by being loaded where it had none', async () => {
    const plain = await startCommandApp(servers, [meter(null)], COLD);
    await add(plain, 'old', 25);
    expect(await snapshots().findOne({ _id: streamOf('old') })).toBeNull();
    expect(await folded(app, 'old')).toBeGreaterThanOrEqual(25);
    expect(JSON.parse((await snapshotAt('old', 25)).state)).toEqual({ total: 25 });
    expect(await folded(app, 'old')).toBeLessThan(EVERY);
  });
  test.each<[string, (id: string) => Promise<unknown>]>([
    [
      'its state was changed',
      (id) => snapshots().updateOne({ _id: streamOf(id) }, { $set: { state: '{"total":1000000}' } }),
    ],
    [
      'it says that the stream is closed',
      (id) => snapshots().updateOne({ _id: streamOf(id) }, { $set: { closed: true } }),
    ],
    ['its version was changed', (id) => snapshots().updateOne({ _id: streamOf(id) }, { $inc: { version: 5 } })],
    [
      'a part of it is missing',
      (id) => snapshots().updateOne({ _id: streamOf(id) }, { $unset: { state: '', check: '' } }),
    ],
    [
      'it is that of another stream',
      async (id) => {
        const { _id, ...other } = (await snapshots().findOne({ _id: streamOf('long') })) as SnapshotDocument;
        await snapshots().replaceOne({ _id: streamOf(id) }, other);
      },
    ],
    [
      'the commits after it are gone (a restored backup)',
      (id) => commits().deleteMany({ stream: streamOf(id), version: { $gt: 12 } }),
    ],
  ])('is folded from its beginning when %s', async (what, change) => {
    const id = what.replaceAll(/\W/g, '');
    await add(app, id, 20);
    await snapshotAt(id, 20);
    await change(id);
    const rest = await commits().countDocuments({ stream: streamOf(id) });
    expect(await add(app, id)).toBe(rest);
    const [last] = await commits()
      .find({ stream: streamOf(id) })
      .sort({ version: -1 })
      .limit(1)
      .toArray();
    expect(last?.version).toBe(rest + 1);
  });
  test('is folded from its beginning when another history has grown past its snapshot', async () => {
    await add(app, 'restored', 20);
    const stale = await snapshotAt('restored', 20);
    await commits().deleteMany({ stream: streamOf('restored'), version: { $gt: 12 } });
    // As if a part of the fleet kept no snapshots: the stale one stays where it is.
    const plain = await startCommandApp(servers, [meter(null)], COLD);
    for (let count = 0; count < 8; count++) {
      const outcome = await plain.send(meter(), 'restored', { type: 'Add', data: { by: 100 } });
      if (outcome.kind !== 'accepted') throw new Error(JSON.stringify(outcome));
    }
    expect(await snapshots().findOne({ _id: streamOf('restored') })).toEqual(stale);
    expect(await add(app, 'restored')).toBe(12 + 8 * 100);
    const replaced = await until('the stale snapshot is replaced', async () => {
      const found = await snapshots().findOne({ _id: streamOf('restored') });
      return found !== null && found.check !== stale.check ? found : undefined;
    });
    expect(JSON.parse(replaced.state)).toEqual({ total: 12 + (replaced.version - 12) * 100 });
  });
  test('refuses everything after its end, also right after a snapshot', async () => {
    const closing = await startCommandApp(servers, [meter({ every: 1, version: 1 })], COLD);
    await add(closing, 'over', 3);
    await closing.send(meter(), 'over', { type: 'Stop', data: {} });
    expect(await snapshotAt('over', 4)).toMatchObject({ version: 4, closed: true });
    foldedCount = 0;
    expect(await closing.send(meter(), 'over', { type: 'Add', data: { by: 1 } })).toMatchObject({ code: 'CLOSED' });
    expect(foldedCount).toBe(0);
  });
  test('keeps a snapshot that a replay agrees with, while two processes write it at once', async () => {
    const other = await startCommandApp(servers, [meter()], { role: 'gateway' });
    const all = Array.from({ length: 200 }, (_, index) =>
      (index % 2 === 0 ? app : other).send(meter(), 'shared', { type: 'Add', data: { by: 1 } }),
    );
    const outcomes = await Promise.all(all);
    const accepted = outcomes.filter(({ kind }) => kind === 'accepted').length;
    const { version, state } = await snapshotAt('shared', Math.floor(accepted / EVERY) * EVERY);
    expect(JSON.parse(state)).toEqual({ total: version });
    expect(await add(app, 'shared')).toBe(accepted);
  });
});

describe('other code', () => {
  test('does not take a snapshot whose reducer was another, and what it answers is what a full replay gives', async () => {
    const before = await startCommandApp(servers, [meter()], COLD);
    await add(before, 'changed', 20);
    await snapshotAt('changed', 20);
    const after = await startCommandApp(servers, [doubled], COLD);
    expect(await add(after, 'changed')).toBe(40);
    const replaced = await until('the snapshot is of the new code', async () => {
      const found = await snapshots().findOne({ _id: streamOf('changed') });
      return found !== null && found.version > 19 && (JSON.parse(found.state) as Meter).total > 30 ? found : undefined;
    });
    expect(replaced.state).toBe(JSON.stringify({ total: 2 * replaced.version }));
    // Both at once, as in a rolling deployment: each is right by its own code.
    expect(await add(before, 'changed')).toBe(21);
    expect(await add(after, 'changed')).toBe(44);
  });
  test('with a raised version folds anew', async () => {
    const first = await startCommandApp(servers, [meter()], COLD);
    await add(first, 'raised', 20);
    await snapshotAt('raised', 20);
    const second = await startCommandApp(servers, [meter({ every: EVERY, version: 2 })], COLD);
    expect(await folded(second, 'raised')).toBeGreaterThanOrEqual(20);
  });
});

test('a state that JSON does not give back is not kept', async () => {
  const dated = aggregate({
    ...definition,
    name: 'dated',
    snapshot: { every: 1, version: 1 },
    initial: (): { total: number; at: Date } => ({ total: 0, at: new Date(0) }),
    evolve: { Added: ({ total, at }, { by }) => ({ total: total + by, at }), Stopped: (state) => state },
    decide: {
      Add: ({ total, at }, { by }) => ({ type: 'Added', data: { by, totalBefore: at.getTime() + total } }),
      Stop: () => ({ type: 'Stopped', data: {} }),
    },
  });
  const app = await startCommandApp(servers, [dated], COLD);
  for (let count = 0; count < 3; count++) {
    const outcome = await app.send(dated, 'd', { type: 'Add', data: { by: 1 } });
    expect(outcome).toMatchObject({ kind: 'accepted', events: [{ data: { totalBefore: count } }] });
  }
  // Written before the process stops, if at all.
  await app.stop();
  expect(await snapshots().findOne({ _id: 'default/dated/d' })).toBeNull();
});

test.each([{ version: 0 }, { version: 1, every: 0 }, { version: 1, every: 1.5 }])(
  'snapshot %j is refused at start',
  async (snapshot) => {
    await expect(startCommandApp(servers, [meter(snapshot)], COLD)).rejects.toMatchObject({
      code: 'DEFINITION_INVALID',
    });
  },
);
