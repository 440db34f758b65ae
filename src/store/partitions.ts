import { type Db, type Document, type MongoClient, MongoServerError } from 'mongodb';
import type { CausalReads } from './causal-reads.ts';
import type { PartitionDocument, PartitionMarkDocument, ViewDocument } from './documents.ts';
import { findByIds } from './find-by-ids.ts';
import { inTime } from './in-time.ts';
import { roughBytes } from './rough-bytes.ts';
import type { SideCollection, SideOperation, SideWrites } from './side-writes.ts';
import type { TransactionEnd, TransactionScope, Transactions } from './transactions.ts';
import { createTransactions } from './transactions.ts';
import { type ViewBuild, viewCollectionName } from './view-documents.ts';

export type PartitionFailure = NonNullable<PartitionDocument['failure']>;

/** A consumer generation, or one partition of it. */
export interface GenerationRef {
  readonly consumer: string;
  readonly generation: number;
}
export interface PartitionRef extends GenerationRef {
  readonly partition: number;
}

/** A partition as stored, and how long ago (server's clock) it was written. */
export interface PartitionReading extends PartitionRef {
  readonly checkpoint: number;
  readonly revision: number;
  readonly failure: PartitionFailure | undefined;
  /** Keys that have a dead letter. */
  readonly blockedCount: number;
  /** Undefined also when it was not asked for. */
  readonly mark: Mark | undefined;
  /** Its consumer is paused: leave it alone. */
  readonly paused: boolean;
  readonly idleMs: number;
}

/**
 * One step of a partition, on condition that nobody else has done anything in it. That its checkpoint was moved meanwhile over
 * events that are not its own is no matter.
 */
export interface PartitionMove extends PartitionRef {
  readonly from: { readonly checkpoint: number; readonly revision: number };
  readonly to: { readonly checkpoint: number; readonly revision: number };
  /** Undefined clears it. */
  readonly failure: PartitionFailure | undefined;
  /** Undefined: as it was. */
  readonly blockedCount?: number | undefined;
}

/** Events that are about to be handled with care, and how often they were begun. */
export type Mark = Omit<PartitionMarkDocument, '_id'>;
export interface PartitionMark extends PartitionRef {
  /** Undefined takes it away. */
  readonly mark: Mark | undefined;
}

export interface ViewWrites {
  readonly build: ViewBuild;
  readonly documents: readonly ViewDocument[];
}

/** How a commit of partitions ended. `moved`: indexes of those that somebody else moved meanwhile; absent when nobody can tell. */
export type CommitEnd =
  | Exclude<TransactionEnd, { kind: 'refused' }>
  | { readonly kind: 'refused'; readonly moved?: readonly number[] };

/**
 * `partitions` and the view documents that their transactions write. Reads are majority, from the primary, and not older
 * than what this process wrote: a stale document under a current revision would undo a change.
 */
export interface PartitionStore {
  /** Of these generations, or all of the log. `marks`: with them; default false. */
  read(of?: readonly GenerationRef[], options?: { readonly marks: boolean }): Promise<readonly PartitionReading[]>;
  /** Documents and tombstones by key, in no order. */
  documents(build: ViewBuild, keys: readonly string[]): Promise<readonly ViewDocument[]>;
  /**
   * Effects, checkpoints and revisions in one transaction; `side` with them. `refused`: a partition was moved by somebody else
   * meanwhile and nothing was written; read it again. Never throws.
   */
  commit(
    moves: readonly PartitionMove[],
    writes: readonly ViewWrites[],
    side?: SideWrites | undefined,
  ): Promise<CommitEnd>;
  /**
   * Writes effects in a transaction that is given up: `unstorable` when they can never be written, `refused` when they can.
   * Never throws.
   */
  rehearse(writes: readonly ViewWrites[], side: SideWrites): Promise<TransactionEnd>;
  /** Moves without effects, each on its own condition; those in which others did something meanwhile stay. */
  moveEach(moves: readonly PartitionMove[]): Promise<void>;
  /** Notes what is about to be handled, or that it was. Waits for no transaction; not sure to survive a failover. */
  mark(marks: readonly PartitionMark[]): Promise<void>;
  /** Ids of the sessions that `commit` uses. */
  sessionIds(): readonly unknown[];
  close(): Promise<void>;
}

/** Bytes of documents in one command, by estimate; MongoDB takes 48 MB. */
const COMMAND_MAX_BYTES = 12_000_000;
const COMMAND_MAX_DOCUMENTS = 5_000;
const REPLACE_MAX_COUNT = 4;
const LOCKED_MAX_MS = 200;
const ANSWER_MAX_MS = 10_000;

/** Of its document in `consumers`. */
export const consumerId = (logId: string, { consumer, generation }: GenerationRef): string =>
  `${logId}/${consumer}/${generation}`;
export const partitionId = (logId: string, ref: PartitionRef): string => `${consumerId(logId, ref)}/${ref.partition}`;

