import type { Db } from 'mongodb';
import type { LeaseDocument } from './documents.ts';
import { inTime } from './in-time.ts';
import { ANSWER_MAX_MS, takeLease } from './leases.ts';

/**
 * `service_keys`: which process runs a command for a key that allows one at a time. Times are the server's. A lease, no fence:
 * who stands still for longer than `ttlMs` may find that another has gone on.
 */
export interface ExclusiveKeys {
  /** False while another holder has it. */
  acquire(id: string, holder: string, ttlMs: number): Promise<boolean>;
  /** Returns the ids that `holder` has no more. */
  renew(ids: readonly string[], holder: string, ttlMs: number): Promise<readonly string[]>;
  release(id: string, holder: string): Promise<void>;
}

export async function ensureExclusiveKeys(db: Db): Promise<void> {
  // What a killed process held; released keys are deleted.
  await db.collection('service_keys').createIndex({ expiresAt: 1 }, { name: 'expiry', expireAfterSeconds: 60 });
}

export function createExclusiveKeys(db: Db): ExclusiveKeys {
  const keys = db.collection<LeaseDocument>('service_keys', { timeoutMS: ANSWER_MAX_MS });
  return {
    acquire: (id, holder, ttlMs) => takeLease(keys, id, holder, ttlMs, 'a lease of a key'),
    async renew(ids, holder, ttlMs) {
      const mine = { _id: { $in: [...ids] }, holder };
      const call = keys.updateMany(mine, [{ $set: { expiresAt: { $add: ['$$NOW', ttlMs] } } }]);
      const { matchedCount } = await inTime(call, ANSWER_MAX_MS, 'a renewal of keys');
      if (matchedCount === ids.length) return [];
      const kept = new Set((await keys.find(mine, { projection: { _id: 1 } }).toArray()).map(({ _id }) => _id));
      return ids.filter((id) => !kept.has(id));
    },
    async release(id, holder) {
      await inTime(keys.deleteOne({ _id: id, holder }), ANSWER_MAX_MS, 'a release of a key');
    },
  };
}
