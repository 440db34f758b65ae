import type { Db, MongoClient } from 'mongodb';
import { createCausalReads } from './causal-reads.ts';
import { deadLetterId } from './dead-letters.ts';
import type { AuditDocument, ConsumerDocument } from './documents.ts';
import { consumerId, type GenerationRef } from './partitions.ts';

/** What a view's documents do not hold of the log. */
export interface PastBasis {
  /** Events up to here were never handled: it started, or was reset, after them. */
  readonly after: number;
  /** It was reset: versions of documents went on counting then. */
  readonly wasReset: boolean;
  /** Positions of events that an operator skipped for this key, since then. */
  readonly skipped: ReadonlySet<number>;
}

/** What operators did to a view, as far as it shows in its documents. Majority, from the primary. */
export interface PastStore {
  basis(ref: GenerationRef, key: string): Promise<PastBasis>;
}

type Entry = Pick<AuditDocument, 'target' | 'action' | 'at' | 'before' | 'after'>;

export function createPastStore(client: MongoClient, db: Db, logId: string): PastStore {
  const reads = createCausalReads(client);
  const consumers = db.collection<ConsumerDocument>('consumers');
  const audit = db.collection<AuditDocument>('audit');
  return {
    basis: (ref, key) =>
      reads.run(async (session) => {
        const [resets, skips] = [`${ref.consumer}/${ref.generation}`, deadLetterId(logId, ref, key)];
        const [known, entries] = await Promise.all([
          consumers.findOne({ _id: { $eq: consumerId(logId, ref) } }, { session }),
          audit
            .find({ logId, target: { $in: [resets, skips] } }, { session })
            .project<Entry>({ target: 1, action: 1, at: 1, before: 1, 'after.position': 1 })
            .sort({ at: 1, _id: 1 })
            .toArray(),
        ]);
        // One that was retired and came back, or was aborted and started again, began anew.
        const since = known?.startedAt ?? known?.createdAt ?? new Date(0);
        const valid = entries.filter(({ at }) => at >= since);
        const reset = valid.findLast(({ action }) => action === 'consumer.reset');
        const skipped = valid.flatMap(({ action, at, before }) =>
          action === 'deadLetter.skip' && (reset === undefined || at >= reset.at) ? (positionIn(before) ?? []) : [],
        );
        const after = reset === undefined ? (known?.startPosition ?? 0) : (positionIn(reset.after) ?? 0);
        return { after, wasReset: reset !== undefined, skipped: new Set(skipped) };
      }),
  };
}

const positionIn = (told: unknown): number | undefined =>
  typeof told === 'object' && told !== null && 'position' in told && typeof told.position === 'number'
    ? told.position
    : undefined;
