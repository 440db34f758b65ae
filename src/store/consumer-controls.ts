import type { Db, Document, MongoClient, UpdateFilter } from 'mongodb';
import type { StartFrom } from '../define/start-from.ts';
import { createCausalReads } from './causal-reads.ts';
import { positionBefore } from './consumers.ts';
import type {
  AuditDocument,
  ConsumerDocument,
  DeadLetterDocument,
  LogDocument,
  PartitionDocument,
  PartitionMarkDocument,
} from './documents.ts';
import { findByIds } from './find-by-ids.ts';
import { askedAgain, inParts, inTime } from './in-time.ts';
import {
  type PartitionReset,
  type PartitionResetEnd,
  removeLetters,
  removeOfInstances,
  resetPartition,
} from './partition-reset.ts';
import { consumerId, type GenerationRef } from './partitions.ts';
import { createTransactions, type TransactionEnd } from './transactions.ts';

/** What a reset is to do, kept until it is done: whoever repeats it goes on. */
export type Reset = NonNullable<ConsumerDocument['resetting']>;

/**
 * `consumers` and their partitions, as operators control them. A paused consumer has its mark in every partition, set with a
 * new revision: whoever works on one loses its next transaction, and finds the mark when it looks again.
 */
export interface ConsumerControlStore {
  /** All generations of the log that were ever created and not retired. */
  list(): Promise<readonly ConsumerDocument[]>;
  find(ref: GenerationRef): Promise<ConsumerDocument | undefined>;
  /** Writes `paused` and the audit. `refused`: it is paused already, or, `onlyBuilding`, its view is read. Call `mark` after it. */
  pause(
    ref: GenerationRef,
    paused: NonNullable<ConsumerDocument['paused']>,
    audit: AuditDocument,
    options?: { readonly onlyBuilding?: boolean },
  ): Promise<TransactionEnd>;
  /**
   * Marks every partition as the consumer says now, or said when it was `heard`, and gives that: where it is paused nobody writes for
   * this generation any more, else the marks go. One that comes after a later pause or resume does nothing. Undefined: there is none.
   */
  mark(ref: GenerationRef, heard?: ConsumerDocument): Promise<ConsumerDocument | undefined>;
  /** Call `mark` after it. `refused`: it is not paused, or a reset is unfinished. */
  resume(ref: GenerationRef, audit: AuditDocument): Promise<TransactionEnd>;
  /**
   * A rebuild is given up: it is paused and a reset of it is begun, until `endReset`. `refused`: it was aborted before, or its view
   * is read. Call `mark` after it.
   */
  abort(
    ref: GenerationRef,
    aborted: NonNullable<ConsumerDocument['aborted']>,
    audit: AuditDocument,
  ): Promise<TransactionEnd>;
  /** It is built anew. `refused`: it is not aborted, or not all is removed yet. Call `mark` after it. */
  restart(ref: GenerationRef, at: Date, audit: AuditDocument): Promise<TransactionEnd>;
  /** `refused`: it is not paused, or an aborted rebuild. Call `mark` after it. */
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
  /** Writes `retiredAt` and the audit. `refused`: unknown or retired before. Call `removeAll` after it. */
  retire(ref: GenerationRef, at: Date, audit: AuditDocument): Promise<TransactionEnd>;
  /** Everything that the generation left behind, `collections` among it. Until it is done the generation cannot come back. Idempotent. */
  removeAll(ref: GenerationRef, collections: readonly string[]): Promise<void>;
  /** How long ago (server's clock) a partition of it was written; undefined when it has none. */
  idleMs(ref: GenerationRef): Promise<number | undefined>;
  /** When the events at these positions happened. */
  timesAt(positions: readonly number[]): Promise<ReadonlyMap<number, Date>>;
  sessionIds(): readonly unknown[];
  close(): Promise<void>;
}

const READ_MAX_MS = 30_000;
const WRITE_MAX_MS = 10_000;
/** Of all documents of a view. */
const COUNT_MAX_MS = 120_000;
/** A killed process leaves partitions locked for some seconds. */
const MARK_MAX_MS = 20_000;
const asked = <T>(read: () => Promise<T>): Promise<T> => askedAgain(read, READ_MAX_MS, 'a read of consumers');

