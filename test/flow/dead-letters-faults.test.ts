import { randomInt } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type Module, module, projector, view } from '../../src/index.ts';
import type { CommitDocument, ViewDocument } from '../../src/store/documents.ts';
import { deadLettersOf, retryQueue } from '../setup/dead-letters.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { privateRedis, testServers } from '../setup/servers.ts';
import { startSource } from '../setup/source-process.ts';
import { type Bug, counter, type TestWorker } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

const workers: TestWorker[] = [];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});
async function startWorker(fixture: DeliveryFixture, ...args: Parameters<DeliveryFixture['startWorker']>) {
  const worker = await fixture.startWorker(...args);
  workers.push(worker);
  return worker;
}

async function flushAll(url: string): Promise<void> {
  const connection = new Redis(url);
  await connection.flushall();
  connection.disconnect();
}

describe('lost jobs', () => {
  it('FLUSHALL while keys are tried and dead loses nothing: tries go on, and the failed set is whole again', async () => {
    const redis = await privateRedis();
    const fixture = await deliveryFixture({ ...testServers(), redisUrl: redis.url });
    const dead = deadLettersOf(fixture);
    const queue = retryQueue(fixture);
    let broken = true;
    const bug: Bug = {
      breaks: ({ by }) => by === 1 || (broken && by === 2),
      throws: (by) => (by === 1 ? new TypeError('for good') : new Error('for now')),
      retry: {
        attempts: 50,
        backoff: { type: 'fixed', delayMs: 1_500 },
        retryable: (error) => !(error instanceof TypeError),
      },
    };
    await startWorker(fixture, { bug });
    const keys = Array.from({ length: 30 }, (_, i) => i);
    await fixture.append(keys.map((i) => fixture.count(`dead-${i}`, 1)));
    await fixture.append(keys.map((i) => fixture.count(`tried-${i}`, 2)));
    for (const i of keys) await dead.until('dead', `dead-${i}`, ({ state }) => state === 'DEAD');
    for (const i of keys) await dead.until('tried', `tried-${i}`, ({ state }) => state === 'RETRYING');
    await until('their jobs', async () => ((await queue.getFailedCount()) === 30 ? true : undefined));
    await flushAll(redis.url);
    broken = false;
    for (const i of keys) await dead.healed(`tried-${i}`);
    await until('the failed set', async () => ((await queue.getFailedCount()) === 30 ? true : undefined));
    expect(new Set((await queue.getFailed()).map(({ data }) => data.deadLetter))).toEqual(
      new Set(keys.map((i) => dead.idOf(`dead-${i}`))),
    );
    for (const i of keys) expect((await fixture.documents()).get(`tried-${i}`)).toMatchObject({ total: 2, count: 1 });
  });

  it('a process that is killed between the record and its job leaves a try that others make', async () => {
    const fixture = await deliveryFixture();
    const dead = deadLettersOf(fixture);
    await fixture.append([fixture.count('k', 7)]);
    const { mongoUrl, redisUrl, database, prefix } = fixture.servers;
    const args = [mongoUrl, redisUrl, database, prefix, '', '7'];
    const env = { ...process.env, MILLRACE_CRASH: 'after-commit' };
    const killed = startSource('test/setup/processes/run-worker.ts', args, env);
    await killed.exited;
    const record = await dead.until('its record', 'k', ({ state }) => state === 'RETRYING');
    expect(record.attempts).toBe(1);
    const counts = await retryQueue(fixture).getJobCounts('delayed', 'waiting', 'active', 'failed');
    expect(counts).toEqual({ delayed: 0, waiting: 0, active: 0, failed: 0 });
    await startWorker(fixture);
    await dead.healed('k');
    expect((await fixture.documents()).get('k')).toMatchObject({ total: 7, count: 1 });
  });
});

const listView = view('list', z.object({ id: z.string(), all: z.array(z.int()) }));
/** Keeps every number of a counter in order; fails at every so many-th call, in whatever process. */
function listModule(failsAt: () => boolean): Module {
  const lists = projector({
    name: 'lists',
    version: 1,
    from: [counter],
    into: listView,
    attempts: 'forever',
    backoff: { type: 'fixed', delayMs: 30, jitter: 1 },
    on: {
      Counted: (doc, { stream, data }) => {
        if (failsAt()) throw new Error('by chance');
        return { id: stream.id, all: [...(doc?.all ?? []), data.by] };
      },
    },
  });
  return module({ name: 'listing', parts: [counter, listView, lists] });
}

describe('handlers that fail by chance, while events keep coming', () => {
  it('have each event applied once and in order, in two processes that take partitions from each other', async () => {
    const fixture = await deliveryFixture();
    const dead = deadLettersOf(fixture, 'lists');
    const seed = randomInt(1_000_000);
    const random = mulberry(seed);
    const modules = [listModule(() => random() < 0.2)];
    await startWorker(fixture, { modules });
    await startWorker(fixture, { modules });
    const want = new Map<string, number[]>();
    const commits: CommitDocument[] = [];
    for (let n = 1; n <= 1_200; n++) {
      const key = `k${Math.floor(random() * 24)}`;
      want.set(key, [...(want.get(key) ?? []), n]);
      commits.push(fixture.count(key, n));
    }
    for (let start = 0; start < commits.length; start += 40) await fixture.append(commits.slice(start, start + 40));
    let seen: unknown;
    const look = async (): Promise<true | undefined> => {
      const found = await fixture.connection.db.collection<ViewDocument>('view_list_g1').find().toArray();
      const counted = found.reduce((sum, { all }) => sum + (all as number[]).length, 0);
      seen = { seed, counted, blocked: await dead.letters.countDocuments() };
      return counted >= commits.length ? true : undefined;
    };
    await until('all events', look, { timeoutMs: 90_000, seen: () => seen });
    const found = await fixture.connection.db.collection<ViewDocument>('view_list_g1').find().toArray();
    expect(new Map(found.map(({ _id, all }) => [_id, all])), `seed ${seed}`).toEqual(want);
    await until('nothing is blocked', async () => ((await dead.letters.countDocuments()) === 0 ? true : undefined));
    expect(await dead.parkedEvents.countDocuments()).toBe(0);
    const partitions = await fixture.store.partitions.read([{ consumer: 'lists', generation: 1 }]);
    expect(partitions.map(({ blockedCount }) => blockedCount)).toEqual(partitions.map(() => 0));
  }, 300_000);
});

/** Random numbers that a seed repeats. */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
