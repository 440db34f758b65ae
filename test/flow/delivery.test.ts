import { afterEach, describe, expect, it } from 'vitest';
import { partitionOf } from '../../src/define/partition.ts';
import { consumerLag, deliveryHealth } from '../../src/engine/delivery/delivery-health.ts';
import type { Hint } from '../../src/engine/log/hint-bus.ts';
import { verifyLog } from '../../src/engine/log/verify.ts';
import { buildModel } from '../../src/index.ts';
import type { HintMessage } from '../../src/queue/hints.ts';
import type { ViewDocument } from '../../src/store/documents.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { counterModule, type TestWorker } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

const model = buildModel([counterModule()]);
const workers: TestWorker[] = [];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});
async function startWorker(fixture: DeliveryFixture, ...args: Parameters<DeliveryFixture['startWorker']>) {
  const worker = await fixture.startWorker(...args);
  workers.push(worker);
  return worker;
}

/** All partitions of all consumers have handled everything up to the end of the log. */
async function untilLevel(fixture: DeliveryFixture, end: number, timeoutMs = 60_000): Promise<void> {
  let seen: unknown;
  const look = async () => {
    const lag = await consumerLag(fixture.store, model);
    seen = lag.map(({ consumer, position, end: last }) => ({ consumer, position, last }));
    return lag.every(({ position }) => position >= end) || undefined;
  };
  await until(`all consumers at ${end}`, look, { timeoutMs, seen: () => seen });
}

const totals = (documents: ReadonlyMap<string, ViewDocument>) =>
  new Map(Array.from(documents, ([id, { total, count }]) => [id, { total, count }]));

/** What the views must hold, folded here from the commits. */
function expected(commits: readonly { stream: string; events: readonly { type: string; data: unknown }[] }[]) {
  const counters = new Map<string, { total: number; count: number }>();
  const groups = new Map<string, { total: number; count: number }>();
  const add = (into: typeof counters, id: string, by: number) => {
    const { total, count } = into.get(id) ?? { total: 0, count: 0 };
    into.set(id, { total: total + by, count: count + 1 });
  };
  for (const { stream, events } of commits) {
    for (const { data } of events) {
      const { by, group } = data as { by: number; group?: string };
      add(counters, stream.split('/')[2] ?? '', by);
      for (const id of group?.split(',') ?? []) add(groups, id, by);
    }
  }
  return { counters, groups };
}

describe('a worker', async () => {
  const fixture = await deliveryFixture();

  it('carries commits into the log and the views, each document with its marks', async () => {
    const worker = await startWorker(fixture);
    const hints: (Hint | HintMessage)[] = [];
    worker.hints.listen((hint) => hints.push(hint));
    const first = fixture.commit('a', [
      { type: 'Counted', data: { by: 5, group: 'x,y' } },
      { type: 'Counted', data: { by: 7 } },
    ]);
    const second = fixture.count('a', 1);
    await fixture.append([first]);
    await fixture.append([second]);
    await untilLevel(fixture, 3);

    const partition = partitionOf('a', 16);
    const document = (await fixture.documents()).get('a');
    expect(document).toMatchObject({
      _id: 'a',
      id: 'a',
      total: 13,
      count: 3,
      _partition: partition,
      _position: 3,
      _version: 3,
    });
    expect(document?._origins.map(({ commandId }) => commandId)).toEqual([first.command.id, second.command.id]);
    expect(totals(await fixture.documents('group'))).toEqual(
      new Map([
        ['x', { total: 5, count: 1 }],
        ['y', { total: 5, count: 1 }],
      ]),
    );
    const [reading] = (await fixture.store.partitions.read([{ consumer: 'counters', generation: 1 }])).filter(
      (one) => one.partition === partition,
    );
    expect(reading).toMatchObject({ revision: document?._revision, failure: undefined });
    // What is written is told a moment later.
    const told = await until('the hint of the last write', () =>
      hints.find(
        (hint) =>
          hint.kind === 'view' &&
          hint.view === 'counter' &&
          hint.partition === partition &&
          hint.revision === document?._revision,
      ),
    );
    expect(told).toMatchObject({ generation: 1, ids: ['a'], documents: [document] });
    await until('the hint of the log', () => hints.find((hint) => hint.kind === 'log' && hint.end === 3), {
      seen: () => hints,
    });
  });

  it('leaves a tombstone that counts on, and writes nothing where nothing changed', async () => {
    await startWorker(fixture);
    const end = await fixture.store.log.end();
    const before = (await fixture.documents()).get('a');
    await fixture.append([fixture.commit('a', [{ type: 'Dropped', data: {} }])]);
    await untilLevel(fixture, end + 1);
    const tombstone = (await fixture.documents()).get('a');
    expect(tombstone).toMatchObject({ _version: (before?._version ?? 0) + 1, _deleted: expect.any(Date) });
    expect(tombstone).not.toHaveProperty('total');

    // Removed already, and never there: neither is a change.
    await fixture.append([fixture.commit('a', [{ type: 'Dropped', data: {} }])]);
    await fixture.append([fixture.commit('never', [{ type: 'Dropped', data: {} }])]);
    await untilLevel(fixture, end + 3);
    expect((await fixture.documents()).get('a')).toEqual(tombstone);
    expect((await fixture.documents()).has('never')).toBe(false);

    await fixture.append([fixture.count('a', 2)]);
    await untilLevel(fixture, end + 4);
    const again = (await fixture.documents()).get('a');
    expect(again).toMatchObject({ total: 2, count: 1, _version: (before?._version ?? 0) + 2 });
    expect(again).not.toHaveProperty('_deleted');
  });

  it('goes on after a restart where it was', async () => {
    const end = await fixture.store.log.end();
    const commits = Array.from({ length: 900 }, (_, i) => fixture.count(`restart-${i % 40}`, i, `g${i % 3},h${i % 5}`));
    for (let start = 0; start < commits.length; start += 300) {
      const worker = await startWorker(fixture);
      await fixture.append(commits.slice(start, start + 300));
      await until('it is at work', async () => ((await fixture.store.log.end()) > end + start ? true : undefined));
      await worker.stop();
    }
    await startWorker(fixture);
    await untilLevel(fixture, end + 900);
    const want = expected(commits);
    const counters = totals(await fixture.documents());
    for (const [id, value] of want.counters) expect(counters.get(id)).toEqual(value);
    const groups = totals(await fixture.documents('group'));
    for (const [id, value] of want.groups) expect(groups.get(id)).toEqual(value);
  });
});

