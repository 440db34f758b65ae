import { randomBytes } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { isProcessStamp, isRunning, type ProcessStamp, stampOf } from './process-stamp.ts';

export type LockAttempt =
  | { readonly held: true; readonly release: () => Promise<void> }
  | { readonly held: false; readonly holder: ProcessStamp };

/**
 * Takes the lock file at `path` for this process, or tells which living process holds it. A lock whose process is gone
 * is taken over. Written beside and linked into place, so that nobody ever reads a half-written lock.
 */
export async function tryLock(path: string): Promise<LockAttempt> {
  const own = stampOf(process.pid) ?? { pid: process.pid, startedAt: 'unknown' };
  const draft = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  await writeFile(draft, JSON.stringify(own));
  try {
    for (;;) {
      if (await linked(draft, path)) return { held: true, release: () => rm(path, { force: true }) };
      const found = await readFile(path, 'utf8').catch(() => undefined);
      if (found === undefined) continue;
      const holder = parseStamp(found);
      if (holder !== undefined && isRunning(holder)) return { held: false, holder };
      await removeStale(path, found);
    }
  } finally {
    await rm(draft, { force: true });
  }
}

/** Waits for the lock; `onWait` is told once, with the holder. */
export async function lock(
  path: string,
  onWait: (holder: ProcessStamp) => void,
  signal?: AbortSignal,
): Promise<() => Promise<void>> {
  for (let waits = 0; ; waits += 1) {
    signal?.throwIfAborted();
    const attempt = await tryLock(path);
    if (attempt.held) return attempt.release;
    if (waits === 0) onWait(attempt.holder);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function linked(draft: string, path: string): Promise<boolean> {
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

/** Another process may have taken the stale lock over a moment ago: what is not the stale one is put back. */
async function removeStale(path: string, staleText: string): Promise<void> {
  const aside = `${path}.stale.${randomBytes(4).toString('hex')}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if ((await readFile(aside, 'utf8')) !== staleText) await linked(aside, path);
  await rm(aside, { force: true });
}

function parseStamp(text: string): ProcessStamp | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isProcessStamp(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
