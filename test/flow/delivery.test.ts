import { afterEach, describe, expect, it } from 'vitest';
import { partitionOf } from '../../src/define/partition.ts';
import { consumerLag, deliveryHealth } from '../../src/engine/delivery-health.ts';
import type { Hint } from '../../src/engine/hint-bus.ts';
import { verifyLog } from '../../src/engine/verify.ts';
import { buildModel } from '../../src/index.ts';
import type { HintMessage } from '../../src/queue/hints.ts';
import type { ViewDocument } from '../../src/store/documents.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { logRecords } from '../setup/log-records.ts';
import { counterModule, fastTiming, type TestWorker } from '../setup/test-worker.ts';
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
async function untilLevel(fixture: DeliveryFixture, end: number, timeoutMs = 10_000): Promise<void> {
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
    const told = hints.filter(
      (hint) => hint.kind === 'view' && hint.view === 'counter' && hint.partition === partition,
    );
    expect(told.at(-1)).toMatchObject({
      generation: 1,
      revision: document?._revision,
      ids: ['a'],
      documents: [document],
    });
    expect(hints).toContainEqual({ kind: 'log', end: 3 });
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
    await partitions.commit([move(3, [4, 1], [0, 2])], []);
    await fixture.connection.db.collection('view_counter_g1').deleteMany({});
  });

  it('several workers at once apply each event once, whoever is woken', async () => {
    await Promise.all([startWorker(fixture), startWorker(fixture), startWorker(fixture)]);
    const commits = Array.from({ length: 6_000 }, (_, i) =>
      fixture.count(`c${i % 200}`, i % 7, `g${i % 11},g${i % 13}`),
    );
    for (let start = 0; start < commits.length; start += 100) await fixture.append(commits.slice(start, start + 100));
    await untilLevel(fixture, 6_000, 15_000);
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

describe('a handler that fails', async () => {
  const fixture = await deliveryFixture();
  const broken = 'broken';
  const partition = partitionOf(broken, 16);
  const reading = async () =>
    (await fixture.store.partitions.read([{ consumer: 'counters', generation: 1 }])).find(
      (one) => one.partition === partition,
    );

  it('stops its own partition before the event, visibly, and no other', async () => {
    const { logger, records } = logRecords();
    await startWorker(fixture, { logger, bug: { breaks: ({ id, by }) => id === broken && by === 666 } });
    await fixture.append([fixture.count(broken, 1), fixture.count(broken, 2)]);
    const breaking = fixture.count(broken, 666);
    await fixture.append([breaking, fixture.count(broken, 3)]);
    const others = Array.from({ length: 300 }, (_, i) => fixture.count(`fine-${i}`));
    await fixture.append(others);
    const elsewhere = others.filter(({ stream }) => partitionOf(stream.split('/')[2] ?? '', 16) !== partition);
    await until('the other partitions are level', async () => {
      const documents = await fixture.documents();
      return elsewhere.every(({ stream }) => documents.has(stream.split('/')[2] ?? '')) || undefined;
    });
    const failing = await until('the failure is on record', async () => (await reading())?.failure);
    expect(failing).toMatchObject({
      key: broken,
      position: 3,
      eventType: 'Counted',
      code: 'HANDLER_FAILED',
      attempts: expect.any(Number),
    });
    expect((await reading())?.checkpoint).toBe(2);
    expect((await fixture.documents()).get(broken)).toMatchObject({ total: 3, count: 2 });
    const health = await deliveryHealth(fixture.store, model);
    expect(health.status).toBe('degraded');
    expect(health.reasons.join()).toMatch(/"counters".*position 3.*key "broken".*HANDLER_FAILED/);
    expect(records).toContainEqual(
      expect.objectContaining({
        msg: 'a handler failed; its partition stands still before this event',
        consumer: 'counters',
        position: 3,
        eventType: 'Counted',
        key: broken,
        correlationId: breaking.meta.correlationId,
        attempts: 1,
        err: expect.objectContaining({ message: 'cannot count broken', stack: expect.any(String) }),
      }),
    );
  });

  it('is tried again, later each time', async () => {
    const before = await reading();
    await startWorker(fixture, { bug: { breaks: ({ by }) => by === 666 } });
    const after = await until('another attempt', async () => {
      const now = await reading();
      return (now?.failure?.attempts ?? 0) >= (before?.failure?.attempts ?? 0) + 2 ? now : undefined;
    });
    expect(after.failure?.since).toEqual(before?.failure?.since);
    expect(after.checkpoint).toBe(2);
  });

  it('goes on at once with mended code, in order, with nothing skipped', async () => {
    await startWorker(fixture);
    await untilLevel(fixture, await fixture.store.log.end());
    expect((await fixture.documents()).get(broken)).toMatchObject({ total: 672, count: 4, _version: 4 });
    expect((await reading())?.failure).toBeUndefined();
    expect(await deliveryHealth(fixture.store, model)).toEqual({ status: 'ready', reasons: [] });
  });

  it("a document that MongoDB does not take is its key's failure alone", async () => {
    const end = await fixture.store.log.end();
    const huge = 'x'.repeat(17_000_000);
    const worker = await startWorker(fixture, {
      bug: { breaks: () => false, text: (by) => (by === 17 ? huge : 'small') },
    });
    const commits = Array.from({ length: 60 }, (_, i) => fixture.count(`sized-${i % 20}`));
    await fixture.append([...commits.slice(0, 30), fixture.count(broken, 17), ...commits.slice(30)]);
    const failing = await until('the failure is on record', async () => (await reading())?.failure);
    expect(failing).toMatchObject({ key: broken, position: end + 31, code: 'VIEW_DOCUMENT_INVALID' });
    expect(failing.message.length).toBeLessThan(400);
    await until('the other partitions are level', async () => {
      const documents = await fixture.documents();
      const ids = new Set(commits.map(({ stream }) => stream.split('/')[2] ?? ''));
      return [...ids].every((id) => partitionOf(id, 16) === partition || documents.get(id)?.count === 3) || undefined;
    });
    await worker.stop();
    await startWorker(fixture);
    await untilLevel(fixture, end + 61);
  });

  it('an event of a type that no module knows stops the projectors that read from its aggregate', async () => {
    const end = await fixture.store.log.end();
    const worker = await startWorker(fixture, { timing: fastTiming });
    const unknown = fixture.commit(broken, [{ type: 'CountedTwice', data: {} }]);
    const foreign = {
      ...fixture.commit('elsewhere', [{ type: 'OfAnotherModule', data: {} }]),
      stream: 'default/other/elsewhere',
    };
    await fixture.append([foreign]);
    await untilLevel(fixture, end + 1);
    await fixture.append([unknown]);
    const failing = await until('the failure is on record', async () => (await reading())?.failure);
    expect(failing).toMatchObject({ key: broken, position: end + 2, eventType: 'CountedTwice', code: 'UNKNOWN_EVENT' });
    // With keys by id the other partitions of `counters` go on; `groups` has keys of its own and cannot tell whose it is.
    await fixture.append(Array.from({ length: 40 }, (_, i) => fixture.count(`on-${i}`, 1, 'held')));
    await until('other counters go on', async () => {
      const documents = await fixture.documents();
      const going = Array.from({ length: 40 }, (_, i) => `on-${i}`).filter((id) => partitionOf(id, 16) !== partition);
      return going.every((id) => documents.has(id)) || undefined;
    });
    expect((await fixture.documents('group')).has('held')).toBe(false);
    await worker.stop();
  });
});
