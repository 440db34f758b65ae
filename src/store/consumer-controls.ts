import type { Collection, Db, Document, MongoClient, UpdateFilter } from 'mongodb';
import type { StartFrom } from '../define/start-from.ts';
import { MillraceError } from '../errors.ts';
import { createCausalReads } from './causal-reads.ts';
import { positionBefore } from './consumers.ts';
import { parkedEventId } from './dead-letters.ts';
import type {
  AuditDocument,
  ConsumerDocument,
  DeadLetterDocument,
  LogDocument,
  ParkedEventDocument,
  PartitionDocument,
  SagaKeyDocument,
  TimerDocument,
} from './documents.ts';
import { askedAgain, inParts, inTime } from './in-time.ts';
import { type GenerationRef, partitionId } from './partitions.ts';
import { createTransactions, type TransactionEnd } from './transactions.ts';

/** What a reset is to do, kept until it is done: whoever repeats it goes on. */
export type Reset = NonNullable<ConsumerDocument['resetting']>;

/** What a reset does to the effects of one partition. */
export interface PartitionReset {
  readonly ref: GenerationRef & { readonly partition: number };
  readonly position: number;
  /** Collection of documents: turned into tombstones (views), removed (instances of sagas), or kept. */
  readonly documents: { readonly collection: string; readonly how: 'bury' | 'remove' } | undefined;
  /** Remove the dead letters, all or those that failed after `position`. */
  readonly deadLetters: 'all' | 'later' | 'none';
  /** Events after this come again: those that wait behind a dead letter that is kept wait there once they have come. */
  readonly againAfter: number;
}
export interface PartitionResetEnd {
  readonly partition: number;
  readonly checkpoint: number;
  readonly revision: number;
  readonly blockedCount: number;
}

/**
 * `consumers` and their partitions, as operators control them. A paused consumer has its mark in every partition, set with a
 * new revision: whoever works on one loses its next transaction, and finds the mark when it looks again.
 */
export interface ConsumerControlStore {
  /** All generations of the log that were ever created and not retired. */
  list(): Promise<readonly ConsumerDocument[]>;
  find(ref: GenerationRef): Promise<ConsumerDocument | undefined>;
  /** Writes `paused` and the audit. `refused`: it is paused already. Call `fence` after it. */
  pause(
    ref: GenerationRef,
    paused: NonNullable<ConsumerDocument['paused']>,
    audit: AuditDocument,
  ): Promise<TransactionEnd>;
  /**
   * Marks every partition. After it nobody writes for this generation until `release`. `pauseCount`: of the pause; one that comes
   * after a later resume does nothing.
   */
  fence(ref: GenerationRef, pauseCount: number): Promise<void>;
  /** Takes the marks away. `pauseCount`: of the resume; one that comes after a later pause does nothing. */
  release(ref: GenerationRef, pauseCount: number): Promise<void>;
  /** Call `release` after it. `refused`: it is not paused, or a reset is unfinished. */
  resume(ref: GenerationRef, audit: AuditDocument): Promise<TransactionEnd>;
  /** `refused`: it is not paused. */
  beginReset(ref: GenerationRef, reset: Reset, audit: AuditDocument): Promise<TransactionEnd>;
  /** Idempotent. Throws FENCED when the partition is not fenced. */
  resetPartition(reset: PartitionReset): Promise<PartitionResetEnd>;
  /** What a saga's instances have beside their documents: timers, and where correlation keys lead. */
  removeOfInstances(ref: GenerationRef): Promise<void>;
  endReset(ref: GenerationRef, replayUntil: number | undefined): Promise<void>;
  /** The position that a consumer which starts there counts as handled; at most the end of the log. */
  positionOf(to: StartFrom): Promise<number>;
  /** Documents that are not removed. */
  countDocuments(collection: string): Promise<number>;
  countDeadLetters(ref: GenerationRef, after: number): Promise<number>;
  /** Writes `retiredAt` and the audit. `refused`: unknown or retired before. */
  retire(ref: GenerationRef, at: Date, audit: AuditDocument): Promise<TransactionEnd>;
  /** Everything that the generation left behind, `collections` among it. */
  removeAll(ref: GenerationRef, collections: readonly string[]): Promise<void>;
  /** How long ago (server's clock) a partition of it was written; undefined when it has none. */
  idleMs(ref: GenerationRef): Promise<number | undefined>;
  /** When the events at these positions happened. */
  timesAt(positions: readonly number[]): Promise<ReadonlyMap<number, Date>>;
  sessionIds(): readonly unknown[];
  close(): Promise<void>;
}

const LETTERS_PER_TURN = 200;
const READ_MAX_MS = 30_000;
/** A killed process leaves partitions locked for some seconds. */
const MARK_MAX_MS = 20_000;
const asked = <T>(read: () => Promise<T>): Promise<T> => askedAgain(read, READ_MAX_MS, 'a read of consumers');

