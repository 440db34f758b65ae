import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { lock } from './process-lock.ts';
import type { Report } from './report.ts';

/** Where downloaded servers are kept: `MILLRACE_CACHE_DIR`, else `$XDG_CACHE_HOME/millrace`, else `~/.cache/millrace`. */
export function cacheRoot(env: NodeJS.ProcessEnv): string {
  if (env.MILLRACE_CACHE_DIR) return env.MILLRACE_CACHE_DIR;
  const base = env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache');
  return join(base, 'millrace');
}

export interface CachedServer {
  /** Full path of the program. */
  readonly path: string;
  /** In words, where it came from. */
  readonly origin: string;
}

export interface InstallOptions {
  readonly root: string;
  /** Names version and platform too: a folder is never changed once it is there. */
  readonly folder: string;
  /** File name of the program inside the folder. */
  readonly program: string;
  readonly origin: string;
  readonly report: Report;
  readonly signal?: AbortSignal | undefined;
  /** Puts the program into this empty folder, under its file name; other files in it are kept too. */
  readonly produce: (folder: string) => Promise<void>;
}

/**
 * Installs a server once, however many processes ask at the same time: one works under a lock, the folder appears whole
 * by a rename, the others use it.
 */
export async function installOnce(options: InstallOptions): Promise<CachedServer> {
  const { root, folder, program, report, signal } = options;
  await mkdir(root, { recursive: true });
  const release = await lock(
    join(root, `${folder}.lock`),
    (holder) => report.line(`  process ${holder.pid} is installing ${folder}; waiting for it`),
    signal,
  );
  try {
    const present = await readCached(root, folder, program);
    if (present !== undefined) return present;
    const draft = join(root, `.draft-${folder}-${randomBytes(4).toString('hex')}`);
    await mkdir(draft);
    try {
      await options.produce(draft);
      await writeFile(join(draft, 'origin.txt'), options.origin);
      await rename(draft, join(root, folder));
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
    return { path: join(root, folder, program), origin: options.origin };
  } finally {
    await release();
  }
}

/** A folder that `installOnce` finished; undefined when it is not there. */
export async function readCached(root: string, folder: string, program: string): Promise<CachedServer | undefined> {
  try {
    const origin = await readFile(join(root, folder, 'origin.txt'), 'utf8');
    return { path: join(root, folder, program), origin };
  } catch {
    return undefined;
  }
}

/** Throws a cached program away that does not run (any more). */
export async function dropCached(root: string, folder: string): Promise<void> {
  const aside = join(root, `.dropped-${folder}-${randomBytes(4).toString('hex')}`);
  await rename(join(root, folder), aside).catch(() => undefined);
  await rm(aside, { recursive: true, force: true });
}
