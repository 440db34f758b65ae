import type { AnyBulkWriteOperation, Db, Document, Filter, MongoClient } from 'mongodb';
import { ignoreExisting } from './commits.ts';
import type { AuditDocument, QueuedCommandDocument, StoredError } from './documents.ts';
import { askedAgain, inTime } from './in-time.ts';
import { isDuplicateKey } from './mongo-errors.ts';
import { beyondPlace, type TimerSlice } from './timers.ts';

/** How a try of a command ended, as it is written down. `holder`: only while that process has the claim. */
export type Settlement = { readonly id: string; readonly holder?: string } & (
  | {
      readonly kind: 'accepted';
      readonly attempts: number;
      readonly startedAt: Date;
      /** What all tries failed with, where the author's `onFailed` made events of it. */
      readonly error?: StoredError;
    }
  | {
      readonly kind: 'rejected';
      readonly attempts: number;
      readonly startedAt: Date;
      readonly refusal: { readonly code: string; readonly reason: string };
      /** A saga waits to hear of it. */
      readonly tell: boolean;
    }
  | { readonly kind: 'dead'; readonly attempts: number; readonly error: StoredError }
  | {
      readonly kind: 'retry';
      readonly attempts: number;
      readonly error: StoredError;
      /** Until the next try; until the sweep sees to it. */
      readonly delayMs: number;
      readonly dueMs: number;
    }
  /** Not counted: the surroundings failed, or the process stops. */
  | { readonly kind: 'postponed'; readonly dueMs: number }
);

export type Claim =
  | { readonly kind: 'claimed'; readonly command: QueuedCommandDocument }
  /** Another process runs it. */
  | { readonly kind: 'held' }
  /** It is settled, or unknown. */
  | { readonly kind: 'settled'; readonly command: QueuedCommandDocument | undefined };

/** `queued_commands`: commands that wait for a worker, and what became of them. All writes are majority. */
export interface QueuedCommandStore {
  /** Inserts those that are not known. Returns those that were known before, as they are. */
  insert(commands: readonly QueuedCommandDocument[]): Promise<readonly QueuedCommandDocument[]>;
  /** In no order. */
  find(ids: readonly string[]): Promise<readonly QueuedCommandDocument[]>;
  /** Marks open commands as begun by a process, so that nobody can cancel them; the sweep keeps away for `graceMs`. Returns those. */
  begin(ids: readonly string[], by: string, graceMs: number): Promise<readonly QueuedCommandDocument[]>;
  /** The process that began this command died with it; counted once. */
  interrupted(id: string, by: string): Promise<void>;
  /** Takes open commands for one process, for `ttlMs` by the server's clock; answers in their order. */
  claim(ids: readonly string[], holder: string, ttlMs: number): Promise<readonly Claim[]>;
  /** Returns the ids that `holder` has no more. */
  renew(ids: readonly string[], holder: string, ttlMs: number): Promise<readonly string[]>;
  /** What the try under way failed with for good, before what it came to is appended: whoever sees that sees the error too. */
  noteError(id: string, holder: string, error: StoredError): Promise<void>;
  /** An accepted command stays accepted; what is settled stays so otherwise. */
  settle(settlements: readonly Settlement[]): Promise<void>;
  /** Open commands that are due at this time of the server's, the longest due first. */
  due(now: Date, limit: number): Promise<readonly QueuedCommandDocument[]>;
  /**
   * Open commands that are due so late that only a clock which is ahead can have said so. Reads all that wait for a next try as
   * long.
   */
  misdated(now: Date, limit: number): Promise<readonly QueuedCommandDocument[]>;
  /** Keeps the sweep away from commands that somebody has in hand. */
  defer(ids: readonly string[], ms: number): Promise<void>;
  /** DEAD ones by when they died; others by when they are due. */
  list(
    filter: { readonly state: 'RECEIVED' | 'RUNNING' | 'DEAD'; readonly target?: string | undefined },
    slice: TimerSlice,
  ): Promise<readonly QueuedCommandDocument[]>;
  /** A DEAD command waits again, its tries counted from 0. Undefined, and nothing written, when it is not DEAD. */
  revive(id: string, dueMs: number, audit: AuditOf): Promise<QueuedCommandDocument | undefined>;
  /** One that has not begun, or is DEAD, is given up for good. Undefined, and nothing written, when it is neither. */
  cancel(id: string, reason: string, audit: AuditOf): Promise<QueuedCommandDocument | undefined>;
}
/** The entry of the audit for what was done to a command; written together with it. */
export type AuditOf = (before: QueuedCommandDocument) => AuditDocument;