describe('effect once', async () => {
  const fixture = await deliveryFixture();

  it('a worker that stalled cannot commit: its step is refused as a whole', async () => {
    for (const consumer of model.consumers) await fixture.store.consumers.ensure(consumer);
    const ref = { consumer: 'counters', generation: 1 };
    const build = { view: 'counter', generation: 1 };
    const document = (id: string, total: number, revision: number): ViewDocument => ({
      ...{ _id: id, id, total, count: 1, _partition: 3, _revision: revision, _position: 1, _version: 1, _origins: [] },
    });
    const move = (partition: number, from: [number, number], to: [number, number]) => ({
      ...{ ...ref, partition, failure: undefined },
      from: { checkpoint: from[0], revision: from[1] },
      to: { checkpoint: to[0], revision: to[1] },
    });
    const { partitions } = fixture.store;
    const done = await partitions.commit(
      [move(3, [0, 0], [4, 1])],
      [{ build, documents: [document('in-time', 1, 1)] }],
    );
    expect(done.kind).toBe('committed');
    const stale = [move(2, [0, 0], [4, 1]), move(3, [0, 0], [4, 1])];
    const refused = await partitions.commit(stale, [{ build, documents: [document('too-late', 1, 1)] }]);
    expect(refused.kind).toBe('refused');
    expect([...(await fixture.documents()).keys()]).toEqual(['in-time']);
    const readings = await partitions.read([ref]);
    expect(readings.filter(({ revision }) => revision > 0).map(({ partition }) => partition)).toEqual([3]);
    // For the next test everything is as it was.
    const before = { $set: { checkpoint: 0, revision: 2 } };
    await fixture.connection.db.collection('partitions').updateOne({ ...ref, partition: 3 }, before);
    await fixture.connection.db.collection('view_counter_g1').deleteMany({});
  });

  it('several workers at once apply each event once, whoever is woken', async () => {
    await Promise.all([startWorker(fixture), startWorker(fixture), startWorker(fixture)]);
    const commits = Array.from({ length: 6_000 }, (_, i) =>
      fixture.count(`c${i % 200}`, i % 7, `g${i % 11},g${i % 13}`),
    );
    for (let start = 0; start < commits.length; start += 100) await fixture.append(commits.slice(start, start + 100));
    await untilLevel(fixture, 6_000);
    const want = expected(commits.map((commit) => ({ ...commit, events: commit.events.map(distinctGroups) })));
    expect(totals(await fixture.documents())).toEqual(want.counters);
    expect(totals(await fixture.documents('group'))).toEqual(want.groups);
    for (const { _version, count } of (await fixture.documents()).values()) expect(_version).toBe(count);
    expect(await verifyLog(fixture.store)).toMatchObject({ ok: true, end: 6_000 });
    expect(await deliveryHealth(fixture.store, model)).toEqual({ status: 'ready', reasons: [] });
  });
});

/** A group that is named twice is one document. */
function distinctGroups({ type, data }: { readonly type: string; readonly data: unknown }) {
  const { by, group } = data as { by: number; group: string };
  return { type, data: { by, group: [...new Set(group.split(','))].join(',') } };
}
