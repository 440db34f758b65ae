import type { Db } from 'mongodb';
import type { AlertDocument, DeadLetterDocument } from './documents.ts';
import { inTime } from './in-time.ts';

/** Dead letters of one consumer with the same cause. */
export interface DeadGroup {
  readonly consumer: string;
  readonly fingerprint: string;
  readonly count: number;
  /** Events that wait behind them. */
  readonly parkedCount: number;
  readonly firstFailedAt: Date;
  readonly lastFailedAt: Date;
  /** One of them. */
  readonly example: Pick<DeadLetterDocument, '_id' | 'inputType' | 'position' | 'error'>;
}

/** `alerts`: which groups of dead letters were told to whom, and when. */
export interface AlertStore {
  groups(): Promise<readonly DeadGroup[]>;
  /** True for one caller: tell it now, and say `told` or `failed` within `claimMs`. */
  claim(id: string, group: DeadGroup, claimMs: number): Promise<boolean>;
  /** Silent about this group for `windowMs`, and after it until there is something new. */
  told(id: string, group: DeadGroup, windowMs: number): Promise<void>;
  failed(id: string, againMs: number): Promise<void>;
}

/** How long a record outlives its window: after that the group is told anew. */
const KEEP_MS = 30 * 86_400_000;
const ANSWER_MAX_MS = 10_000;

export async function ensureAlerts(db: Db): Promise<void> {
  await Promise.all([
    db.collection('alerts').createIndex({ expiresAt: 1 }, { name: 'expiry', expireAfterSeconds: 0 }),
    db.collection('rate_limits').createIndex({ expiresAt: 1 }, { name: 'expiry', expireAfterSeconds: 0 }),
  ]);
}

export function createAlertStore(db: Db, logId: string): AlertStore {
  const deadLetters = db.collection<DeadLetterDocument>('dead_letters', { readConcern: { level: 'majority' } });
  const alerts = db.collection<AlertDocument>('alerts', { timeoutMS: ANSWER_MAX_MS });
  return {
    async groups() {
      const reading = deadLetters
        .aggregate<Omit<DeadGroup, 'consumer' | 'fingerprint'> & { _id: { consumer: string; fingerprint: string } }>(
          [
            { $match: { logId, state: 'DEAD' } },
            {
              $group: {
                _id: { consumer: '$consumer', fingerprint: '$error.fingerprint' },
                count: { $sum: 1 },
                parkedCount: { $sum: '$parkedCount' },
                firstFailedAt: { $min: '$firstFailedAt' },
                lastFailedAt: { $max: '$lastFailedAt' },
                example: { $first: { _id: '$_id', inputType: '$inputType', position: '$position', error: '$error' } },
              },
            },
          ],
          { timeoutMS: ANSWER_MAX_MS },
        )
        .toArray();
      const found = await inTime(reading, ANSWER_MAX_MS, 'a read of dead letters');
      return found.map(({ _id, ...rest }) => ({ ...rest, ..._id }));
    },

    async claim(_id, { count, lastFailedAt }, claimMs) {
      const isNew = {
        $or: [
          { $eq: [{ $ifNull: ['$upTo', null] }, null] },
          { $lt: ['$upTo', lastFailedAt] },
          { $lt: ['$count', count] },
        ],
      };
      const due = { $lte: [{ $ifNull: ['$notBefore', new Date(0)] }, '$$NOW'] };
      const claiming = alerts.findOneAndUpdate(
        { _id },
        [
          { $set: { claimed: { $and: [due, isNew] } } },
          {
            $set: {
              notBefore: { $cond: ['$claimed', { $add: ['$$NOW', claimMs] }, '$notBefore'] },
              expiresAt: { $add: ['$$NOW', KEEP_MS] },
              // Healed ones make room: the next dead letter of this group is news.
              count: { $min: [{ $ifNull: ['$count', count] }, count] },
            },
          },
        ],
        { upsert: true, returnDocument: 'after' },
      );
      return (await inTime(claiming, ANSWER_MAX_MS, 'a claim of an alert'))?.claimed === true;
    },

    async told(_id, { count, lastFailedAt }, windowMs) {
      const telling = alerts.updateOne({ _id }, [
        {
          $set: {
            count,
            upTo: lastFailedAt,
            toldAt: '$$NOW',
            notBefore: { $add: ['$$NOW', windowMs] },
            expiresAt: { $add: ['$$NOW', windowMs + KEEP_MS] },
          },
        },
      ]);
      await inTime(telling, ANSWER_MAX_MS, 'an alert that was told');
    },

    async failed(_id, againMs) {
      const later = alerts.updateOne({ _id }, [{ $set: { notBefore: { $add: ['$$NOW', againMs] } } }]);
      await inTime(later, ANSWER_MAX_MS, 'an alert that failed');
    },
  };
}
