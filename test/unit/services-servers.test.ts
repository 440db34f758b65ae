import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { MongoClient } from 'mongodb';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import {
  findMongod,
  findRedisServer,
  type ProvideOptions,
  provideServers,
  startMongo,
  startRedis,
} from '../../src/services/index.ts';
import { isRunning, stampOf } from '../../src/services/process-stamp.ts';
import { privateMongo, privateRedis } from '../setup/servers.ts';
import { startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';

const HOLDER = 'test/setup/processes/hold-servers.ts';
const durable = { writeConcern: { w: 'majority', j: true } } as const;
let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(inject('dataRoot'), 'servers-'));
});

afterEach(() => rm(dataDir, { recursive: true, force: true }));

/** Servers of one's own also where the run uses those of the two URLs. */
const own = (): ProvideOptions => ({ dataDir, env: { ...process.env, MONGODB_URL: '', REDIS_URL: '' } });

async function withMongo<Result>(url: string, use: (client: MongoClient) => Promise<Result>): Promise<Result> {
  const client = new MongoClient(url);
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

async function withRedis<Result>(url: string, use: (redis: Redis) => Promise<Result>): Promise<Result> {
  const redis = new Redis(url);
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}

async function gone(pid: number | undefined): Promise<void> {
  await until(`process ${pid} is gone`, () => (stampOf(pid ?? 0) === undefined ? true : undefined));
}

describe('embedded servers', () => {
  test('MongoDB is a writable replica set with change streams, short transactions and no zlib', async () => {
    const { url } = await privateMongo();
    await withMongo(url, async (client) => {
      const admin = client.db('admin');
      expect(await admin.command({ hello: 1 })).toMatchObject({ isWritablePrimary: true, setName: 'rs0' });
      const lifetime = await admin.command({ getParameter: 1, transactionLifetimeLimitSeconds: 1 });
      expect(lifetime.transactionLifetimeLimitSeconds).toBe(5);
      const { parsed } = await admin.command({ getCmdLineOpts: 1 });
      expect(parsed.net).toMatchObject({ bindIp: '127.0.0.1', compression: { compressors: 'snappy,zstd' } });
      const changes = client.db('a').collection('b').watch();
      const next = changes.next();
      await until('a change', async () => {
        await client.db('a').collection('b').insertOne({}, durable);
        return Promise.race([next, new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 100))]);
      });
      await changes.close();
    });
  });

  test('Redis never evicts and keeps an append-only file', async () => {
    const { url } = await privateRedis();
    await withRedis(url, async (redis) => {
      expect(await redis.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
      expect(await redis.config('GET', 'appendonly')).toEqual(['appendonly', 'yes']);
      expect(await redis.config('GET', 'bind')).toEqual(['bind', '127.0.0.1']);
    });
  });

  test('what was acknowledged survives SIGKILL and a restart on the same port', async () => {
    const mongo = await privateMongo();
    await withMongo(mongo.url, (client) => client.db('a').collection('b').insertOne({ n: 1 }, durable));
    const before = mongo.pid();
    await mongo.kill();
    await mongo.restart();
    expect(mongo.pid()).not.toBe(before);
    expect(await withMongo(mongo.url, (client) => client.db('a').collection('b').countDocuments({ n: 1 }))).toBe(1);
  });

  test('data that was served on another port comes up where that port is taken', async () => {
    const { path } = await findMongod();
    const first = await startMongo(path, { dataDir, cacheGB: 0.25 });
    await withMongo(first.url, (client) => client.db('a').collection('b').insertOne({ n: 1 }, durable));
    await first.stop();
    const squatter = createServer();
    await new Promise<void>((resolve) => squatter.listen(first.port, '127.0.0.1', resolve));
    const second = await startMongo(path, { dataDir, cacheGB: 0.25 });
    try {
      expect(second.port).not.toBe(first.port);
      expect(await withMongo(second.url, (client) => client.db('a').collection('b').countDocuments())).toBe(1);
    } finally {
      await second.stop();
      squatter.close();
    }
  });

  test('a program that cannot start is refused with the end of its log', async () => {
    await expect(startRedis('/bin/false', { dataDir })).rejects.toMatchObject({ code: 'SERVER_START_FAILED' });
    await expect(startMongo(join(dataDir, 'nothing'), { dataDir })).rejects.toMatchObject({
      code: 'SERVER_START_FAILED',
      message: expect.stringContaining('ENOENT'),
    });
    const redis = startRedis((await findRedisServer()).path, { dataDir, args: ['--no-such-setting', '1'] });
    await expect(redis).rejects.toMatchObject({ message: expect.stringContaining('no-such-setting') });
  });
});

