import { setTimeout as wait } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { module, observer } from '../../src/index.ts';
import type { InstanceDocument, PartitionDocument } from '../../src/store/documents.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { counter } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** Each process has looked who lives after the other had begun. */
async function bothKnown(fixture: DeliveryFixture): Promise<void> {
  const instances = fixture.connection.db.collection<InstanceDocument>('instances');
  await until('both to be known', async () => {
    const found = await instances.find().toArray();
    const since = Math.max(...found.map(({ startedAt }) => startedAt.getTime()));
    // They look once a second.
    const have = found.filter(({ heartbeatAt }) => heartbeatAt.getTime() > since + 500);
    return have.length === 2 ? true : undefined;
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
  await Promise.all([1, 2].map((worker) => fixture.startWorker({ modules: modulesOf(worker) })));
  await bothKnown(fixture);
  const COUNT = 500;
  for (let by = 0; by < COUNT; by += 10) {
    await fixture.append(Array.from({ length: 10 }, (_, index) => fixture.count(`k${(by + index) % 40}`, by + index)));
    await wait(150);
  }
  const partitions = fixture.connection.db.collection<PartitionDocument>('partitions');
  await until(
    'all partitions',
    async () => ((await partitions.countDocuments({ checkpoint: { $gte: COUNT } })) === 16 ? true : undefined),
    { timeoutMs: 30_000 },
  );
  const byWorker = [1, 2].map((worker) => seen.filter((one) => one.worker === worker).length);
  for (const count of byWorker) expect(count).toBeGreaterThan(COUNT / 10);
  expect(new Set(seen.map(({ by }) => by)).size).toBe(COUNT);
  expect(seen).toHaveLength(COUNT);
  const order = new Map<string, number[]>();
  for (const { id, by } of seen) order.set(id, [...(order.get(id) ?? []), by]);
  for (const numbers of order.values()) expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
}, 120_000);

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
  const workers = await Promise.all([1, 2].map((worker) => fixture.startWorker({ modules: modulesOf(worker) })));
  await bothKnown(fixture);
  // Long lines of one key beside short ones: what is before them is done, what is behind them is not begun.
  await fixture.append(Array.from({ length: 60 }, (_, index) => fixture.count(`k${index % 3}`, index)));
  await until('some', () => (seen.length > 3 ? true : undefined));
  const ofFirst = (): number => seen.filter(({ worker }) => worker === 1).length;
  const before = ofFirst();
  await workers[0]?.stop();
  // One of each key was in hand.
  expect(ofFirst() - before).toBeLessThanOrEqual(3);
  await until('all by the other', () => (seen.length >= 60 ? true : undefined), { timeoutMs: 30_000 });
  expect(new Set(seen.map(({ by }) => by)).size).toBe(60);
}, 120_000);
