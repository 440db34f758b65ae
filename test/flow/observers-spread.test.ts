import { setTimeout as wait } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { module, observer } from '../../src/index.ts';
import type { InstanceDocument, PartitionDocument } from '../../src/store/documents.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { counter, fastTiming, type TestWorker } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/**
 * Nobody dies here: a process that stands still for a second, with both workers in it, must not lose its jobs to the other one. And a
 * job that is not given back stays where it is for longer than a test waits: a stop has time to give back all.
 */
const timing = { ...fastTiming, job: { lockMs: 600_000, stalledCheckMs: 30_000 }, shutdownTimeoutMs: 60_000 };

const instancesOf = (fixture: DeliveryFixture) => fixture.connection.db.collection<InstanceDocument>('instances');

/**
 * A third process, that does nothing and never falls silent: then none thinks that it is alone and may take all partitions without a
 * job, as one does to which the other is silent for seconds. An event may be handled twice then.
 */
async function addIdle(fixture: DeliveryFixture): Promise<void> {
  const later = new Date(Date.now() + 3_600_000);
  const idle = { host: 'elsewhere', pid: 1, role: 'worker', sessions: [], consumers: [] };
  await instancesOf(fixture).insertOne({ _id: 'idle', ...idle, startedAt: later, heartbeatAt: later });
}

/** Each process has looked who lives after the other had begun. */
async function bothKnown(fixture: DeliveryFixture): Promise<void> {
  const beats = new Map<string, Set<number>>();
  await until('both to be known', async () => {
    const found = await instancesOf(fixture)
      .find({ host: { $ne: 'elsewhere' } })
      .toArray();
    const since = Math.max(...found.map(({ startedAt }) => startedAt.getTime()));
    for (const { _id, heartbeatAt } of found) {
      if (heartbeatAt.getTime() <= since) continue;
      beats.set(_id, (beats.get(_id) ?? new Set()).add(heartbeatAt.getTime()));
    }
    // Who beats looks after that: it has looked by its next beat.
    return [...beats.values()].filter(({ size }) => size >= 2).length === 2 ? true : undefined;
  });
}

it('events are handled once, in order, while partitions go back and forth between processes', async () => {
  const fixture = await deliveryFixture();
  const seen: { readonly worker: number; readonly id: string; readonly by: number }[] = [];
  const modulesOf = (worker: number) => {
    const slow = observer({
      name: 'slow',
      from: [counter],
      startFrom: 'start',
      on: {
        Counted: async ({ stream, data }) => {
          seen.push({ worker, id: stream.id, by: data.by });
          await wait(150);
        },
      },
    });
    return [module({ name: 'spread', parts: [counter, slow] })];
  };
  await addIdle(fixture);
  await Promise.all([1, 2].map((worker) => fixture.startWorker({ modules: modulesOf(worker), timing })));
  await bothKnown(fixture);
  const COUNT = 500;
  for (let by = 0; by < COUNT; by += 10) {
    await fixture.append(Array.from({ length: 10 }, (_, index) => fixture.count(`k${(by + index) % 40}`, by + index)));
    await wait(150);
  }
  const partitions = fixture.connection.db.collection<PartitionDocument>('partitions');
  await until('all partitions', async () =>
    (await partitions.countDocuments({ checkpoint: { $gte: COUNT } })) === 16 ? true : undefined,
  );
  const byWorker = [1, 2].map((worker) => seen.filter((one) => one.worker === worker).length);
  for (const count of byWorker) expect(count).toBeGreaterThan(COUNT / 10);
  expect(new Set(seen.map(({ by }) => by)).size).toBe(COUNT);
  expect(seen).toHaveLength(COUNT);
  const order = new Map<string, number[]>();
  for (const { id, by } of seen) order.set(id, [...(order.get(id) ?? []), by]);
  for (const numbers of order.values()) expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
});

it('a process that stops gives its partitions back as soon as the handlers in hand have ended', async () => {
  const fixture = await deliveryFixture();
  const seen: { readonly worker: number; readonly by: number }[] = [];
  const modulesOf = (worker: number) => {
    const slow = observer({
      name: 'slow',
      from: [counter],
      startFrom: 'start',
      on: {
        Counted: async ({ data }) => {
          await wait(300);
          seen.push({ worker, by: data.by });
        },
      },
    });
    return [module({ name: 'spread', parts: [counter, slow] })];
  };
  // Else the one that stays is alone after the stop and takes all partitions, given back or not.
  await addIdle(fixture);
  const workers = await Promise.all(
    [1, 2].map((worker) => fixture.startWorker({ modules: modulesOf(worker), timing })),
  );
  await bothKnown(fixture);
  // Long lines of one key beside short ones: what is before them is done, what is behind them is not begun.
  await fixture.append(Array.from({ length: 60 }, (_, index) => fixture.count(`k${index % 3}`, index)));
  await until('some', () => (seen.length > 3 ? true : undefined));
  const countOf = (worker: number): number => seen.filter((one) => one.worker === worker).length;
  const leaving = countOf(1) > countOf(2) ? 1 : 2;
  // Its consumers are the last that it stops.
  const { delivery, stop } = workers[leaving - 1] as TestWorker;
  const letGo = delivery.letGo.bind(delivery);
  let before = Number.NaN;
  delivery.letGo = () => {
    if (Number.isNaN(before)) before = countOf(leaving);
    letGo();
  };
  await stop();
  // One of each key was in hand.
  expect(countOf(leaving) - before).toBeLessThanOrEqual(3);
  const handled = () => new Set(seen.map(({ by }) => by)).size;
  await until('all by the other', () => (handled() === 60 ? true : undefined), { seen: handled });
});
