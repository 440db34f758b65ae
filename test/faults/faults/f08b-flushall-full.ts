import { Queue } from 'bullmq';
import { retryQueueName } from '../../../src/queue/retries.ts';
import { until } from '../../setup/until.ts';
import { expectAtMost, expectEqual, type Fault } from '../harness/fault.ts';
import { redisCommand, redisKeys } from '../harness/moments.ts';
import { POISON_AMOUNT } from '../harness/poison-app.ts';

const APP = 'test/faults/harness/poison-app.ts';
const HEALED_MAX_MS = 10_000;
/** Long enough that all of them are stored before the first is due. */
const LATER_MS = 20_000;

export const flushAllFull: Fault = {
  id: 'F8b',
  title: 'FLUSHALL with 1,000 delayed commands, 100 dead letters and consumers that lag',
  target: 'all healed < 10 s after the last one is due; the failed set holds the dead ones again, ids only',
  profiles: ['production'],
  timeoutMs: 180_000,
  async run(stage, size) {
    const [charges, dead] = size === 'brief' ? [100, 10] : [1_000, 100];
    await Promise.all([stage.start('worker', { app: APP }), stage.start('worker', { app: APP })]);
    await stage.start('gateway', { app: APP });
    await stage.follow();
    await stage.clients.open(dead);
    await Promise.all(
      stage.clients.accounts.map((account, n) => stage.clients.command(n, 'deposit', account, POISON_AMOUNT)),
    );
    const queue = new Queue(retryQueueName('main', { consumer: 'tallies', version: 1 }), {
      connection: { url: stage.redis.url },
      prefix: 'faults',
    });
    try {
      await untilFailed(queue, dead);
      const dueMs = performance.now() + LATER_MS;
      await inTurns(charges, (n) =>
        stage.clients.charge(n, stage.random.pick(stage.clients.accounts), 1 + (n % 9), dueMs - performance.now()),
      );
      // Consumers lag: no transaction of a worker ends for a while.
      await stage.failCommands('alwaysOn', {
        failCommands: ['commitTransaction'],
        appName: 'millrace-worker',
        blockConnection: true,
        blockTimeMS: 2_000,
      });
      await inTurns(200, (n) => stage.clients.command(n, 'deposit', stage.random.pick(stage.clients.accounts), 1));
      const keysLost = await redisKeys(stage, '*');
      await redisCommand(stage, 'FLUSHALL');
      await stage.failCommands('off');
      const flushedMs = performance.now();
      await untilFailed(queue, dead);
      const failedSetMs = Math.round(performance.now() - flushedMs);
      await stage.drained(60_000);
      const healedMs = Math.round(performance.now() - Math.max(dueMs, flushedMs));
      const job = (await queue.getFailed(0, 0))[0];
      expectEqual('what a failed job holds', Object.keys(job?.data ?? {}).sort(), [
        'deadLetter',
        'delivery',
        'partition',
      ]);
      expectAtMost('healed after the last one was due in ms', healedMs, HEALED_MAX_MS);
      return {
        'delayed commands': charges,
        'dead letters': dead,
        'keys lost': keysLost,
        'failed set whole again ms': failedSetMs,
        'all done after the last one was due ms': healedMs,
      };
    } finally {
      await queue.close();
    }
  },
};

async function untilFailed(queue: Queue, count: number): Promise<void> {
  let seen = 0;
  await until(
    `${count} jobs rest in the failed set`,
    async () => {
      seen = await queue.getFailedCount();
      return seen === count || undefined;
    },
    { timeoutMs: 30_000, seen: () => seen },
  );
}

/** Sixteen at a time. */
async function inTurns(count: number, run: (n: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (let n = next++; n < count; n = next++) await run(n);
    }),
  );
}