const COLLECTION = 'queued_commands';
/** How long a settled command is kept; DEAD ones stay. */
export const SETTLED_TTL_MS = 7 * 86_400_000;
/** Nobody keeps the sweep away for so long, but for the wait for a next try. */
const DUE_MAX_MS = 60_000;
/** The sweep looks this long after a claim has run out. */
const AFTER_CLAIM_MS = 250;
/** A server that is silent for so long will not answer. */
const ANSWER_MAX_MS = 10_000;
const OPEN = ['RECEIVED', 'RUNNING'] as const;

export async function ensureQueuedCommands(db: Db, existing: ReadonlySet<string>): Promise<void> {
  if (!existing.has(COLLECTION)) await db.createCollection(COLLECTION).catch(ignoreExisting);
  const sender = { 'sender.consumer': 1, 'sender.generation': 1, 'sender.partition': 1, commandId: 1 } as const;
  await db.collection(COLLECTION).createIndexes([
    { name: 'due', key: { dueAt: 1, _id: 1 }, partialFilterExpression: { dueAt: { $exists: true } } },
    { name: 'dead', key: { finishedAt: 1, _id: 1 }, partialFilterExpression: { state: 'DEAD' } },
    { name: 'untold', key: sender, partialFilterExpression: { tell: true } },
    { name: 'expiry', key: { expiresAt: 1 }, expireAfterSeconds: 0 },
  ]);
}

/** Every call ends within ANSWER_MAX_MS; one that a silent MongoDB does not answer throws MONGODB_UNREACHABLE. */
export function createQueuedCommandStore(client: MongoClient, db: Db): QueuedCommandStore {
  const store = patientStore(client, db);
  const read = <T>(ask: () => Promise<T>): Promise<T> => askedAgain(ask, ANSWER_MAX_MS, 'a read of queued commands');
  const written = <T>(call: Promise<T>): Promise<T> => inTime(call, ANSWER_MAX_MS, 'a write of queued commands');
  return {
    insert: (commands) => written(store.insert(commands)),
    find: (ids) => read(() => store.find(ids)),
    begin: (ids, by, graceMs) => written(store.begin(ids, by, graceMs)),
    interrupted: (id, by) => written(store.interrupted(id, by)),
    claim: (ids, holder, ttlMs) => written(store.claim(ids, holder, ttlMs)),
    renew: (ids, holder, ttlMs) => written(store.renew(ids, holder, ttlMs)),
    noteError: (id, holder, error) => written(store.noteError(id, holder, error)),
    settle: (settlements) => written(store.settle(settlements)),
    due: (now, limit) => read(() => store.due(now, limit)),
    misdated: (now, limit) => read(() => store.misdated(now, limit)),
    defer: (ids, ms) => written(store.defer(ids, ms)),
    list: (filter, slice) => read(() => store.list(filter, slice)),
    revive: (id, dueMs, audit) => written(store.revive(id, dueMs, audit)),
    cancel: (id, reason, audit) => written(store.cancel(id, reason, audit)),
  };
}

