import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, inject } from 'vitest';
import {
  findMongod,
  findRedisServer,
  type MongoOptions,
  type PrivateServer,
  type RedisOptions,
  startMongo,
  startRedis,
} from '../../src/services/index.ts';

/** The run's MongoDB and Redis, with names that no other test file uses. */
export interface TestServers {
  readonly mongoUrl: string;
  readonly redisUrl: string;
  /** Database name; fits MONGODB_DATABASE. */
  readonly database: string;
  /** BullMQ and channel prefix; fits REDIS_PREFIX. */
  readonly prefix: string;
}

/** Call it once a file (or once a test, for a database of its own). What may harm others needs a private server. */
export function testServers(): TestServers {
  const name = `t_${Date.now().toString(36)}_${randomBytes(4).toString('hex')}`;
  return { mongoUrl: inject('mongoUrl'), redisUrl: inject('redisUrl'), database: name, prefix: name };
}

/** A mongod of one's own, for faults that would harm others; stopped and removed after the file's tests. */
export async function privateMongo(options: Partial<MongoOptions> = {}): Promise<PrivateServer> {
  const { path } = await findMongod();
  return keepUntilEnd(
    await startMongo(path, { cacheGB: 0.25, oplogMB: 256, ...options, dataDir: await folder(options) }),
  );
}

/** The same for Redis: FLUSHALL, kill, stop. */
export async function privateRedis(options: Partial<RedisOptions> = {}): Promise<PrivateServer> {
  const { path } = await findRedisServer();
  return keepUntilEnd(await startRedis(path, { ...options, dataDir: await folder(options) }));
}

const running: PrivateServer[] = [];

afterAll(async () => {
  await Promise.all(running.map((server) => server.kill()));
  await Promise.all(running.map((server) => rm(server.dataDir, { recursive: true, force: true })));
});

function keepUntilEnd(server: PrivateServer): PrivateServer {
  running.push(server);
  return server;
}

async function folder(options: { readonly dataDir?: string }): Promise<string> {
  return options.dataDir ?? mkdtemp(join(inject('dataRoot'), 'private-'));
}
