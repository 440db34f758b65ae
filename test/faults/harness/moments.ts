import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { findByIds } from '../../../src/store/find-by-ids.ts';
import { until } from '../../setup/until.ts';
import type { RoleProcess } from './processes.ts';
import type { Stage } from './stage.ts';

/** Commands at a steady rate while `during` runs; ends with it. */
export async function underLoad<Value>(
  stage: Stage,
  options: { readonly perSecond: number; readonly clientCount?: number },
  during: () => Promise<Value>,
): Promise<Value> {
  const load = new AbortController();
  const { perSecond, clientCount = 16 } = options;
  const loading = stage.clients.run({ clientCount, perSecond, signal: load.signal });
  loading.catch(() => undefined);
  try {
    return await during();
  } finally {
    load.abort();
    await loading;
  }
}

/** How long until a command that begins after now is acknowledged. */
export async function untilAcknowledged(stage: Stage, timeoutMs = 60_000): Promise<number> {
  const begun = performance.now();
  const { operations, errorCounts } = stage.history;
  const found = (): true | undefined =>
    operations.some(({ outcome, invokedMs }) => outcome === 'ok' && invokedMs > begun) || undefined;
  await until('a command is acknowledged', found, { timeoutMs, seen: () => Object.fromEntries(errorCounts) });
  return Math.round(performance.now() - begun);
}

/** How long until the views show all that was acknowledged up to now, while more may come. */
export async function untilShown(stage: Stage, timeoutMs = 60_000): Promise<number> {
  const begun = performance.now();
  const versions = new Map<string, number>();
  for (const { kind, account, version = 0 } of stage.history.of('ok')) {
    if (kind === 'transfer' || kind === 'charge') continue;
    versions.set(account, Math.max(version, versions.get(account) ?? 0));
  }
  // One document each; those of long ago would have been missed before.
  const movements = stage.history
    .of('ok')
    .filter(({ kind }) => kind === 'deposit' || kind === 'withdraw')
    .slice(-500)
    .map(({ account, version }) => `${account}-${version}`);
  let missing: readonly string[] = movements;
  let behind: readonly string[] = [];
  const look = async (): Promise<true | undefined> => {
    const [accounts, found] = await Promise.all([
      stage.db
        .collection<{ _id: string; _version: number }>('view_account_g1')
        .find({}, { projection: { _version: 1 } })
        .toArray(),
      findByIds<{ readonly _id: string }>(stage.db, 'view_movement_g1', missing),
    ]);
    const shown = new Map(accounts.map(({ _id, _version }) => [_id, _version]));
    behind = [...versions].filter(([id, version]) => (shown.get(id) ?? 0) < version).map(([id]) => id);
    const present = new Set(found.map(({ _id }) => _id));
    missing = missing.filter((id) => !present.has(id));
    if (missing.length > 0) behind = [...behind, `${missing.length} movements`];
    return behind.length === 0 || undefined;
  };
  await until('the views show what was acknowledged', () => look().catch(() => undefined), {
    timeoutMs,
    seen: () => behind,
  });
  return Math.round(performance.now() - begun);
}

/** Keys in Redis that this matches, such as `*:id`. */
export async function redisKeys(stage: Stage, pattern: string): Promise<number> {
  const redis = new Redis(stage.redis.url, { lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0 });
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    return (await redis.keys(pattern)).length;
  } catch {
    return 0;
  } finally {
    redis.disconnect();
  }
}

/** Runs one command on a connection of its own. */
export async function redisCommand(
  place: { readonly redis: { readonly url: string } },
  ...command: readonly [string, ...string[]]
): Promise<unknown> {
  const redis = new Redis(place.redis.url);
  try {
    const [name, ...args] = command;
    return await redis.call(name, ...args);
  } finally {
    redis.disconnect();
  }
}

/** The process was stopped by SIGSTOP (as Linux tells it). */
export function isStopped({ pid, ended }: RoleProcess): boolean {
  if (ended !== undefined) return false;
  const status = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return status.slice(status.lastIndexOf(')') + 2).startsWith('T');
}

/** The worker that gives positions. */
export async function sequencerOf(stage: Stage, workers: readonly RoleProcess[]): Promise<RoleProcess> {
  return until(
    'a worker leads the sequencer',
    async () => {
      const lease = await stage.store.leases.state(`${stage.store.logId}/sequencer`);
      const instances = await stage.store.instances.list();
      const leader = instances.find(({ _id }) => _id === lease?.holder);
      return workers.find(({ pid, ended }) => pid === leader?.pid && ended === undefined);
    },
    { timeoutMs: 20_000 },
  );
}

export const pause = (ms: number): Promise<void> => wait(ms);

/** The p-th share of these, in whole milliseconds. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
}
