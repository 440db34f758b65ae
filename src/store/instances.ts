import type { Db, MongoClient } from 'mongodb';
import type { CrashDocument, InstanceDocument } from './documents.ts';
import { askedAgain } from './in-time.ts';

/** A process of this deployment as the server's clock sees it. */
export interface Instance extends InstanceDocument {
  /** Time since its last heartbeat. */
  readonly ageMs: number;
}
export interface InstanceIdentity {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly role: string;
  /** Ids of the generations (`consumers`) that it runs. */
  readonly consumers?: readonly string[] | undefined;
  /** Ids of the generations whose views it reads. */
  readonly serves?: readonly string[] | undefined;
}

/**
 * `instances`: processes that live, each with the sessions that its transactions use. A killed process leaves its open
 * transaction behind, its documents locked until the server's transaction lifetime ends; whoever finds the process dead
 * kills those sessions, which frees them at once.
 */
export interface InstanceStore {
  /** Says "alive" by the server's clock; writes the record anew when somebody took this process for dead. */
  heartbeat(instance: InstanceIdentity, sessions: readonly unknown[]): Promise<void>;
  list(): Promise<readonly Instance[]>;
  /** Kills the sessions of a silent instance, notes that it crashed and removes its record; false when it spoke meanwhile. */
  bury(instance: Instance): Promise<boolean>;
  /** Instances that were buried in the last ten minutes: they died without leaving. */
  crashes(): Promise<{ readonly count: number; readonly lastAgeMs: number }>;
  /** Ends what its sessions may have left open, then removes its record; where the first does not succeed, the record stays for others to bury. */
  leave(id: string, sessions: readonly unknown[]): Promise<void>;
}

/** Heartbeats that take longer are none. */
const ANSWER_MAX_MS = 10_000;
const CRASH_KEPT_MS = 600_000;

export async function ensureCrashes(db: Db): Promise<void> {
  await db.collection('crashes').createIndex({ expiresAt: 1 }, { expireAfterSeconds: 0 });
}

export function createInstanceStore(client: MongoClient, db: Db): InstanceStore {
  const instances = db.collection<InstanceDocument>('instances', { timeoutMS: ANSWER_MAX_MS });
  const crashes = db.collection<CrashDocument>('crashes', { timeoutMS: ANSWER_MAX_MS });
  const kill = async (sessions: readonly unknown[]): Promise<void> => {
    if (sessions.length === 0) return;
    const ids = sessions.map((id) => ({ id }));
    await client.db('admin').command({ killSessions: ids }, { timeoutMS: ANSWER_MAX_MS });
  };
  return {
    async heartbeat({ id, host, pid, role, consumers = [], serves = [] }, sessions) {
      const fields = { host, pid, role, sessions, consumers, serves };
      const alive = {
        ...Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, { $literal: value }])),
        startedAt: { $ifNull: ['$startedAt', '$$NOW'] },
        heartbeatAt: '$$NOW',
      };
      await instances.updateOne({ _id: id }, [{ $set: alive }], { upsert: true });
    },
    list: () => {
      const stages = [{ $addFields: { ageMs: { $toDouble: { $subtract: ['$$NOW', '$heartbeatAt'] } } } }];
      const read = () => instances.aggregate<Instance>(stages).toArray();
      return askedAgain(read, ANSWER_MAX_MS, 'a read of instances');
    },
    async bury({ _id, sessions, heartbeatAt, role }) {
      const silent = await instances.findOne({ _id, heartbeatAt });
      if (silent === null) return false;
      // Sessions first: were the record gone first and this process killed, nobody would know them any more.
      await kill(sessions);
      // One that runs no consumer leaves nothing half done.
      if (role === 'gateway') {
        await instances.deleteOne({ _id, heartbeatAt });
        return true;
      }
      const crash = { at: '$$NOW', expiresAt: { $add: ['$$NOW', CRASH_KEPT_MS] } };
      await crashes.updateOne({ _id }, [{ $set: crash }], { upsert: true });
      await instances.deleteOne({ _id, heartbeatAt });
      return true;
    },
    async crashes() {
      const [found] = await crashes
        .aggregate<{ count: number; lastAgeMs: number }>([
          { $match: { $expr: { $gt: ['$expiresAt', '$$NOW'] } } },
          { $group: { _id: null, count: { $sum: 1 }, last: { $max: '$at' } } },
          { $project: { count: 1, lastAgeMs: { $toDouble: { $subtract: ['$$NOW', '$last'] } } } },
        ])
        .toArray();
      return { count: found?.count ?? 0, lastAgeMs: found?.lastAgeMs ?? Number.POSITIVE_INFINITY };
    },
    async leave(id, sessions) {
      await kill(sessions);
      await instances.deleteOne({ _id: id });
    },
  };
}