export function createConsumerControlStore(client: MongoClient, db: Db, logId: string): ConsumerControlStore {
  const consumers = db.collection<ConsumerDocument>('consumers');
  const partitions = db.collection<PartitionDocument>('partitions');
  const events = db.collection<LogDocument>('events');
  const marks = db.collection<PartitionMarkDocument>('partition_marks');
  const letters = db.collection<DeadLetterDocument>('dead_letters');
  const audits = db.collection<AuditDocument>('audit');
  const transactions = createTransactions(client, createCausalReads(client), 1);
  const idOf = (ref: GenerationRef): string => consumerId(logId, ref);

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
  const fence = async (ref: GenerationRef, { paused, pauseCount = 0 }: ConsumerDocument): Promise<void> => {
    const update: UpdateFilter<PartitionDocument> =
      paused === undefined ? { $set: { pauseCount }, $unset: { paused: '' } } : { $set: { paused: true, pauseCount } };
    const older = { ...own(ref), pauseCount: { $not: { $gte: pauseCount } } };
    const all = { ...update, $inc: { revision: 1 }, $currentDate: { updatedAt: true } } as const;
    await inTime(partitions.updateMany(older, all, { maxTimeMS: MARK_MAX_MS }), MARK_MAX_MS, 'a mark of partitions');
  };
  const find = async (ref: GenerationRef): Promise<ConsumerDocument | undefined> =>
    (await asked(() => consumers.findOne({ _id: { $eq: idOf(ref) } }))) ?? undefined;

  return {
    list: () =>
      asked(() =>
        consumers
          .find({ _id: { $gte: `${logId}/`, $lt: `${logId}0` }, retiredAt: { $exists: false } })
          .sort({ consumer: 1, generation: 1 })
          .toArray(),
      ),
    find,
    pause: (ref, paused, audit, { onlyBuilding = false } = {}) => {
      const no = { $exists: false };
      const on = { paused: no, ...(onlyBuilding && { swappedAt: no }) };
      return change(ref, on, { $set: { paused }, $inc: { pauseCount: 1 } }, audit);
    },
    async mark(ref, heard) {
      const now = heard ?? (await find(ref));
      if (now !== undefined) await fence(ref, now);
      return now;
    },
    abort: (ref, aborted, audit) => {
      const resetting: Reset = { since: aborted.since, position: 0, dropInstances: false, repeatEffects: false };
      const update = { $set: { aborted, paused: aborted, resetting }, $inc: { pauseCount: 1 } };
      return change(ref, { aborted: { $exists: false }, swappedAt: { $exists: false } }, update, audit);
    },
    restart: (ref, at, audit) =>
      change(
        ref,
        { aborted: { $exists: true }, resetting: { $exists: false } },
        { $unset: { aborted: '', paused: '' }, $set: { startedAt: at }, $inc: { pauseCount: 1 } },
        audit,
      ),
    resume: (ref, audit) =>
      change(
        ref,
        { paused: { $exists: true }, resetting: { $exists: false }, aborted: { $exists: false } },
        { $unset: { paused: '' }, $inc: { pauseCount: 1 } },
        audit,
      ),
    beginReset: (ref, resetting, audit) =>
      change(ref, { paused: { $exists: true }, aborted: { $exists: false } }, { $set: { resetting } }, audit),
    resetPartition: (reset) => resetPartition(db, logId, reset),
    removeOfInstances: (ref) => removeOfInstances(db, logId, ref),
    async endReset(ref, replayUntil) {
      const update: UpdateFilter<ConsumerDocument> =
        replayUntil === undefined
          ? { $unset: { resetting: '', replayUntil: '' } }
          : { $unset: { resetting: '' }, $set: { replayUntil } };
      const ending = consumers.updateOne({ _id: idOf(ref) }, update, { timeoutMS: WRITE_MAX_MS });
      await inTime(ending, WRITE_MAX_MS, 'the end of a reset');
    },
    positionOf: (to) => asked(() => positionBefore(events, to)),
    countDocuments: (collection) => {
      const counting = db.collection(collection).countDocuments({ _deleted: { $exists: false } });
      return inTime(counting, COUNT_MAX_MS, 'a count of documents');
    },
    countDeadLetters: ({ consumer, generation }, after) =>
      asked(() => letters.countDocuments({ logId, consumer, generation, position: { $gt: after } })),
    retire: (ref, at, audit) =>
      change(ref, { retiredAt: { $exists: false } }, { $set: { retiredAt: at, removing: true } }, audit),
    async removeAll(ref, collections) {
      const { consumer, generation } = ref;
      await inParts((limits) => partitions.deleteMany(own(ref), limits), 'a removal of partitions');
      await inParts((limits) => marks.deleteMany(own(ref), limits), 'a removal of marks');
      await removeLetters(db, { logId, consumer, generation });
      await removeOfInstances(db, logId, ref);
      for (const name of collections) await inTime(db.collection(name).drop(), COUNT_MAX_MS, 'a removal of documents');
      const ending = consumers.updateOne(
        { _id: idOf(ref), retiredAt: { $exists: true } },
        { $unset: { removing: '' } },
      );
      await inTime(ending, WRITE_MAX_MS, 'the end of a removal');
    },
    async idleMs(ref) {
      const stages = [
        { $match: own(ref) },
        { $group: { _id: null, at: { $max: '$updatedAt' } } },
        { $project: { idleMs: { $toDouble: { $subtract: ['$$NOW', '$at'] } } } },
      ];
      const [found] = await asked(() => partitions.aggregate<{ idleMs: number }>(stages).toArray());
      return found?.idleMs;
    },
    async timesAt(positions) {
      const found = await asked(() => findByIds<LogDocument>(db, 'events', positions));
      return new Map(found.map(({ _id, at }) => [_id, at]));
    },
    sessionIds: () => transactions.sessionIds(),
    close: () => transactions.close(),
  };
}
