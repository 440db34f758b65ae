import { until } from '../../setup/until.ts';
import { expectAtMost, type Fault, type Figures } from '../harness/fault.ts';
import { pause, percentile, redisKeys, underLoad } from '../harness/moments.ts';
import type { Stage } from '../harness/stage.ts';

const FIRST_JOB_MAX_MS = 3_000;
const P99_MAX_MS = 500;

/** Without a file Redis comes back empty: a key of a queue then tells of a new job. */
const stageOptions = { redis: { appendOnly: false } } as const;

async function away(stage: Stage, awayMs: number): Promise<Figures> {
  await stage.populate({ gateways: 1, workers: 2 });
  let firstJobMs = 0;
  let latencies: number[] = [];
  await underLoad(stage, { perSecond: 50 }, async () => {
    await pause(2_000);
    await stage.redis.kill();
    const [from, goneMs] = [stage.history.operations.length, performance.now()];
    await pause(awayMs);
    latencies = stage.history.operations
      .slice(from)
      .filter(({ endedMs, invokedMs }) => endedMs !== undefined && invokedMs > goneMs)
      .map(({ endedMs = 0, invokedMs }) => endedMs - invokedMs);
    await stage.redis.restart();
    const backMs = performance.now();
    await until('a job is made', async () => (await redisKeys(stage, '*:id')) > 0 || undefined, { timeoutMs: 20_000 });
    firstJobMs = Math.round(performance.now() - backMs);
    await pause(1_000);
  });
  const drainMs = await stage.drained(20_000);
  const p99 = percentile(latencies, 0.99);
  if (latencies.length < awayMs / 100) throw new Error(`only ${latencies.length} commands while Redis was away`);
  expectAtMost('first job after the return in ms', firstJobMs, FIRST_JOB_MAX_MS);
  expectAtMost('p99 of mutations while Redis is away in ms', p99, P99_MAX_MS);
  return {
    'away s': awayMs / 1_000,
    'mutations meanwhile': latencies.length,
    'p50 meanwhile ms': percentile(latencies, 0.5),
    'p99 meanwhile ms': p99,
    'first job after the return ms': firstJobMs,
    'drain ms': drainMs,
  };
}

export const redisAway: Fault = {
  id: 'F9',
  title: 'Redis is away for 9 s',
  target: 'first job < 3 s after its return; mutations p99 < 500 ms meanwhile',
  profiles: ['production'],
  stage: stageOptions,
  run: (stage, size) => away(stage, size === 'brief' ? 3_000 : 9_000),
};

export const redisAwayLong: Fault = {
  id: 'F9b',
  title: 'Redis is away for 60 s',
  target: 'first job < 3 s after its return; mutations p99 < 500 ms meanwhile',
  profiles: ['production'],
  stage: stageOptions,
  timeoutMs: 180_000,
  run: (stage) => away(stage, 60_000),
};
