import type { Db } from 'mongodb';
import type { LeaseDocument } from './documents.ts';
import { inTime } from './in-time.ts';

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

const ANSWER_MAX_MS = 10_000;

export async function ensureExclusiveKeys(db: Db): Promise<void> {
  // What a killed process held; released keys are deleted.
  await db.collection('service_keys').createIndex({ expiresAt: 1 }, { name: 'expiry', expireAfterSeconds: 60 });
}

export function createExclusiveKeys(db: Db): ExclusiveKeys {
  const keys = db.collection<LeaseDocument>('service_keys', { timeoutMS: ANSWER_MAX_MS });
  return {
    async acquire(id, holder, ttlMs) {
      // A missing lease has no expiry, which is before every time.
      const mine = { $or: [{ $eq: ['$holder', { $literal: holder }] }, { $lte: ['$expiresAt', '$$NOW'] }] };
      const take = {
        holder: { $cond: [mine, { $literal: holder }, '$holder'] },
        expiresAt: { $cond: [mine, { $add: ['$$NOW', ttlMs] }, '$expiresAt'] },
      };
      const options = { upsert: true, returnDocument: 'after' } as const;
      const call = keys.findOneAndUpdate({ _id: id }, [{ $set: take }], options);
      return (await inTime(call, ANSWER_MAX_MS, 'a lease of a key'))?.holder === holder;
    },
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