/** `reads`: shared with everything that is read together with the partitions. */
export function createPartitionStore(client: MongoClient, db: Db, logId: string, reads: CausalReads): PartitionStore {
  const transactions: Transactions = createTransactions(client, reads);
  const partitions = db.collection<PartitionDocument>('partitions');
  // Written without waiting for a majority, so read as the primary has them: an old one would count what did not die.
  const partitionMarks = db.collection<PartitionMarkDocument>('partition_marks', { readConcern: { level: 'local' } });

  const movedOf = async (moves: readonly PartitionMove[]): Promise<readonly number[]> => {
    const ids = moves.map((move) => partitionId(logId, move));
    const fields = { projection: { checkpoint: 1, revision: 1 } };
    const found = await reads.run((session) =>
      partitions.find({ _id: { $in: ids } }, { ...fields, session }).toArray(),
    );
    const stored = new Map(found.map((one) => [one._id, one]));
    return moves.flatMap(({ from }, index) => {
      const now = stored.get(ids[index] ?? '');
      return now !== undefined && now.checkpoint >= from.checkpoint && now.revision === from.revision ? [] : [index];
    });
  };

  return {
    read: (of, { marks: withMarks } = { marks: false }) =>
      reads.run(async (session) => {
        // "0" is the character after "/": a range holds exactly the ids that begin with the prefix.
        const prefixes = of === undefined ? [logId] : of.map((ref) => `${logId}/${ref.consumer}/${ref.generation}`);
        if (prefixes.length === 0) return [];
        const these = { $or: prefixes.map((prefix) => ({ _id: { $gte: `${prefix}/`, $lt: `${prefix}0` } })) };
        const idleMs = { $toDouble: { $subtract: ['$$NOW', '$updatedAt'] } };
        const stages = [{ $match: these }, { $addFields: { idleMs } }];
        const [found, marked] = await Promise.all([
          partitions.aggregate<PartitionDocument & { idleMs: number }>(stages, { session }).toArray(),
          withMarks ? partitionMarks.find(these).toArray() : [],
        ]);
        const marks = new Map(marked.map(({ _id, ...mark }) => [_id, mark]));
        return found.map((one) => reading(one, marks.get(one._id)));
      }),

    documents: (build, keys) =>
      reads.run((session) => findByIds<ViewDocument>(db, viewCollectionName(build), keys, session)),

    async commit(moves, writes, side) {
      const end = await transactions.run(async (scope) => {
        // Partitions first: a stale worker meets its fence before it writes anything.
        const moved = await runUpdates(
          db,
          scope,
          'partitions',
          moves.map((move) => updateOf(logId, move)),
        );
        if (moved !== moves.length) return false;
        await writeEffects(db, scope, writes, side);
        return true;
      });
      if (end.kind !== 'refused' || moves.length === 1) return end;
      const moved = await movedOf(moves).catch(() => undefined);
      return { kind: 'refused', ...(moved && { moved }) };
    },

    rehearse: (writes, side) =>
      transactions.run(async (scope) => {
        await writeEffects(db, scope, writes, side);
        return false;
      }),

    async moveEach(moves) {
      if (moves.length === 0) return;
      const operations = moves.map((move) => {
        const { q, u } = updateOf(logId, move);
        return { updateOne: { filter: q, update: u } };
      });
      // Not longer: a partition in the open transaction of a killed process would keep this waiting.
      const moved = partitions.bulkWrite(operations, { ordered: false, maxTimeMS: LOCKED_MAX_MS });
      await inTime(moved, ANSWER_MAX_MS, 'a move of partitions');
    },

    async mark(marks) {
      const operations = marks.map(({ mark, ...ref }) => {
        const filter = { _id: partitionId(logId, ref) };
        if (mark === undefined) return { deleteOne: { filter } };
        return { replaceOne: { filter, replacement: mark, upsert: true } };
      });
      const options = { ordered: false, writeConcern: { w: 1, journal: false } } as const;
      await inTime(partitionMarks.bulkWrite(operations, options), ANSWER_MAX_MS, 'a mark of partitions');
    },

    sessionIds: () => transactions.sessionIds(),
    close: () => transactions.close(),
  };
}

const reading = (found: PartitionDocument & { readonly idleMs: number }, mark: Mark | undefined): PartitionReading => ({
  consumer: found.consumer,
  generation: found.generation,
  partition: found.partition,
  checkpoint: found.checkpoint,
  revision: found.revision,
  failure: found.failure,
  blockedCount: found.blockedCount ?? 0,
  mark,
  paused: found.paused === true,
  idleMs: found.idleMs,
});

function updateOf(logId: string, move: PartitionMove): { q: Document; u: Document } {
  const { failure, blockedCount, from, to } = move;
  const set = {
    revision: to.revision,
    ...(failure !== undefined && { failure }),
    ...(blockedCount !== undefined && { blockedCount }),
  };
  return {
    q: { _id: partitionId(logId, move), checkpoint: { $gte: from.checkpoint }, revision: from.revision },
    u: {
      $set: set,
      $max: { checkpoint: to.checkpoint },
      ...(failure === undefined && { $unset: { failure: '' } }),
      $currentDate: { updatedAt: true },
    },
  };
}