function patientStore(client: MongoClient, db: Db): QueuedCommandStore {
  const queued = db.collection<QueuedCommandDocument>(COLLECTION, { timeoutMS: ANSWER_MAX_MS });
  const find = async (ids: readonly string[]): Promise<QueuedCommandDocument[]> =>
    ids.length === 0 ? [] : queued.find({ _id: { $in: [...ids] } }).toArray();
  return {
    async insert(commands) {
      if (commands.length === 0) return [];
      try {
        await queued.insertMany([...commands], { ordered: false });
        return [];
      } catch (error) {
        if (!isDuplicateKey(error)) throw error;
        // Also one that this very call wrote before the driver sent it again: receipt time and input tell.
        const wrote = new Map(commands.map((one) => [one._id, sameness(one)]));
        return (await find([...wrote.keys()])).filter((one) => wrote.get(one._id) !== sameness(one));
      }
    },
    find,
    async begin(ids, by, graceMs) {
      if (ids.length === 0) return [];
      const begun = {
        state: 'RUNNING',
        begunBy: { $literal: by },
        startedAt: { $ifNull: ['$startedAt', '$$NOW'] },
        dueAt: { $add: ['$$NOW', graceMs] },
        updatedAt: '$$NOW',
      };
      await queued.updateMany({ _id: { $in: [...ids] }, state: { $in: [...OPEN] } }, [{ $set: begun }]);
      return queued.find({ _id: { $in: [...ids] }, state: 'RUNNING' }).toArray();
    },
    async interrupted(id, by) {
      const left: Filter<QueuedCommandDocument> = { _id: id, state: { $in: [...OPEN] }, begunBy: by };
      await queued.updateOne(left, { $inc: { interruptions: 1 }, $unset: { begunBy: true } });
    },
    async claim(ids, holder, ttlMs) {
      if (ids.length === 0) return [];
      const free = { $lte: [{ $ifNull: ['$claim.until', '$$NOW'] }, '$$NOW'] };
      const mine = { $eq: ['$claim.holder', { $literal: holder }] };
      // Who takes its own claim again did not die.
      const interrupted = { $cond: [{ $and: [{ $ifNull: ['$claim', false] }, { $not: [mine] }] }, 1, 0] };
      const claimed = {
        state: 'RUNNING',
        startedAt: { $ifNull: ['$startedAt', '$$NOW'] },
        claim: { holder: { $literal: holder }, until: { $add: ['$$NOW', ttlMs] } },
        dueAt: { $add: ['$$NOW', ttlMs + AFTER_CLAIM_MS] },
        interruptions: { $add: [{ $ifNull: ['$interruptions', 0] }, interrupted] },
        updatedAt: '$$NOW',
      };
      await queued.updateMany({ _id: { $in: [...ids] }, state: { $in: [...OPEN] }, $expr: { $or: [free, mine] } }, [
        { $set: claimed },
        { $unset: 'nextAttemptAt' },
      ]);
      const known = new Map((await find(ids)).map((command) => [command._id, command]));
      return ids.map((id): Claim => {
        const command = known.get(id);
        if (command?.state !== 'RECEIVED' && command?.state !== 'RUNNING') return { kind: 'settled', command };
        return command.claim?.holder === holder ? { kind: 'claimed', command } : { kind: 'held' };
      });
    },
    async renew(ids, holder, ttlMs) {
      const until = { $add: ['$$NOW', ttlMs] };
      const renewed = { 'claim.until': until, dueAt: { $add: ['$$NOW', ttlMs + AFTER_CLAIM_MS] } };
      const mine: Filter<QueuedCommandDocument> = { _id: { $in: [...ids] }, 'claim.holder': holder };
      const { matchedCount } = await queued.updateMany(mine, [{ $set: renewed }]);
      if (matchedCount === ids.length) return [];
      const kept = new Set((await queued.find(mine, { projection: { _id: 1 } }).toArray()).map(({ _id }) => _id));
      return ids.filter((id) => !kept.has(id));
    },
    async noteError(id, holder, error) {
      await queued.updateOne({ _id: id, 'claim.holder': holder }, { $set: { 'claim.error': error } });
    },
    async settle(settlements) {
      if (settlements.length > 0) await queued.bulkWrite(settlements.map(settleOperation), { ordered: false });
    },
    due: (now, limit) =>
      queued
        .find({ dueAt: { $lte: now } })
        .sort({ dueAt: 1, _id: 1 })
        .limit(limit)
        .toArray(),
    misdated(now, limit) {
      const never = { $gt: new Date(now.getTime() + DUE_MAX_MS) };
      return queued
        .find({ dueAt: never, nextAttemptAt: { $exists: false } })
        .limit(limit)
        .toArray();
    },
    async defer(ids, ms) {
      if (ids.length === 0) return;
      const later = { dueAt: { $add: ['$$NOW', ms] } };
      await queued.updateMany({ _id: { $in: [...ids] }, dueAt: { $exists: true } }, [{ $set: later }]);
    },
    list({ state, target }, { after, before, inclusive, turned, limit }) {
      const field = state === 'DEAD' ? 'finishedAt' : 'dueAt';
      const and: Document[] = [{ state, [field]: { $exists: true } }];
      if (target !== undefined) and.push({ target: { $eq: target } });
      if (after !== undefined) and.push(beyondPlace(field, '$gt', after, inclusive));
      if (before !== undefined) and.push(beyondPlace(field, '$lt', before, inclusive));
      const direction = turned ? -1 : 1;
      return queued
        .find({ $and: and })
        .sort({ [field]: direction, _id: direction })
        .limit(limit)
        .toArray();
    },
    revive(id, dueMs, audit) {
      const dueAt = { $add: ['$$NOW', dueMs] };
      const again = { state: 'RECEIVED', attempts: 0, interruptions: 0, dueAt, updatedAt: '$$NOW' };
      const update = [
        { $set: { ...again, delivery: { $add: ['$delivery', 1] } } },
        { $unset: ['finishedAt', 'startedAt'] },
      ];
      return operate(client, db, { _id: id, state: 'DEAD' }, update, audit);
    },
    cancel(id, reason, audit) {
      const given = {
        state: 'CANCELLED',
        refusal: { code: 'CANCELLED', reason: { $literal: reason } },
        finishedAt: '$$NOW',
        updatedAt: '$$NOW',
        expiresAt: { $add: ['$$NOW', SETTLED_TTL_MS] },
        tell: { $cond: [{ $ifNull: ['$sender', false] }, true, '$$REMOVE'] },
      };
      const update = [{ $set: given }, { $unset: ['dueAt', 'nextAttemptAt'] }];
      return operate(client, db, { _id: id, state: { $in: ['RECEIVED', 'DEAD'] } }, update, audit);
    },
  };
}

