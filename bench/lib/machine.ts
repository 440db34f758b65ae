import os from 'node:os';
import { Redis } from 'ioredis';
import { MongoClient } from 'mongodb';
import type { Bench } from './options.ts';

/** Lines that say where the figures come from. */
export async function describeMachine(bench: Bench): Promise<readonly string[]> {
  const client = await new MongoClient(bench.mongodbUrl).connect();
  const { version } = await client.db('admin').command({ buildInfo: 1 });
  await client.close();
  const redis = new Redis(bench.redisUrl);
  const info = await redis.info('server');
  await redis.quit();
  const field = (name: string) => new RegExp(`^${name}:(.*)$`, 'm').exec(info)?.[1]?.trim();
  const server =
    field('valkey_version') === undefined ? `Redis ${field('redis_version')}` : `Valkey ${field('valkey_version')}`;
  return [
    `date: ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`,
    `processor: ${os.availableParallelism()} cores, ${os.cpus()[0]?.model.trim() ?? 'unknown model'}`,
    `memory: ${(os.totalmem() / 2 ** 30).toFixed(0)} GiB`,
    `system: ${os.type()} ${os.release()}`,
    `node: ${process.version}`,
    `MongoDB: ${version}, one-node replica set`,
    `Redis: ${server}`,
  ];
}
