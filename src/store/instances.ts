import type { Db, MongoClient } from 'mongodb';
import type { InstanceDocument } from './documents.ts';

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
  /** Kills the sessions of a silent instance and removes its record; false when it spoke meanwhile. */
  bury(instance: Instance): Promise<boolean>;
  remove(id: string): Promise<void>;
}

/** Heartbeats that take longer are none. */
const ANSWER_MAX_MS = 10_000;

export function createInstanceStore(client: MongoClient, db: Db): InstanceStore {
  const instances = db.collection<InstanceDocument>('instances', { timeoutMS: ANSWER_MAX_MS });
  return {
    async heartbeat({ id, host, pid, role }, sessions) {
      const fields = { host, pid, role, sessions };
      const alive = {
        ...Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, { $literal: value }])),
        startedAt: { $ifNull: ['$startedAt', '$$NOW'] },
        heartbeatAt: '$$NOW',
      };
      await instances.updateOne({ _id: id }, [{ $set: alive }], { upsert: true });
    },
    list: () =>
      instances
        .aggregate<Instance>([{ $addFields: { ageMs: { $toDouble: { $subtract: ['$$NOW', '$heartbeatAt'] } } } }])
        .toArray(),
    async bury({ _id, sessions, heartbeatAt }) {
      const silent = await instances.findOne({ _id, heartbeatAt });
      if (silent === null) return false;
      // Sessions first: were the record gone first and this process killed, nobody would know them any more.
      if (sessions.length > 0) await client.db('admin').command({ killSessions: sessions.map((id) => ({ id })) });
      await instances.deleteOne({ _id, heartbeatAt });
      return true;
    },
    async remove(id) {
      await instances.deleteOne({ _id: id });
    },
  };
}
