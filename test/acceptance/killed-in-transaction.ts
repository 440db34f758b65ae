/**
 * Acceptance: a worker process that is killed inside its partition transaction holds the others up for less than 5 s, with
 * production settings.
 *
 *     node --conditions=millrace-source --import tsx test/acceptance/killed-in-transaction.ts [ROUNDS]
 *
 * Two gateway and two worker processes on servers of their own, 50 commands a second. In turn a transaction is held at its
 * commit and at its write of the view; the worker that it belongs to is found by its session and gets SIGKILL. Measured is
 * the time until the views show everything that was acknowledged before the kill. MongoDB's own limit on transactions,
 * which would free the documents too, is a minute here.
 */

import { setTimeout as wait } from 'node:timers/promises';
import type { Document } from 'mongodb';
import { until } from '../setup/until.ts';
import { atRate, onStage, type Stage, spreadOf } from './stage.ts';

const HOLDS: readonly { readonly at: string; readonly data: Document }[] = [
  { at: 'commit', data: { failCommands: ['commitTransaction'] } },
  { at: 'view write', data: { failCommands: ['insert', 'update', 'delete'], namespace: 'acceptance.view_account_g1' } },
];
const PER_SECOND = 50;
const HELD_MS = 300;
const RECOVERY_MAX_MS = 5_000;

async function play(stage: Stage): Promise<void> {
  const { connection, processes, store } = stage;
  const admin = connection.client.db('admin');
  await admin.command({ setParameter: 1, transactionLifetimeLimitSeconds: 60 });
  const workers = [...stage.workers];
  const versions = new Map<string, number>();
  const load = new AbortController();
  const loading = atRate(PER_SECOND, load.signal, async (n) => {
    const { id, version } = await stage.deposit(n);
    versions.set(id, Math.max(version, versions.get(id) ?? 0));
  });
  loading.catch(() => undefined);
  const results: Record<string, unknown>[] = [];
  try {
    for (let round = 0; round < Number(process.argv[2] ?? 6); round++) {
      const hold = HOLDS[round % HOLDS.length];
      if (hold === undefined) throw new Error('no hold');
      await wait(1_500);
      const data = { ...hold.data, appName: 'millrace-worker', blockConnection: true, blockTimeMS: 60_000 };
      await admin.command({ configureFailPoint: 'failCommand', mode: { times: 1 }, data });
      const held = await until('a transaction is held', () => heldTransaction(stage));
      const [owner] = (await store.instances.list()).filter(({ sessions }) =>
        sessions.some((id) => String(id) === String(held.lsid.id)),
      );
      const victim = workers.findIndex(({ pid }) => pid === owner?.pid);
      const killed = workers.splice(victim, 1)[0];
      if (victim < 0 || killed === undefined) throw new Error(`no worker has the session ${String(held.lsid.id)}`);
      const acknowledged = new Map(versions);
      const missing = await stage.missing();
      await killed.kill();
      const killedAt = performance.now();
      const sinceMs = (): number => Math.round(performance.now() - killedAt);
      const outlived = (await heldTransaction(stage)) !== undefined;
      const freed = until(
        'the transaction is gone',
        async () => ((await heldTransaction(stage)) ? undefined : sinceMs()),
        {
          timeoutMs: 60_000,
        },
      );
      await until('what was acknowledged before is shown', () => shows(stage, acknowledged), { timeoutMs: 60_000 });
      const recoveredMs = sinceMs();
      results.push({ heldAt: hold.at, outlived, missing, freedMs: await freed, recoveredMs });
      await admin.command({ configureFailPoint: 'failCommand', mode: 'off' });
      workers.push(processes.worker());
      await until(
        'two workers',
        async () => (await store.instances.list()).filter(({ role }) => role === 'worker').length === 2 || undefined,
        {
          timeoutMs: 30_000,
        },
      );
    }
  } finally {
    load.abort();
    console.table(results);
  }
  await loading;
  const level = await stage.untilLevel(10_000);
  console.log(
    `Afterwards views showed everything in ${level.shownMs} ms, checkpoints were level in ${level.checkpointsMs} ms.`,
  );
  console.log(await stage.expectExact());
  const { maxMs } = spreadOf(results.map(({ recoveredMs }) => Number(recoveredMs)));
  if (maxMs > RECOVERY_MAX_MS) throw new Error(`it took ${maxMs} ms`);
  if (!results.every(({ outlived }) => outlived)) throw new Error('a transaction ended with its process');
}

/** A worker's transaction that has stood still for a while. */
async function heldTransaction({ connection }: Stage): Promise<Document | undefined> {
  const open = connection.client.db('admin').aggregate(
    [
      { $currentOp: { allUsers: true, idleSessions: true } },
      {
        $match: {
          'transaction.parameters.autocommit': false,
          'transaction.timeOpenMicros': { $gt: HELD_MS * 1_000 },
        },
      },
    ],
    { readConcern: { level: 'local' } },
  );
  return (await open.toArray())[0];
}

/** Whether both views have come to these versions of the streams. */
async function shows({ connection: { db } }: Stage, versions: ReadonlyMap<string, number>): Promise<true | undefined> {
  const accounts = await db.collection<{ _id: string; _version: number }>('view_account_g1').find().toArray();
  const known = new Map(accounts.map(({ _id, _version }) => [_id, _version]));
  if ([...versions].some(([id, version]) => (known.get(id) ?? 0) < version)) return undefined;
  const movements = [...versions].map(([id, version]) => `${id}-${version}`);
  const found = await db.collection<{ _id: string }>('view_movement_g1').countDocuments({ _id: { $in: movements } });
  return found === movements.length || undefined;
}

await onStage(play);