describe('provided servers', () => {
  test('keep their data and ports over a stop, and start empty with reset', async () => {
    const first = await provideServers(own());
    await withRedis(first.redisUrl, (redis) => redis.set('key', 'kept'));
    await withMongo(first.mongoUrl, (client) => client.db('a').collection('b').insertOne({ n: 1 }, durable));
    await first.stop();
    const second = await provideServers(own());
    expect([second.mongoUrl, second.redisUrl]).toEqual([first.mongoUrl, first.redisUrl]);
    expect(await withRedis(second.redisUrl, (redis) => redis.get('key'))).toBe('kept');
    expect(await withMongo(second.mongoUrl, (client) => client.db('a').collection('b').countDocuments())).toBe(1);
    await second.stop();
    const third = await provideServers({ ...own(), reset: true });
    expect(await withRedis(third.redisUrl, (redis) => redis.dbsize())).toBe(0);
    expect(await withMongo(third.mongoUrl, (client) => client.db('a').collection('b').countDocuments())).toBe(0);
    await third.stop();
  });

  test('a second start in the same folder is refused and names the process to stop', async () => {
    const first = await provideServers(own());
    await expect(provideServers(own())).rejects.toMatchObject({
      code: 'DATA_DIR_IN_USE',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    await first.stop();
    await (await provideServers(own())).stop();
  });

  test('end with their process even when that is killed', async () => {
    const holder = startSource(HOLDER, [dataDir]);
    const { mongo, redis }: { mongo: number; redis: number } = JSON.parse(await holder.line());
    holder.child.kill('SIGKILL');
    await Promise.all([gone(mongo), gone(redis)]);
  });

  test('that were left behind are stopped by the next start in their folder', async () => {
    const holder = startSource(HOLDER, [dataDir]);
    const { mongo }: { mongo: number } = JSON.parse(await holder.line());
    const left = stampOf(mongo);
    if (left === undefined) throw new Error('mongod does not run');
    process.kill(await parentOf(mongo), 'SIGKILL');
    holder.child.kill('SIGKILL');
    await holder.exited;
    expect(isRunning(left)).toBe(true);
    const lines: string[] = [];
    const report = { line: (text: string) => void lines.push(text), progress: () => ({ update() {}, end() {} }) };
    const next = await provideServers({ ...own(), report });
    expect(isRunning(left)).toBe(false);
    expect(lines[0]).toContain('left behind');
    await next.stop();
  });

  test('behind URLs are taken as they are, by any number of processes', async () => {
    const env = { MONGODB_URL: 'mongodb://db/?replicaSet=rs0', REDIS_URL: 'redis://cache' };
    const [first, second] = await Promise.all([provideServers({ dataDir, env }), provideServers({ dataDir, env })]);
    expect(first).toMatchObject({ mongoUrl: env.MONGODB_URL, redisUrl: env.REDIS_URL });
    expect(second).toMatchObject({ mongoUrl: env.MONGODB_URL, redisUrl: env.REDIS_URL });
    await Promise.all([first.stop(), second.stop()]);
  });

  test('behind URLs are never reset', async () => {
    const env = { MONGODB_URL: 'mongodb://db/?replicaSet=rs0', REDIS_URL: 'redis://cache' };
    await expect(provideServers({ dataDir, env, reset: true })).rejects.toMatchObject({
      code: 'SETTINGS_INVALID',
      message: expect.stringContaining('MONGODB_URL'),
    });
  });
});

async function parentOf(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'ppid=', '-p', String(pid)]);
  return Number(stdout.trim());
}
