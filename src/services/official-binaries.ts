import { copyFile, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { download, downloadText } from './download.ts';
import type { Report } from './report.ts';
import { which } from './which.ts';

/**
 * The makers' own binaries. The two memory-server packages know which build fits this machine and how to unpack or
 * compile it; the download is ours, because theirs does not check the server's certificate by default, has no limit that
 * a start could wait for, and (Redis) no hash.
 */
const require = createRequire(import.meta.url);

export interface OfficialOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly report: Report;
  readonly signal?: AbortSignal | undefined;
}

export const mongodProgram = process.platform === 'win32' ? 'mongod.exe' : 'mongod';

/** MongoDB for this system: `MONGOMS_VERSION`, else the version that mongodb-memory-server-core has as default. */
export async function officialMongod(folder: string, { report, signal }: OfficialOptions): Promise<void> {
  const { DryMongoBinary, MongoBinary } = await optionalPackage(() => import('mongodb-memory-server-core'));
  const plan = await DryMongoBinary.generateOptions({ downloadDir: folder, systemBinary: '' });
  const present = await DryMongoBinary.locateBinary(plan);
  if (present !== undefined) {
    await copyFile(present, join(folder, mongodProgram));
    return;
  }
  const url = await mongodUrl(plan);
  const archive = join(folder, basename(new URL(url).pathname));
  const sha256 = (await downloadText(`${url}.sha256`, signal)).trim().split(/\s+/)[0] ?? '';
  await download({ url, target: archive, sha256, label: `mongod ${plan.version}`, report, signal });
  // It finds the archive that is there, and unpacks it.
  const path = await MongoBinary.download({ ...plan, downloadDir: folder, checkMD5: false });
  await rename(path, join(folder, mongodProgram));
  // The package remembers for the life of the process where it put the binary, which is not where it stays.
  DryMongoBinary.binaryCache.delete(plan.version);
}

export interface RedisRelease {
  readonly version: string;
  readonly sha256: string;
}

const redisRelease: RedisRelease = {
  version: '7.2.15',
  sha256: '7bf7975331511fdb788e85dae63964b128fccee1df026a10db57444babc9c9c4',
};
export const officialRedisOrigin = `redis.io source ${redisRelease.version}`;

/** Redis has no official binaries: its source is compiled here, which takes a C compiler, make and about a minute. */
export async function officialRedis(
  folder: string,
  { env, report, signal }: OfficialOptions,
  { version, sha256 }: RedisRelease = redisRelease,
): Promise<void> {
  for (const tool of ['make', 'cc']) {
    if ((await which([tool], env)) === undefined)
      throw new Error(`Redis would have to be compiled; ${tool} is missing`);
  }
  const { RedisBinary } = await optionalPackage(() => import('redis-memory-server'));
  const mirror = env.REDISMS_DOWNLOAD_MIRROR ?? 'https://download.redis.io';
  const name = `redis-${version}.tar.gz`;
  const archive = { url: `${mirror}/releases/${name}`, target: join(folder, name), sha256 };
  await download({ ...archive, label: `Redis ${version}`, report, signal });
  report.line('  compiling Redis (about a minute) …');
  process.env.MAKEFLAGS ??= '-j2';
  // It finds the archive that is there, unpacks and compiles it.
  const path = await RedisBinary.getPath({ version, downloadDir: folder, systemBinary: '' });
  await copyFile(path, join(folder, 'redis-server'));
  await rm(join(folder, version), { recursive: true, force: true });
}

async function optionalPackage<Package>(load: () => Promise<Package>): Promise<Package> {
  try {
    return await load();
  } catch (error) {
    throw new Error('its npm package is not installed (npm install brings it, as a development dependency)', {
      cause: error,
    });
  }
}

/** The package keeps the class that knows the address to itself. */
async function mongodUrl(plan: object): Promise<string> {
  const found: unknown = require('mongodb-memory-server-core/lib/util/MongoBinaryDownloadUrl');
  const Finder = typeof found === 'object' && found !== null ? Reflect.get(found, 'MongoBinaryDownloadUrl') : undefined;
  if (typeof Finder !== 'function') throw new Error('mongodb-memory-server-core has changed its inside');
  const finder: object = Reflect.construct(Finder, [{ platform: process.platform, ...plan }]);
  const getDownloadUrl: unknown = Reflect.get(finder, 'getDownloadUrl');
  if (typeof getDownloadUrl !== 'function') throw new Error('mongodb-memory-server-core has changed its inside');
  const url: unknown = await Reflect.apply(getDownloadUrl, finder, []);
  if (typeof url !== 'string') throw new Error('mongodb-memory-server-core names no download for this system');
  return url;
}
