import type { Db } from 'mongodb';
import type { LeaseDocument } from './documents.ts';
import { inTime } from './in-time.ts';
import { ANSWER_MAX_MS, leaseUpdate } from './leases.ts';
import { isDuplicateKey } from './mongo-errors.ts';

/**
 * `service_keys`: which process runs a command for a key that allows one at a time. Times are the server's. A lease, no fence:
 * who stands still for longer than `ttlMs` may find that another has gone on.
 */
export interface ExclusiveKeys {
  /** Takes or renews; returns those that `holder` has now, the others are another's. */
  acquire(ids: readonly string[], holder: string, ttlMs: number): Promise<ReadonlySet<string>>;
  /** Returns the ids that `holder` has no more. */
  renew(ids: readonly string[], holder: string, ttlMs: number): Promise<readonly string[]>;
  release(ids: readonly string[], holder: string): Promise<void>;
}

export async function ensureExclusiveKeys(db: Db): Promise<void> {
  // What a killed process held; released keys are deleted.
  await db.collection('service_keys').createIndex({ expiresAt: 1 }, { name: 'expiry', expireAfterSeconds: 60 });
}

export function createExclusiveKeys(db: Db): ExclusiveKeys {
  const keys = db.collection<LeaseDocument>('service_keys', { timeoutMS: ANSWER_MAX_MS });
  const held = async (ids: readonly string[], holder: string): Promise<ReadonlySet<string>> => {
    const found = keys.find({ _id: { $in: [...ids] }, holder }, { projection: { _id: 1 } }).toArray();
    return new Set((await inTime(found, ANSWER_MAX_MS, 'a read of keys')).map(({ _id }) => _id));
  };
  return {
    async acquire(ids, holder, ttlMs) {
      const update = leaseUpdate(holder, ttlMs);
      const takes = [...new Set(ids)].map((_id) => ({ updateOne: { filter: { _id }, update, upsert: true } }));
      const taking = keys.bulkWrite(takes, { ordered: false }).catch((error: unknown) => {
        // Another process was first with a key that nobody had.
        if (!isDuplicateKey(error)) throw error;
      });
      await inTime(taking, ANSWER_MAX_MS, 'a lease of keys');
      return held(ids, holder);
    },
    async renew(ids, holder, ttlMs) {
      const mine = { _id: { $in: [...ids] }, holder };
      const call = keys.updateMany(mine, [{ $set: { expiresAt: { $add: ['$$NOW', ttlMs] } } }]);
      const { matchedCount } = await inTime(call, ANSWER_MAX_MS, 'a renewal of keys');
      if (matchedCount === ids.length) return [];
      const kept = await held(ids, holder);
      return ids.filter((id) => !kept.has(id));
    },
    async release(ids, holder) {
      await inTime(keys.deleteMany({ _id: { $in: [...ids] }, holder }), ANSWER_MAX_MS, 'a release of keys');
    },
  };
}
