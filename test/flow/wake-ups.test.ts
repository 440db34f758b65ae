import { randomUUID } from 'node:crypto';
import { afterAll, describe, expect, it } from 'vitest';
import { connectRedis } from '../../src/queue/redis.ts';
import { createWakeUps } from '../../src/queue/wake-ups.ts';
import { testServers } from '../setup/servers.ts';
import { fastTiming, LOG_ID, logger } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

const CLOSE_MS = 2_500;

describe('a job that never ends', async () => {
  const { redisUrl, prefix } = testServers();
  const redis = await connectRedis(redisUrl, logger);
  afterAll(() => redis.close());

  it('costs a stop its time once, however often it is asked for', async () => {
    const options = { instanceId: randomUUID(), prefix, logId: LOG_ID, logger, ...fastTiming.job };
    const wakeUps = createWakeUps(redis, options);
    const target = { consumer: 'stuck', version: 1 };
    const begun: number[] = [];
    wakeUps.work(
      target,
      (partition) => {
        begun.push(partition);
        return new Promise(() => undefined);
      },
      1,
    );
    wakeUps.wake(target, [3]);
    await until('the job to begin', () => begun.length > 0 || undefined);
    const startMs = performance.now();
    await Promise.all([wakeUps.close(CLOSE_MS), wakeUps.close(CLOSE_MS)]);
    for (let again = 0; again < 6; again++) await wakeUps.close(CLOSE_MS);
    // Far from seven times, also where the machine stands still for a while.
    expect(performance.now() - startMs).toBeLessThan(4 * CLOSE_MS);
    expect(begun).toEqual([3]);
  });
});
