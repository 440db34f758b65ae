/**
 * node scripts/run.mjs scripts/with-servers.ts FILE [ARGS…]: runs a TypeScript module with a MongoDB and a Redis of its
 * own, in a new folder on disk, named by MONGODB_URL and REDIS_URL; where those are set already, with them.
 * MONGODB_PID and REDIS_PID are set where the servers were started here.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isMillraceError } from '../src/errors.ts';
import { provideServers, terminalReport } from '../src/services/index.ts';

const [file, ...args] = process.argv.slice(2);
if (file === undefined) throw new Error('usage: with-servers.ts FILE [ARGS…]');

const dataDir = await mkdtemp(join(tmpdir(), 'millrace-'));
try {
  const servers = await provideServers({ dataDir, mongo: { cacheGB: 1 }, report: await terminalReport() });
  try {
    process.env.MONGODB_URL = servers.mongoUrl;
    process.env.REDIS_URL = servers.redisUrl;
    if (servers.mongo.pid !== undefined) process.env.MONGODB_PID = String(servers.mongo.pid);
    if (servers.redis.pid !== undefined) process.env.REDIS_PID = String(servers.redis.pid);
    process.argv = [process.execPath, resolve(file), ...args];
    await import(pathToFileURL(resolve(file)).href);
  } finally {
    await servers.stop();
  }
} catch (error) {
  console.error(isMillraceError(error) ? `${error.code}: ${error.message}` : error);
  process.exitCode = 1;
} finally {
  await rm(dataDir, { recursive: true, force: true });
}
