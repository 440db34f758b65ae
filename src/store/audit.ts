import type { Db, Document, Filter } from 'mongodb';
import { ignoreExisting } from './commits.ts';
import type { AuditDocument } from './documents.ts';
import { askedAgain } from './in-time.ts';

/** What must hold for an entry; all of it. */
export interface AuditMatch {
  readonly action?: string | undefined;
  readonly actor?: string | undefined;
  readonly target?: string | undefined;
  /** Inclusive. */
  readonly since?: Date | undefined;
  /** Exclusive. */
  readonly until?: Date | undefined;
}

/** Where an entry stands: entries go from the newest to the oldest. */
export interface AuditPlace {
  readonly at: Date;
  readonly id: string;
}

/** At most `limit` records between two places, from the far end when `turned`. Places are exclusive unless `inclusive`. */
export interface RecordSlice<Place> {
  readonly after: Place | undefined;
  readonly before: Place | undefined;
  readonly inclusive: boolean;
  readonly turned: boolean;
  readonly limit: number;
}

/** `audit`: what operators did. Entries are only added; what they tell of is written together with them. */
export interface AuditStore {
  /** Newest first. */
  scan(match: AuditMatch, slice: RecordSlice<AuditPlace>): Promise<readonly AuditDocument[]>;
}

/** Creates the collection and its indexes; safe from several processes at once. */
export async function ensureAudit(db: Db, existing: ReadonlySet<string>): Promise<void> {
  if (!existing.has('audit')) await db.createCollection('audit').catch(ignoreExisting);
  await db.collection('audit').createIndexes([
    { name: 'time', key: { logId: 1, at: 1, _id: 1 } },
    { name: 'target', key: { logId: 1, target: 1, at: 1, _id: 1 } },
  ]);
}

const READ_MAX_MS = 30_000;

export function createAuditStore(db: Db, logId: string): AuditStore {
  const audit = db.collection<AuditDocument>('audit');
  return {
    scan: ({ action, actor, target, since, until }, slice) => {
      if (slice.limit === 0) return Promise.resolve([]);
      const fixed: Filter<AuditDocument> = {
        logId,
        ...(action !== undefined && { action: { $eq: action } }),
        ...(actor !== undefined && { actor: { $eq: actor } }),
        ...(target !== undefined && { target: { $eq: target } }),
        ...((since !== undefined || until !== undefined) && {
          at: { ...(since && { $gte: since }), ...(until && { $lt: until }) },
        }),
      };
      const direction = slice.turned ? 1 : -1;
      const read = () =>
        audit
          .find({ $and: [fixed, ...placesOf(slice)] }, { limit: slice.limit, batchSize: slice.limit })
          .sort({ at: direction, _id: direction })
          .toArray();
      return askedAgain(read, READ_MAX_MS, 'a read of the audit');
    },
  };
}

/** Newest first: what comes after a place is older. */
function placesOf({ after, before, inclusive }: RecordSlice<AuditPlace>): Document[] {
  const beyond = ({ at, id }: AuditPlace, strict: '$lt' | '$gt'): Document => ({
    $or: [{ at: { [strict]: at } }, { at, _id: { [inclusive ? `${strict}e` : strict]: id } }],
  });
  return [...(after ? [beyond(after, '$lt')] : []), ...(before ? [beyond(before, '$gt')] : [])];
}