export function createConsumerControlStore(client: MongoClient, db: Db, logId: string): ConsumerControlStore {
  const consumers = db.collection<ConsumerDocument>('consumers');
  const partitions = db.collection<PartitionDocument>('partitions');
  const events = db.collection<LogDocument>('events');
  const audits = db.collection<AuditDocument>('audit');
  const transactions = createTransactions(client, createCausalReads(client), 1);
  const idOf = ({ consumer, generation }: GenerationRef): string => `${logId}/${consumer}/${generation}`;

  /** A change of the consumer's document with its entry in the audit, or neither. */
  const change = (ref: GenerationRef, on: Document, update: Document, audit: AuditDocument): Promise<TransactionEnd> =>
    transactions.run(async ({ session }) => {
      const { matchedCount } = await consumers.updateOne({ _id: idOf(ref), ...on }, update, { session });
      if (matchedCount === 0) return false;
      await audits.insertOne({ ...audit }, { session });
      return true;
    });
  const own = (ref: GenerationRef): Document => ({ _id: { $gte: `${idOf(ref)}/`, $lt: `${idOf(ref)}0` } });
  /** No transaction: a single write waits for the one that is under way and then comes first. Whoever comes late finds a later count. */
  const mark = async (ref: GenerationRef, pauseCount: number, update: UpdateFilter<PartitionDocument>) => {
    const older = { ...own(ref), pauseCount: { $not: { $gte: pauseCount } } };
    const all = { ...update, $inc: { revision: 1 }, $currentDate: { updatedAt: true } } as const;
    await inTime(partitions.updateMany(older, all, { maxTimeMS: MARK_MAX_MS }), MARK_MAX_MS, 'a mark of partitions');
  };

  return {
    list: () =>
      asked(() =>
        consumers
          .find({ _id: { $gte: `${logId}/`, $lt: `${logId}0` }, retiredAt: { $exists: false } })
          .sort({ consumer: 1, generation: 1 })
          .toArray(),
      ),
    find: async (ref) => (await asked(() => consumers.findOne({ _id: { $eq: idOf(ref) } }))) ?? undefined,
    pause: (ref, paused, audit) =>
      change(ref, { paused: { $exists: false } }, { $set: { paused }, $inc: { pauseCount: 1 } }, audit),
    fence: (ref, pauseCount) => mark(ref, pauseCount, { $set: { paused: true, pauseCount } }),
    release: (ref, pauseCount) => mark(ref, pauseCount, { $set: { pauseCount }, $unset: { paused: '' } }),
    resume: (ref, audit) =>
      change(
        ref,
        { paused: { $exists: true }, resetting: { $exists: false } },
        { $unset: { paused: '' }, $inc: { pauseCount: 1 } },
        audit,
      ),
    beginReset: (ref, resetting, audit) => change(ref, { paused: { $exists: true } }, { $set: { resetting } }, audit),
    resetPartition: (reset) => resetPartition(db, logId, reset),
    removeOfInstances: (ref) => removeOfInstances(db, logId, ref),
    async endReset(ref, replayUntil) {
      const update: UpdateFilter<ConsumerDocument> =
        replayUntil === undefined
          ? { $unset: { resetting: '', replayUntil: '' } }
          : { $unset: { resetting: '' }, $set: { replayUntil } };
      await consumers.updateOne({ _id: idOf(ref) }, update);
    },
    positionOf: (to) => positionBefore(events, to),
    countDocuments: (collection) => db.collection(collection).countDocuments({ _deleted: { $exists: false } }),
    countDeadLetters: ({ consumer, generation }, after) =>
      db
        .collection<DeadLetterDocument>('dead_letters')
        .countDocuments({ logId, consumer, generation, position: { $gt: after } }),
    retire: (ref, at, audit) => change(ref, { retiredAt: { $exists: false } }, { $set: { retiredAt: at } }, audit),
    async removeAll(ref, collections) {
      const { consumer, generation } = ref;
      await partitions.deleteMany(own(ref));
      await removeLetters(db, { logId, consumer, generation });
      await removeOfInstances(db, logId, ref);
      for (const name of collections) await db.collection(name).drop();
    },
    async idleMs(ref) {
      const [found] = await partitions
        .aggregate<{ idleMs: number }>([
          { $match: own(ref) },
          { $group: { _id: null, at: { $max: '$updatedAt' } } },
          { $project: { idleMs: { $toDouble: { $subtract: ['$$NOW', '$at'] } } } },
        ])
        .toArray();
      return found?.idleMs;
    },
    async timesAt(positions) {
      const found = await events.find({ _id: { $in: [...positions] } }, { projection: { at: 1 } }).toArray();
      return new Map(found.map(({ _id, at }) => [_id, at]));
    },
    sessionIds: () => transactions.sessionIds(),
    close: () => transactions.close(),
  };
}

/**
 * The partition is fenced: nobody else writes it. Effects first, under the revision that the partition takes last: readers
 * look for changes up to the revision that they find in it.
 */
