import type { Db } from 'mongodb';
import type { LeaseDocument } from './documents.ts';
import { isDuplicateKey } from './mongo-errors.ts';

/** Who does work that one process should do. Times are the server's. A lost lease costs work, never correctness. */
export interface LeaseStore {
  /** Takes or renews a lease for `ttlMs`; false while another holder has it. */
  acquire(id: string, holder: string, ttlMs: number): Promise<boolean>;
  /** Hands it over at once; nothing happens when somebody else holds it. */
  release(id: string, holder: string): Promise<void>;
  /** Undefined when nobody holds it or it ran out. `ranOutMs` is how long ago it did. */
  state(id: string): Promise<{ readonly holder: string | undefined; readonly ranOutMs: number } | undefined>;
}

export function createLeaseStore(db: Db): LeaseStore {
  const leases = db.collection<LeaseDocument>('leases');
  return {
    async acquire(id, holder, ttlMs) {
      const free = { $or: [{ holder }, { $expr: { $lte: ['$expiresAt', '$$NOW'] } }] };
      const taken = { $set: { holder: { $literal: holder }, expiresAt: { $add: ['$$NOW', ttlMs] } } };
      try {
        const { matchedCount, upsertedCount } = await leases.updateOne({ _id: id, ...free }, [taken], { upsert: true });
        return matchedCount + upsertedCount > 0;
      } catch (error) {
        // The lease exists and belongs to another: the filter missed it and the upsert met its _id.
        if (isDuplicateKey(error)) return false;
        throw error;
      }
    },
    async release(id, holder) {
      await leases.updateOne({ _id: id, holder }, [{ $set: { expiresAt: '$$NOW' } }]);
    },
    async state(id) {
      const [found] = await leases
        .aggregate<{ holder: string; ranOutMs: number }>([
          { $match: { _id: id } },
          { $project: { holder: 1, ranOutMs: { $subtract: ['$$NOW', '$expiresAt'] } } },
        ])
        .toArray();
      if (found === undefined) return undefined;
      const ranOutMs = Math.max(0, Number(found.ranOutMs));
      return { holder: ranOutMs > 0 ? undefined : found.holder, ranOutMs };
    },
  };
}
