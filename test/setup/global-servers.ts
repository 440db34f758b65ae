import { mkdtemp, readdir, rename, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { provideServers, terminalReport } from '../../src/services/index.ts';
import { tryLock } from '../../src/services/process-lock.ts';

const PREFIX = 'millrace-test-';
const LOCK = 'run.lock';
const ENOUGH_MEMORY_BYTES = 4_000_000_000;

declare module 'vitest' {
  interface ProvidedContext {
    mongoUrl: string;
    redisUrl: string;
    dataRoot: string;
  }
}

/**
 * One MongoDB and one Redis for the whole run, with new data; those of MONGODB_URL and REDIS_URL where these are set.
 * The data lies in memory where there is room: what is written is still journaled, only the disk does not wait.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const parent = await fastFolder();
  await removeLeftovers(parent);
  const dataRoot = await lockedFolder(parent);
  try {
    const servers = await provideServers({
      dataDir: join(dataRoot, 'shared'),
      mongo: { cacheGB: 0.75, args: ['--setParameter', 'enableTestCommands=1'] },
      report: await terminalReport(),
    });
    project.provide('mongoUrl', servers.mongoUrl);
    project.provide('redisUrl', servers.redisUrl);
    project.provide('dataRoot', dataRoot);
    return async () => {
      await servers.stop();
      await rm(dataRoot, { recursive: true, force: true });
    };
  } catch (error) {
    await rm(dataRoot, { recursive: true, force: true });
    throw error;
  }
}

/** Gets its name only once it is locked: until then nobody takes it for a leftover. */
async function lockedFolder(parent: string): Promise<string> {
  const draft = await mkdtemp(join(parent, '.millrace-'));
  await tryLock(join(draft, LOCK));
  const folder = join(parent, `${PREFIX}${draft.slice(-6)}`);
  await rename(draft, folder);
  return folder;
}

/** A run that was killed leaves its data behind, and in memory that costs memory. */
async function removeLeftovers(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (!name.startsWith(PREFIX)) continue;
    const folder = join(parent, name);
    const attempt = await tryLock(join(folder, LOCK)).catch(() => undefined);
    if (attempt?.held === true) await rm(folder, { recursive: true, force: true });
  }
}

async function fastFolder(): Promise<string> {
  const inMemory = '/dev/shm';
  try {
    const { bavail, bsize } = await statfs(inMemory);
    return bavail * bsize > ENOUGH_MEMORY_BYTES ? inMemory : tmpdir();
  } catch {
    return tmpdir();
  }
}
