import type { Db, Document } from 'mongodb';
import type { LeaseDocument } from './documents.ts';
import { inTime } from './in-time.ts';

/** Who does work that one process should do. Times are the server's. A lost lease costs work, never correctness. */
export interface LeaseStore {
  /** Takes or renews a lease for `ttlMs`; false while another holder has it. */
  acquire(id: string, holder: string, ttlMs: number): Promise<boolean>;
  /** Hands it over at once; nothing happens when somebody else holds it. */
  release(id: string, holder: string): Promise<void>;
  /** Undefined when nobody holds it or it ran out. `ranOutMs` is how long ago it did. */
  state(id: string): Promise<{ readonly holder: string | undefined; readonly ranOutMs: number } | undefined>;
}

/** An answer that comes later is worth nothing: the lease has run out. */
export const ANSWER_MAX_MS = 10_000;

/** Takes or renews a lease by the server's clock, unless another holder has it. */
export function leaseUpdate(holder: string, ttlMs: number): Document[] {
  // A missing lease has no expiry, which is before every time.
  const mine = { $or: [{ $eq: ['$holder', { $literal: holder }] }, { $lte: ['$expiresAt', '$$NOW'] }] };
  const take = {
    holder: { $cond: [mine, { $literal: holder }, '$holder'] },
    expiresAt: { $cond: [mine, { $add: ['$$NOW', ttlMs] }, '$expiresAt'] },
  };
  return [{ $set: take }];
}

export function createLeaseStore(db: Db): LeaseStore {
  const leases = db.collection<LeaseDocument>('leases', { timeoutMS: ANSWER_MAX_MS });
  return {
    async acquire(id, holder, ttlMs) {
      const options = { upsert: true, returnDocument: 'after' } as const;
      const taking = leases.findOneAndUpdate({ _id: id }, leaseUpdate(holder, ttlMs), options);
      return (await inTime(taking, ANSWER_MAX_MS, 'a lease'))?.holder === holder;
    },
    async release(id, holder) {
      const handing = leases.updateOne({ _id: id, holder }, [{ $set: { expiresAt: '$$NOW' } }]);
      await inTime(handing, ANSWER_MAX_MS, 'the release of a lease');
    },
    async state(id) {
      const reading = leases
        .aggregate<{ holder: string; ranOutMs: number }>([
          { $match: { _id: id } },
          { $project: { holder: 1, ranOutMs: { $subtract: ['$$NOW', '$expiresAt'] } } },
        ])
        .toArray();
      const [found] = await inTime(reading, ANSWER_MAX_MS, 'a read of a lease');
      if (found === undefined) return undefined;
      const ranOutMs = Math.max(0, Number(found.ranOutMs));
      return { holder: ranOutMs > 0 ? undefined : found.holder, ranOutMs };
    },
  };
}
