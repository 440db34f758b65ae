import type { Db } from 'mongodb';
import type { RateLimitDocument } from './documents.ts';
import { inTime } from './in-time.ts';

/** So many starts in any time of this length. */
export interface Rate {
  readonly count: number;
  readonly perMs: number;
}
/** A place in line: begin after `waitMs`. `taken: false`: it is further away than asked for, and was not taken. */
export interface RatePlace {
  readonly taken: boolean;
  readonly waitMs: number;
}

/**
 * `rate_limits`: the times of the last starts of an observer, over all processes, by the server's clock. Exact for every window,
 * not only for those that begin at whole minutes; a place that is not used after all is lost.
 */
export interface RateLimitStore {
  take(id: string, rate: Rate, maxWaitMs: number): Promise<RatePlace>;
}

const ANSWER_MAX_MS = 10_000;

export function createRateLimitStore(db: Db): RateLimitStore {
  const limits = db.collection<RateLimitDocument>('rate_limits', { timeoutMS: ANSWER_MAX_MS });
  return {
    async take(_id, { count, perMs }, maxWaitMs) {
      const now = { $toDouble: { $toLong: '$$NOW' } };
      const starts = { $ifNull: ['$starts', []] };
      const full = { $gte: [{ $size: starts }, count] };
      const last = { $ifNull: [{ $last: starts }, 0] };
      // The start that must be over for so long, and nobody overtakes who came before.
      const free = { $cond: [full, { $add: [{ $arrayElemAt: [starts, -count] }, perMs] }, 0] };
      const taking = limits.findOneAndUpdate(
        { _id },
        [
          { $set: { at: { $max: [now, free, last] } } },
          { $set: { waitMs: { $subtract: ['$at', now] } } },
          { $set: { taken: { $lte: ['$waitMs', maxWaitMs] } } },
          {
            $set: {
              starts: { $cond: ['$taken', { $slice: [{ $concatArrays: [starts, ['$at']] }, -count] }, starts] },
              expiresAt: { $add: ['$$NOW', { $add: ['$waitMs', perMs] }] },
            },
          },
        ],
        { upsert: true, returnDocument: 'after' },
      );
      const after = await inTime(taking, ANSWER_MAX_MS, 'a rate limit');
      return { taken: after?.taken ?? true, waitMs: Math.max(0, Math.ceil(after?.waitMs ?? 0)) };
    },
  };
}