async function writeEffects(
  db: Db,
  scope: TransactionScope,
  writes: readonly ViewWrites[],
  side: SideWrites | undefined,
): Promise<void> {
  for (const write of writes) await writeDocuments(db, scope, write);
  if (side === undefined) return;
  for (const [collection, operations] of side) await writeBeside(db, scope, collection, operations);
}

/**
 * Many changed documents are deleted and inserted: in a clustered collection they keep their place, so no read under way misses
 * one. A few are replaced: one command less to wait for.
 */
async function writeDocuments(db: Db, scope: TransactionScope, { build, documents }: ViewWrites): Promise<void> {
  const { session, deadline } = scope;
  const options = { session, signal: deadline, ignoreUndefined: true };
  const collection = viewCollectionName(build);
  for (const chunk of inChunks(documents, roughBytes)) {
    // New ones (version 1) need no deletion at all.
    const known = chunk.filter(({ _version }) => _version > 1).map(({ _id }) => _id);
    if (known.length > 0 && chunk.length <= REPLACE_MAX_COUNT) {
      const updates = chunk.map((document) => ({ q: { _id: document._id }, u: document, upsert: true }));
      await runUpdates(db, scope, collection, updates);
      continue;
    }
    if (known.length > 0) {
      // One by one: for many ids at once MongoDB walks all of a clustered collection.
      await db.command({ delete: collection, deletes: known.map((_id) => ({ q: { _id }, limit: 1 })) }, options);
    }
    refuseWriteErrors(await db.command({ insert: collection, documents: chunk, ordered: true }, options));
  }
}

/** What a partition's transaction writes besides documents of views: seldom much. */
async function writeBeside(
  db: Db,
  scope: TransactionScope,
  collection: SideCollection,
  operations: ReadonlyMap<string, SideOperation>,
): Promise<void> {
  const updates: SizedUpdate[] = [];
  const removed: string[] = [];
  for (const [id, operation] of operations) {
    if (operation.kind === 'remove') removed.push(id);
    else updates.push(sideUpdate(id, operation));
  }
  for (const chunk of inChunks(updates, ({ bytes }) => bytes)) {
    const some = chunk.map(({ update }) => update);
    await runUpdates(db, scope, collection, some);
  }
  if (removed.length === 0) return;
  const { session, deadline } = scope;
  const deletes = [{ q: { _id: { $in: removed } }, limit: 0 }];
  refuseWriteErrors(await db.command({ delete: collection, deletes }, { session, signal: deadline }));
}

interface SizedUpdate {
  readonly update: Document;
  readonly bytes: number;
}
function sideUpdate(id: string, operation: Exclude<SideOperation, { kind: 'remove' }>): SizedUpdate {
  const q = { _id: id };
  if (operation.kind === 'set') {
    const fields = Object.entries(operation.fields);
    const kept = fields.filter(([, value]) => value !== undefined);
    const gone = fields.filter(([, value]) => value === undefined).map(([name]) => [name, '']);
    const u = {
      // Also when empty: without any operator it would be a replacement.
      $set: Object.fromEntries(kept),
      ...(gone.length > 0 && { $unset: Object.fromEntries(gone) }),
    };
    return { update: { q, u }, bytes: 100 + roughBytes(operation.fields) };
  }
  if (operation.kind === 'count') {
    const { _id, ...fields } = operation.document;
    return { update: { q, u: { $inc: operation.increase, $setOnInsert: fields }, upsert: true }, bytes: 200 };
  }
  const { document, kind } = operation;
  const u = kind === 'put' ? document : { $setOnInsert: document };
  return { update: { q, u, upsert: true }, bytes: 100 + roughBytes(document) };
}

function refuseWriteErrors(reply: Document): void {
  const [first] = Array.isArray(reply.writeErrors) ? reply.writeErrors : [];
  if (first !== undefined) throw new MongoServerError({ message: String(first.errmsg), code: Number(first.code) });
}

/** A plain command: the driver's bulk classes would measure every document once more. Returns how many matched. */
async function runUpdates(
  db: Db,
  { session, deadline }: TransactionScope,
  collection: string,
  updates: readonly Document[],
): Promise<number> {
  const command = { update: collection, updates, ordered: true };
  const reply = await db.command(command, { session, signal: deadline, ignoreUndefined: true });
  refuseWriteErrors(reply);
  return Number(reply.n);
}

function* inChunks<T>(items: readonly T[], bytesOf: (item: T) => number): Generator<readonly T[]> {
  let chunk: T[] = [];
  let bytes = 0;
  for (const item of items) {
    const size = bytesOf(item);
    if (chunk.length > 0 && (bytes + size > COMMAND_MAX_BYTES || chunk.length >= COMMAND_MAX_DOCUMENTS)) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push(item);
    bytes += size;
  }
  if (chunk.length > 0) yield chunk;
}
