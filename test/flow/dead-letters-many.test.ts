import { expect, it } from 'vitest';
import { releaseErrand } from '../../src/engine/operators/operator-errands.ts';
import { deadLettersOf } from '../setup/dead-letters.ts';
import { deliveryFixture } from '../setup/delivery.ts';
import type { Bug } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

const KEYS = 1_500;

it('many dead keys are retried together: far fewer transactions than keys', async () => {
  const fixture = await deliveryFixture();
  const dead = deadLettersOf(fixture);
  let broken = true;
  const bug: Bug = { breaks: ({ by }) => broken && by === 666, retry: { attempts: 1 } };
  const worker = await fixture.startWorker({ bug });
  await fixture.append(Array.from({ length: KEYS }, (_, i) => fixture.count(`k${i}`, 666)));
  await fixture.append(Array.from({ length: KEYS }, (_, i) => fixture.count(`k${i}`, 1)));
  await until(
    'all are dead',
    async () => ((await dead.letters.countDocuments({ state: 'DEAD', parkedCount: 1 })) === KEYS ? true : undefined),
    {
      timeoutMs: 60_000,
    },
  );
  const revisions = async (): Promise<number> => {
    const partitions = await fixture.store.partitions.read([{ consumer: 'counters', generation: 1 }]);
    return partitions.reduce((sum, { revision }) => sum + revision, 0);
  };
  broken = false;
  const before = await revisions();
  const refs = await dead.letters.find({}, { projection: { partition: 1 } }).toArray();
  for (let start = 0; start < refs.length; start += 1_000) {
    const some = refs.slice(start, start + 1_000);
    await Promise.all(
      some.map(({ _id, partition }) => worker.delivery.errand('counters', partition, releaseErrand(_id))),
    );
  }
  await until('all are healed', async () => ((await dead.letters.countDocuments()) === 0 ? true : undefined), {
    timeoutMs: 60_000,
  });
  // Each key takes two: released, and tried.
  expect((await revisions()) - before).toBeLessThan(KEYS);
  const documents = await fixture.documents();
  expect(documents.size).toBe(KEYS);
  for (const document of documents.values()) expect(document).toMatchObject({ total: 667, count: 2, _version: 2 });
}, 300_000);