async function resetPartition(db: Db, logId: string, reset: PartitionReset): Promise<PartitionResetEnd> {
  const { ref, position, documents, deadLetters, againAfter } = reset;
  const partitions = db.collection<PartitionDocument>('partitions');
  const _id = partitionId(logId, ref);
  for (;;) {
    const found = await partitions.findOne({ _id });
    if (found === null) return { partition: ref.partition, checkpoint: position, revision: 0, blockedCount: 0 };
    if (found.paused !== true) throw resumed(ref);
    const revision = found.revision + 1;
    if (documents?.how === 'bury') await bury(db.collection(documents.collection), ref.partition, revision, position);
    if (documents?.how === 'remove') {
      await db.collection(documents.collection).deleteMany({ _partition: ref.partition });
    }
    const { consumer, generation, partition } = ref;
    const of = { logId, consumer, generation, partition };
    if (deadLetters !== 'none') {
      await removeLetters(db, deadLetters === 'all' ? of : { ...of, position: { $gt: position } });
    }
    await unparkAfter(db, of, againAfter);
    const blockedCount = await db.collection('dead_letters').countDocuments(of);
    const { matchedCount } = await partitions.updateOne(
      { _id, revision: found.revision, paused: true },
      {
        $set: { checkpoint: position, revision, ...(blockedCount > 0 && { blockedCount }) },
        $unset: { failure: '', mark: '', ...(blockedCount === 0 && { blockedCount: '' }) },
        $currentDate: { updatedAt: true },
      },
    );
    if (matchedCount === 1) return { partition, checkpoint: position, revision, blockedCount };
  }
}

/** Whoever was away for long must not bury what others wrote meanwhile. */
const resumed = ({ consumer, partition }: PartitionReset['ref']): MillraceError =>
  new MillraceError(
    'FENCED',
    `Partition ${partition} of consumer "${consumer}" is not paused any more: somebody else ended this reset. Look at the consumer, and reset it again if need be.`,
  );

/** Documents become tombstones whose version goes on: whoever watches them learns that they are gone, and of what comes then. */
async function bury(documents: Collection, partition: number, revision: number, position: number): Promise<void> {
  const tombstone = {
    _id: '$_id',
    _partition: '$_partition',
    _revision: revision,
    _position: position,
    _version: { $add: ['$_version', 1] },
    _origins: [],
    _deleted: '$$NOW',
  };
  await documents.updateMany({ _partition: partition, _deleted: { $exists: false } }, [{ $replaceWith: tombstone }]);
}

/** Takes later events from behind dead letters: each would be counted twice when it comes again. */
async function unparkAfter(
  db: Db,
  of: GenerationRef & { readonly partition: number },
  position: number,
): Promise<void> {
  const letters = db.collection<DeadLetterDocument>('dead_letters');
  const parked = db.collection<ParkedEventDocument>('parked_events');
  for (let after = ''; ; ) {
    const some = { projection: { _id: 1 }, sort: { _id: 1 }, limit: LETTERS_PER_TURN } as const;
    const match = { ...of, _id: { $gt: after }, parkedCount: { $gt: 0 } };
    const ids = (await asked(() => letters.find(match, some).toArray())).map(({ _id }) => _id);
    const last = ids.at(-1);
    if (last === undefined) return;
    const later = ids.map((id) => ({ _id: { $gt: parkedEventId(id, position), $lt: `${id}0` } }));
    await inParts((limits) => parked.deleteMany({ $or: later }, limits), 'parked events');
    const counting = [
      { $match: { $or: ids.map((id) => ({ _id: { $gte: `${id}/`, $lt: `${id}0` } })) } },
      { $group: { _id: '$deadLetter', count: { $sum: 1 } } },
    ];
    const counts = await asked(() => parked.aggregate<{ _id: string; count: number }>(counting).toArray());
    const countOf = new Map(counts.map(({ _id, count }) => [_id, count]));
    const updates = ids.map((_id) => ({
      updateOne: { filter: { _id }, update: { $set: { parkedCount: countOf.get(_id) ?? 0 } } },
    }));
    await inParts((limits) => letters.bulkWrite(updates, limits), 'dead letters');
    after = last;
  }
}

async function removeOfInstances(db: Db, logId: string, { consumer, generation }: GenerationRef): Promise<void> {
  const prefix = `${logId}/${consumer}/${generation}`;
  await db.collection<TimerDocument>('timers').deleteMany({ logId, consumer, generation });
  await db.collection<SagaKeyDocument>('saga_keys').deleteMany({ _id: { $gte: `${prefix}/`, $lt: `${prefix}0` } });
}

async function removeLetters(db: Db, match: Document): Promise<void> {
  const letters = db.collection<DeadLetterDocument>('dead_letters');
  const parked = db.collection<ParkedEventDocument>('parked_events');
  for (;;) {
    const found = await letters.find(match, { projection: { _id: 1 }, limit: LETTERS_PER_TURN }).toArray();
    if (found.length === 0) return;
    const ids = found.map(({ _id }) => _id);
    // "0" is the character after "/": a range holds exactly the ids that begin with the prefix.
    await parked.deleteMany({ $or: ids.map((id) => ({ _id: { $gte: `${id}/`, $lt: `${id}0` } })) });
    await letters.deleteMany({ _id: { $in: ids } });
  }
}
