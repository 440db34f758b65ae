import { type Child, startChild } from './child.ts';
import type { Bench } from './options.ts';

/** Starts processes for a row family and ends them all with it, also when it fails. */
export interface Family {
  start(
    file: URL,
    name: string,
    options?: { readonly env?: Readonly<Record<string, string>>; readonly nodeArgs?: readonly string[] },
  ): Promise<Child>;
}

/** Arguments of node for a process that is profiled: BENCH_PROFILE names a folder for CPU profiles. */
export const profiled: readonly string[] =
  process.env.BENCH_PROFILE === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${process.env.BENCH_PROFILE}`];

/** Each `name` has a database and a Redis prefix of its own; processes that share a name share both. */
export async function withFamily<T>(bench: Bench, work: (family: Family) => Promise<T>): Promise<T> {
  const children: Child[] = [];
  try {
    return await work({
      async start(file, name, options = {}) {
        const child = await startChild(file, {
          ...options,
          env: {
            MONGODB_URL: bench.mongodbUrl,
            REDIS_URL: bench.redisUrl,
            MONGODB_DATABASE: bench.unique(name),
            REDIS_PREFIX: bench.unique(name),
            NODE_ENV: 'production',
            ...options.env,
          },
        });
        children.push(child);
        return child;
      },
    });
  } finally {
    // The youngest first: the load generator leaves before its servers.
    for (const child of children.reverse()) await child.stop();
  }
}
