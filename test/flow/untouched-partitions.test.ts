import { beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { PARTITION_COUNT } from '../../src/define/model.ts';
import { partitionOf } from '../../src/define/partition.ts';
import { moveUntouched } from '../../src/engine/delivery/touched-partitions.ts';
import { decodeOnce } from '../../src/engine/log/decode-once.ts';
import { Sweep } from '../../src/engine/sweep/sweep.ts';
import { buildModel, module, projector, view } from '../../src/index.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import type { PartitionReading } from '../../src/store/partitions.ts';
import { counter } from '../setup/counter.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { logger } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** Partitions that lag though nothing in the log is theirs, and those that have work. */
const doc = z.object({ id: z.string(), sum: z.int() });
const sums = view('sum', doc);
const grouped = view('grouped', doc);
const projectors = [
  projector({ name: 'sums', version: 1, from: [counter], into: sums, on: { Counted: () => undefined } }),
  projector({
    ...{ name: 'groups', version: 1, from: [counter], into: grouped },
    key: () => 'all',
    on: { Counted: () => undefined },
  }),
];
const model = buildModel([module({ name: 'counts', parts: [counter, sums, grouped, ...projectors] })]);
const partitionCounts = new Map(model.consumers.map(({ name }) => [name, PARTITION_COUNT]));
const SUMS = { consumer: 'sums', generation: 1 };

let fixture: DeliveryFixture;
beforeAll(async () => {
  fixture = await deliveryFixture();
});
beforeEach(async () => {
  const { db } = fixture.connection;
  await Promise.all(['events', 'partitions', 'leases'].map((name) => db.collection(name).deleteMany({})));
  for (const consumer of model.consumers) await fixture.store.consumers.ensure(consumer);
  await rested();
});

/** As if nobody had written any partition for so long. */
async function rested(ms = 60_000): Promise<void> {
  const updatedAt = new Date(Date.now() - ms);
  await fixture.connection.db.collection('partitions').updateMany({}, { $set: { updatedAt } });
}

async function logged(ids: readonly string[], data: unknown = { by: 1 }): Promise<number> {
  const end = await fixture.store.log.end();
  const events = ids.map((id, index) => {
    const {
      events: [event],
      ...commit
    } = fixture.commit(id, [{ type: 'Counted', data }]);
    const { stream, version = 1, meta, at } = commit;
    return { _id: end + 1 + index, ...event, stream, version, meta, at, commandId: commit.command.id };
  });
  await fixture.connection.db.collection<LogDocument>('events').insertMany(events as never);
  return end + events.length;
}

const readings = (of = SUMS) => fixture.store.partitions.read([of]);
const reader = { read: (after: number, limit: number) => fixture.store.log.read(after, limit) };
const move = async (end: number): Promise<ReadonlySet<PartitionReading>> => {
  const decode = decodeOnce(model);
  const lagging = await fixture.store.partitions.read();
  return moveUntouched({ model, store: fixture.store, reader, decode, partitionCounts }, lagging, end);
};

describe('partitions without work', () => {
  test('follow the log; those that have some stay where they are', async () => {
    const end = await logged(['a', 'b', 'a']);
    const withWork = new Set(['a', 'b'].map((id) => partitionOf(id, PARTITION_COUNT)));
    const moved = await move(end);
    for (const { partition, checkpoint, revision } of await readings()) {
      expect({ partition, checkpoint, revision }).toEqual({
        ...{ partition, revision: 0 },
        checkpoint: withWork.has(partition) ? 0 : end,
      });
    }
    expect([...moved].filter(({ consumer }) => consumer === 'sums')).toHaveLength(PARTITION_COUNT - withWork.size);
  });

  test('that are written just now, fail, are paused or are far behind are left to their consumers', async () => {
    const end = await logged(['a']);
    const [one, two, three] = Array.from({ length: PARTITION_COUNT }, (_, partition) => partition).filter(
      (partition) => partition !== partitionOf('a', PARTITION_COUNT),
    );
    const { db } = fixture.connection;
    const set = (partition: number | undefined, fields: object) =>
      db.collection('partitions').updateOne({ ...SUMS, partition }, { $set: fields });
    await Promise.all([
      // By nobody's clock is that half a second ago.
      set(one, { updatedAt: new Date(Date.now() + 60_000) }),
      set(two, { failure: { position: 1, key: 'k', since: new Date() } }),
      set(three, { paused: true }),
    ]);
    await move(end);
    const left = (await readings()).filter(({ checkpoint }) => checkpoint === 0).map(({ partition }) => partition);
    expect(left.sort()).toEqual([one, two, three, partitionOf('a', PARTITION_COUNT)].sort());
    await rested();
    expect((await move(end + 5_000)).size).toBe(0);
  });

  test('do not pass an event whose keys cannot be told, where it may be any partition that it concerns', async () => {
    const end = await logged(['a'], { by: 'many' });
    await move(end);
    const at = async (of: typeof SUMS) => new Set((await readings(of)).map(({ checkpoint }) => checkpoint));
    expect(await at({ consumer: 'groups', generation: 1 })).toEqual(new Set([0]));
    // The other one keeps its events by stream: only that of the stream waits.
    expect(await at(SUMS)).toEqual(new Set([0, end]));
  });

  test('may be moved under a process that has them in hand: what it does next is written all the same', async () => {
    const end = await logged(['a']);
    const partition = (partitionOf('a', PARTITION_COUNT) + 1) % PARTITION_COUNT;
    await move(end);
    const { partitions } = fixture.store;
    const ref = { ...SUMS, partition, failure: undefined };
    const from = { checkpoint: 0, revision: 0 };
    // It knew of nothing beyond 0; an errand (a retry, say) leaves the checkpoint where it believes it to be.
    expect(await partitions.commit([{ ...ref, from, to: { checkpoint: 0, revision: 1 } }], [])).toMatchObject({
      kind: 'committed',
    });
    const found = (await readings()).find((one) => one.partition === partition);
    expect(found).toMatchObject({ checkpoint: end, revision: 1 });
    // That somebody did something in it meanwhile refuses it, as ever.
    const stale = [{ ...ref, from, to: { checkpoint: end + 1, revision: 1 } }];
    expect(await partitions.commit(stale, [])).toMatchObject({ kind: 'refused' });
    await partitions.moveEach([{ ...ref, from, to: { checkpoint: end + 1, revision: 0 } }]);
    expect((await readings()).find((one) => one.partition === partition)).toMatchObject({ checkpoint: end });
  });
});

describe('the sweep', () => {
  /** `idleMs`: for so long nobody has written any partition, whatever the time is; else it is as it is. */
  const sweeping = (membership: { uncertain: boolean }, still?: { idleMs: number }) => {
    const pushes: { partitions: readonly number[]; byJob: boolean | undefined; atMs: number }[] = [];
    const rounds = { beganCount: 0 };
    const { partitions } = fixture.store;
    const read: typeof partitions.read = async (...given) => {
      rounds.beganCount++;
      const found = await partitions.read(...given);
      return still === undefined ? found : found.map((one) => ({ ...one, idleMs: still.idleMs }));
    };
    const store = { ...fixture.store, partitions: { ...partitions, read } };
    const wake = (consumer: string, partitions: readonly number[], how?: { byJob?: boolean }): void => {
      if (consumer === 'sums') pushes.push({ partitions, byJob: how?.byJob, atMs: performance.now() });
    };
    const decode = decodeOnce(model);
    const sweep = new Sweep({
      ...{ store, model, instanceId: 'one', intervalMs: 50, logger, delivery: { wake } },
      membership: { buryDead: async () => undefined, ...membership },
      moveUntouched: (lagging, end) =>
        moveUntouched({ model, store: fixture.store, reader, decode, partitionCounts }, lagging, end),
    });
    sweep.start();
    onTestFinished(() => sweep.stop());
    return { sweep, pushes, rounds };
  };
  const own = partitionOf('a', PARTITION_COUNT);

  test('pushes work that nobody begins: by a job while all live, by itself when that does not help', async () => {
    await logged(['a']);
    const still = { idleMs: 2_500 };
    const { pushes } = sweeping({ uncertain: false }, still);
    await until('a job is sent', () => pushes.some(({ byJob }) => byJob) || undefined);
    expect(pushes[0]).toMatchObject({ partitions: [own], byJob: true });
    still.idleMs = 4_500;
    await until('it is pushed by hand', () => pushes.some(({ byJob }) => byJob === false) || undefined);
  });

  test('pushes by itself at once when a process may have died with its jobs', async () => {
    await logged(['a']);
    const { pushes } = sweeping({ uncertain: true }, { idleMs: 2_500 });
    await until('it is pushed', () => pushes[0]);
    expect(pushes[0]).toMatchObject({ partitions: [own], byJob: false });
  });

  test('leaves partitions alone whose first work after a rest came just now', async () => {
    await logged(['b']);
    const { sweep, pushes, rounds } = sweeping({ uncertain: true });
    await until('it sweeps', () => sweep.leads || undefined);
    const rest = async () =>
      (await readings()).find(({ partition }) => partition === own)?.checkpoint === 1 || undefined;
    await until('the partition of "a" has nothing to do', rest);
    await rested();
    const restedMs = performance.now();
    const { beganCount } = rounds;
    // The last of them but one is over when the last begins.
    await until('a whole round finds it at rest', () => rounds.beganCount >= beganCount + 2 || undefined);
    await logged(['a']);
    const push = await until('it is pushed after all', () => pushes.find(({ partitions }) => partitions.includes(own)));
    expect(push.atMs - restedMs).toBeGreaterThanOrEqual(2_000);
  });
});
