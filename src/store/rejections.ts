import type { Db } from 'mongodb';
import type { RejectionDocument } from './documents.ts';
import { askedAgain } from './in-time.ts';

/** `rejections`: refusals, so that a repeated command meets the same refusal until it expires. */
export interface RejectionStore {
  /** Returns the stored refusal: this one, or an earlier one of the same command. */
  record(rejection: RejectionDocument): Promise<RejectionDocument>;
  find(ids: readonly string[]): Promise<readonly RejectionDocument[]>;
}

export const rejectionId = (stream: string, commandId: string): string => `${stream}\u0000${commandId}`;

export async function ensureRejections(db: Db): Promise<void> {
  await db.collection('rejections').createIndexes([
    { name: 'expiry', key: { expiresAt: 1 }, expireAfterSeconds: 0 },
    { name: 'stream', key: { stream: 1, at: 1 } },
  ]);
}

const ANSWER_MAX_MS = 10_000;

export function createRejectionStore(db: Db): RejectionStore {
  const rejections = db.collection<RejectionDocument>('rejections', { timeoutMS: ANSWER_MAX_MS });
  return {
    async record(rejection) {
      const { _id, ...rest } = rejection;
      const record = () =>
        rejections.findOneAndUpdate({ _id }, { $setOnInsert: rest }, { upsert: true, returnDocument: 'after' });
      // Whoever comes second gets what the first one wrote.
      const stored = await askedAgain(record, ANSWER_MAX_MS, 'the record of a refusal');
      return stored ?? rejection;
    },
    find: (ids) => askedAgain(() => rejections.find({ _id: { $in: [...ids] } }).toArray(), ANSWER_MAX_MS, 'a read'),
  };
}