const sameness = ({ receivedAt, hash }: QueuedCommandDocument): string => `${receivedAt.getTime()} ${hash}`;

/** What an operator does, with its entry in the audit: both or neither. */
function operate(
  client: MongoClient,
  db: Db,
  filter: Filter<QueuedCommandDocument>,
  update: Document[],
  audit: AuditOf,
): Promise<QueuedCommandDocument | undefined> {
  const queued = db.collection<QueuedCommandDocument>(COLLECTION);
  return client.withSession((session) =>
    session.withTransaction(async () => {
      const before = await queued.findOneAndUpdate(filter, update, { session, returnDocument: 'before' });
      if (before === null) return undefined;
      await db.collection<AuditDocument>('audit').insertOne(audit(before), { session });
      return (await queued.findOne({ _id: before._id }, { session })) ?? undefined;
    }),
  );
}

function settleOperation(settlement: Settlement): AnyBulkWriteOperation<QueuedCommandDocument> {
  const { id, holder } = settlement;
  const at = new Date();
  const filter: Filter<QueuedCommandDocument> = {
    _id: id,
    // The truth is the commit: whoever found it is right, whatever was written before.
    state: settlement.kind === 'accepted' ? { $ne: 'ACCEPTED' } : { $in: [...OPEN] },
    ...(holder === undefined ? {} : { 'claim.holder': holder }),
  };
  const finished = { updatedAt: at, finishedAt: at };
  const kept = { ...finished, expiresAt: new Date(at.getTime() + SETTLED_TTL_MS) };
  const ended = { claim: true, begunBy: true, nextAttemptAt: true, dueAt: true } as const;
  switch (settlement.kind) {
    case 'accepted': {
      const { attempts, startedAt, error } = settlement;
      const set = {
        state: 'ACCEPTED',
        attempts,
        startedAt,
        ...kept,
        ...(error === undefined ? {} : { error }),
      } as const;
      const stale = { ...ended, refusal: true, tell: true } as const;
      const unset = error === undefined ? ({ ...stale, error: true } as const) : stale;
      return { updateOne: { filter, update: { $set: set, $unset: unset } } };
    }
    case 'rejected': {
      const { attempts, startedAt, refusal, tell } = settlement;
      const set = { state: 'REJECTED', attempts, startedAt, refusal, ...kept, ...(tell ? { tell } : {}) } as const;
      return { updateOne: { filter, update: { $set: set, $unset: { ...ended, error: true } } } };
    }
    case 'dead': {
      const { attempts, error } = settlement;
      return {
        updateOne: { filter, update: { $set: { state: 'DEAD', attempts, error, ...finished }, $unset: ended } },
      };
    }
    case 'retry': {
      const { attempts, error, delayMs, dueMs } = settlement;
      const times = { nextAttemptAt: { $add: ['$$NOW', delayMs] }, dueAt: { $add: ['$$NOW', dueMs] } };
      const set = { state: 'RUNNING', attempts, error: { $literal: error }, ...times, updatedAt: '$$NOW' };
      return { updateOne: { filter, update: [{ $set: set }, { $unset: ['claim', 'begunBy'] }] } };
    }
    case 'postponed': {
      const set = { dueAt: { $add: ['$$NOW', settlement.dueMs] }, updatedAt: '$$NOW' };
      return { updateOne: { filter, update: [{ $set: set }, { $unset: ['claim', 'begunBy'] }] } };
    }
  }
}
