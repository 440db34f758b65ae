import { mkdtemp, readdir, rename, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tryLock } from '../../src/services/process-lock.ts';

const PREFIX = 'millrace-test-';
const LOCK = 'run.lock';
const ENOUGH_MEMORY_BYTES = 4_000_000_000;

/**
 * A folder for the data of one run's servers, in memory where there is room: what is written is still journaled, only the
 * disk does not wait. Folders of runs that were killed are removed: in memory they cost memory.
 */
export async function openDataRoot(): Promise<string> {
  const parent = await fastFolder();
  await removeLeftovers(parent);
  return lockedFolder(parent);
}

/** Gets its name only once it is locked: until then nobody takes it for a leftover. */
async function lockedFolder(parent: string): Promise<string> {
  const draft = await mkdtemp(join(parent, '.millrace-'));
  await tryLock(join(draft, LOCK));
  const folder = join(parent, `${PREFIX}${draft.slice(-6)}`);
  await rename(draft, folder);
  return folder;
}

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
