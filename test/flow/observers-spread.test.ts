import { setTimeout as wait } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { module, observer } from '../../src/index.ts';
import type { PartitionDocument } from '../../src/store/documents.ts';
import { deliveryFixture } from '../setup/delivery.ts';
import { counter } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

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
  const instances = fixture.connection.db.collection('instances');
  await until('both to be known', async () => ((await instances.countDocuments()) === 2 ? true : undefined));
  // Each hears of the other within a heartbeat.
  await wait(2_000);
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
}, 60_000);
