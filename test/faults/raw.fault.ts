import { join } from 'node:path';
import { Queue } from 'bullmq';
import { createClient } from 'graphql-ws';
import { MongoClient } from 'mongodb';
import { describe, expect, inject, test } from 'vitest';
import { type SourceProcess, startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';
import { cutTail } from './faults/f06-f07-redis-lost.ts';
import type { Figures } from './harness/fault.ts';
import { heldSocket } from './harness/held-socket.ts';
import { redisCommand } from './harness/moments.ts';
import { keep } from './harness/record.ts';
import { faultMongo, faultRedis } from './harness/servers.ts';

/**
 * What the plain packages do under some of the same faults: the raw column of the table. Where one of these fails, a package
 * has learned something, and the claim beside it has to go.
 */
const TIMEOUT_MS = 60_000;
const JOBS = 200;

async function kept(id: string, title: string, begun: number, figures: Figures): Promise<void> {
  const at = new Date().toISOString();
  const tookMs = performance.now() - begun;
  await keep({
    id,
    title,
    target: 'none: shown beside what is promised',
    profile: 'raw',
    seed: 0,
    at,
    tookMs,
    figures,
  });
}

describe('the plain packages', { timeout: TIMEOUT_MS }, () => {
  test('F4 raw: a BullMQ worker that stood still past its lock does the work a second time', async () => {
    const begun = performance.now();
    const dataDir = join(inject('dataRoot'), 'raw-f4');
    const [mongo, redis] = await Promise.all([faultMongo(dataDir), faultRedis(dataDir)]);
    const queue = new Queue('raw', { connection: { url: redis.url } });
    const client = await MongoClient.connect(mongo.url);
    const workers: SourceProcess[] = [];
    const start = (...more: string[]): SourceProcess => {
      const worker = startSource('test/faults/raw/bullmq-worker.ts', [redis.url, mongo.url, 'raw', ...more]);
      workers.push(worker);
      return worker;
    };
    try {
      const first = start('stops');
      await queue.add('work', {}, { jobId: 'one' });
      expect(await first.line()).toBe('begun one');
      const second = start();
      expect([await second.line(), await second.line()]).toEqual(['begun one', 'done one']);
      first.child.kill('SIGCONT');
      expect(await first.line()).toBe('done one');
      const effects = await client.db('raw').collection('effects').countDocuments({ job: 'one' });
      expect(effects).toBe(2);
      await kept('F4', 'plain BullMQ: a worker stands still past its lock, then goes on', begun, {
        'effects of one job': effects,
      });
    } finally {
      for (const { child } of workers) child.kill('SIGKILL');
      await Promise.all([queue.close(), client.close()]);
      await Promise.all([mongo.kill(), redis.kill()]);
    }
  });

  test('F7 and F8 raw: what Redis loses is lost', async () => {
    const begun = performance.now();
    const redis = await faultRedis(join(inject('dataRoot'), 'raw-f7'));
    const waiting = async (work: (queue: Queue) => Promise<unknown>): Promise<number> => {
      const queue = new Queue('raw', { connection: { url: redis.url } });
      queue.on('error', () => undefined);
      try {
        await work(queue);
        return await queue.getWaitingCount();
      } finally {
        await queue.close();
      }
    };
    try {
      // One by one, as requests do: Redis drops a bulk that is cut as a whole.
      const numbers = Array.from({ length: JOBS }, (_, n) => n);
      expect(await waiting((queue) => Promise.all(numbers.map((n) => queue.add('work', { n }))))).toBe(JOBS);
      await redis.kill();
      await cutTail(join(redis.dataDir, 'redis', 'appendonlydir'));
      await redis.restart();
      const left = await waiting(async () => undefined);
      expect(left).toBeLessThan(JOBS);
      await kept('F7', 'plain BullMQ: Redis is killed and loses the last fifth of its append-only file', begun, {
        jobs: JOBS,
        lost: JOBS - left,
      });
      const flushed = await waiting(() => redisCommand({ redis }, 'FLUSHALL'));
      expect(flushed).toBe(0);
      await kept('F8', 'plain BullMQ: FLUSHALL', begun, { jobs: left, lost: left - flushed });
    } finally {
      await redis.kill();
    }
  });

  test("F25 raw: a client that reads nothing ends a process with Yoga's pub/sub", async () => {
    const begun = performance.now();
    const gateway = startSource('test/faults/raw/yoga-pubsub.ts', []);
    const port = await gateway.line();
    let received = 0;
    const held = heldSocket();
    const client = createClient({
      url: `ws://127.0.0.1:${port}/graphql`,
      retryAttempts: 0,
      webSocketImpl: held.implementation,
    });
    const reading = (async () => {
      for await (const _ of client.iterate({ query: 'subscription { memo }' })) received += 1;
    })().catch(() => undefined);
    await until('the first memos', () => received > 10 || undefined);
    const paused = performance.now();
    held.socket()?.pause();
    const ended = until('the process to end', () => gateway.child.exitCode ?? undefined, { timeoutMs: 30_000 });
    const code = await ended.finally(() => gateway.child.kill('SIGKILL'));
    held.socket()?.terminate();
    await reading;
    expect(gateway.errors()).toContain('RepeaterOverflowError');
    await kept('F25', "plain graphql-ws with Yoga's pub/sub: a subscriber that reads nothing", begun, {
      'the process': `ended by RepeaterOverflowError (exit code ${code})`,
      'after ms': Math.round(performance.now() - paused),
    });
  });
});
