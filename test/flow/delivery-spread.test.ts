import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, it } from 'vitest';
import { PARTITION_COUNT } from '../../src/define/model.ts';
import { partitionOf } from '../../src/define/partition.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { testServers } from '../setup/servers.ts';
import { LOG_ID, productionTiming, type TestWorker } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** Where the partitions of a consumer are while events come. */
const servers = testServers();
const redis = new Redis(servers.redisUrl, { maxRetriesPerRequest: null });
const jobs = new Queue(`${LOG_ID}-counters-v1`, { connection: redis, prefix: servers.prefix });
afterAll(async () => {
  await jobs.close();
  await redis.quit();
});

const COUNTER_COUNT = 100;
/** Of the key whose job a dead process has. */
const EVENT_COUNT = 40;
let appendedCount = 0;

async function lag(fixture: DeliveryFixture): Promise<number> {
  const readings = await fixture.store.partitions.read([{ consumer: 'counters', generation: 1 }]);
  return appendedCount - Math.min(appendedCount, ...readings.map(({ checkpoint }) => checkpoint));
}

/** Keeps all partitions busy, none ever level, until `look` gives something. */
async function underLoad<Value>(
  fixture: DeliveryFixture,
  awaited: string,
  look: () => Promise<Value | undefined>,
  seen: () => unknown,
): Promise<Value> {
  let enough = false;
  const load = async (): Promise<void> => {
    while (!enough) {
      // Never level, but not hopelessly behind: the test has to end.
      if ((await lag(fixture)) > 4_000) continue;
      const commits = Array.from({ length: COUNTER_COUNT }, (_, i) => fixture.count(`c${i}`));
      appendedCount += commits.length;
      await fixture.append(commits);
    }
  };
  const loads = [load(), load()];
  try {
    return await until(awaited, look, { timeoutMs: 120_000, seen });
  } finally {
    enough = true;
    await Promise.all(loads);
  }
}

/** How many partitions each process has in hand, by instance id. */
async function inHand(): Promise<ReadonlyMap<string, number>> {
  const active = await jobs.getActive();
  const counts = new Map<string, number>();
  for (const { processedBy = '?' } of active) counts.set(processedBy, (counts.get(processedBy) ?? 0) + 1);
  return counts;
}

async function untilSpread(fixture: DeliveryFixture, workers: readonly TestWorker[]): Promise<void> {
  let seen: ReadonlyMap<string, number> = new Map();
  const share = Math.ceil(PARTITION_COUNT / workers.length);
  await underLoad(
    fixture,
    `${PARTITION_COUNT} partitions in the hands of ${workers.length} processes, at most ${share} each`,
    async () => {
      seen = await inHand();
      const counts = workers.map(({ instanceId }) => seen.get(instanceId) ?? 0);
      const all = counts.reduce((sum, count) => sum + count, 0) === PARTITION_COUNT;
      return (all && Math.max(...counts) <= share) || undefined;
    },
    () => [...seen],
  );
}

describe('while events come', () => {
  it('partitions stay where their jobs are, spread over the workers that there are', { timeout: 600_000 }, async () => {
    const fixture = await deliveryFixture(servers);
    // A process that is slow to renew its locks loses what it has in hand: those of production bear more.
    const start = () => fixture.startWorker({ timing: productionTiming });
    const [first, second] = await Promise.all([start(), start()]);
    await untilSpread(fixture, [first, second]);
    const third = await start();
    await untilSpread(fixture, [first, second, third]);
    await first.stop();
    await untilSpread(fixture, [second, third]);

    await second.stop();
    // Alone: called directly, no jobs.
    let left: ReadonlyMap<string, number> = new Map();
    const none = async () => {
      left = await inHand();
      return left.size === 0 || undefined;
    };
    await underLoad(fixture, 'no jobs with one worker', none, () => [...left]);
    const sum = async () =>
      [...(await fixture.documents()).values()].reduce((total, document) => total + Number(document.total), 0);
    let seen = 0;
    const exact = async () => {
      seen = await sum();
      return seen === appendedCount || undefined;
    };
    await until(`${appendedCount} events in the view`, exact, { timeoutMs: 60_000, seen: () => seen });
    expect(seen).toBe(appendedCount);
  });
});

describe('a partition whose job a dead process has', () => {
  it('is run by the process that sweeps, which stays with it while events come', { timeout: 300_000 }, async () => {
    const own = testServers();
    const fixture = await deliveryFixture(own);
    const id = 'lone';
    const partition = partitionOf(id, PARTITION_COUNT);
    const names = { connection: redis, prefix: own.prefix };
    const queue = new Queue(`${LOG_ID}-counters-v1`, names);
    const dead = new Worker(queue.name, () => new Promise(() => undefined), { ...names, lockDuration: 60_000 });
    await queue.add('wake', { partition }, { deduplication: { id: `p${partition}`, keepLastIfActive: true } });
    await until('the job is in its hands', async () => (await queue.getActiveCount()) === 1 || undefined);
    await Promise.all([fixture.startWorker(), fixture.startWorker()]);
    const total = async () => Number((await fixture.documents()).get(id)?.total ?? 0);
    let count = 0;
    // Each waits for the one before it: if the sweep had to find them one by one, that would take two seconds each.
    const oneByOne = async (): Promise<true | undefined> => {
      if ((await total()) < count) return undefined;
      if (count === EVENT_COUNT) return true;
      count++;
      await fixture.append([fixture.count(id)]);
      return undefined;
    };
    await until(`${EVENT_COUNT} events, one after the other`, oneByOne, {
      timeoutMs: EVENT_COUNT * 1_500,
      seen: () => count,
    });
    await dead.close(true);
    await queue.close();
  });
});
