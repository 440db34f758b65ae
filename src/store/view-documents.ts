import {
  type Collection,
  type Db,
  type Document,
  type Filter,
  MaxKey,
  MinKey,
  type MongoClient,
  MongoServerError,
} from 'mongodb';
import type { IndexSpec } from '../define/view.ts';
import { isMillraceError, MillraceError } from '../errors.ts';
import { createCausalReads, type TimeText } from './causal-reads.ts';
import { deadLetterId } from './dead-letters.ts';
import type { ConsumerDocument, DeadLetterDocument, PartitionDocument, ViewDocument } from './documents.ts';
import { findByIds } from './find-by-ids.ts';
import { isServerBehind } from './mongo-errors.ts';

/** One build of a view, or of a saga's instances: its documents lie in a collection of their own. */
export interface ViewBuild {
  /** Name of the view or saga. */
  readonly view: string;
  readonly generation: number;
  /** Default `view`. Nobody subscribes to a saga: there are no hints about it. */
  readonly kind?: 'view' | 'saga';
}
export const viewCollectionName = ({ view, generation, kind = 'view' }: ViewBuild): string =>
  `${kind}_${view}_g${generation}`;

/** Fields of an index in order. Every index of a view ends with `_id`, ascending, so that its order is total. */
export type IndexKeys = readonly (readonly [field: string, direction: 1 | -1])[];

/** Before and after every value of a field, in the order of the index (not of the values). */
export const FIRST: unique symbol = Symbol('first');
export const LAST: unique symbol = Symbol('last');
/** A scalar, `{}` (after every string), or an end. */
export type Edge =
  | string
  | number
  | boolean
  | null
  | Date
  | Readonly<Record<string, never>>
  | typeof FIRST
  | typeof LAST;

/** Part of an index, walked key by key: what is read is what is asked for, at any depth of a list. */
export interface IndexScan {
  readonly index: IndexKeys;
  /** One edge a field of the index. Inclusive. */
  readonly from: readonly Edge[];
  /** Exclusive. */
  readonly to: readonly Edge[];
  readonly backward: boolean;
  readonly filter: Readonly<Record<string, unknown>>;
  readonly limit: number;
  /** Only these, and the platform's own; default: all. */
  readonly fields?: readonly string[] | undefined;
}

/** Of the changes of one partition: those after `revision`, or also those inside it whose id is greater. */
export interface ChangePlace {
  readonly partition: number;
  readonly revision: number;
  readonly id?: string | undefined;
}

/** What a reader needs to know of a partition. */
export type PartitionState = Pick<
  PartitionDocument,
  'partition' | 'checkpoint' | 'revision' | 'failure' | 'blockedCount' | 'paused'
>;

/** An event that concerns a document. */
export interface EventAt {
  readonly key: string;
  readonly position: number;
}

/**
 * Reads of view documents and of how far they have come. Majority, from the primary, as the connection says, and never
 * older than what an earlier read of this store saw. Throw VIEW_BEHIND, with `reason` LAGGING and `retryAfterMs`, when the
 * server is cut off: behind a time that was told, or silent for 30 s. Not here: writes of documents and partitions, which
 * belong to delivery.
 */
export interface ViewStore {
  /**
   * Reads that begin after this see everything that was written up to then, also through a primary that is behind. False,
   * and without effect, for a time that cannot be.
   */
  notBefore(time: TimeText): boolean;
  /** Documents and tombstones, in no order; ids that never were are absent. */
  byIds(build: ViewBuild, ids: readonly string[]): Promise<readonly ViewDocument[]>;
  /** Without tombstones, in the order of the scan. */
  scan(build: ViewBuild, scan: IndexScan): Promise<readonly ViewDocument[]>;
  /** How many of them `filter` matches, found by that index; stops at `limit`. */
  count(build: ViewBuild, part: Pick<IndexScan, 'index' | 'filter' | 'limit'>): Promise<number>;
  /** Documents and tombstones of partitions written after these places, by partition, revision and id. */
  changedSince(build: ViewBuild, places: readonly ChangePlace[], limit: number): Promise<readonly ViewDocument[]>;
  /** Undefined until a worker has created the generation. */
  partitionCount(consumer: string, generation: number): Promise<number | undefined>;
  /** When it was created, or begun anew: its revisions count from there. In ms; undefined like `partitionCount`. */
  builtAt(consumer: string, generation: number): Promise<number | undefined>;
  partitions(consumer: string, generation: number): Promise<readonly PartitionState[]>;
  /** Whether one of these events waits behind a dead letter of its key, or is what it failed at. */
  isParked(consumer: string, generation: number, events: readonly EventAt[]): Promise<boolean>;
}

/** Finds changes by partition and revision. */
export const CHANGES_INDEX: IndexKeys = [
  ['_partition', 1],
  ['_revision', 1],
  ['_id', 1],
];
const MARKS = ['_id', '_partition', '_revision', '_position', '_version', '_origins', '_deleted'] as const;
/** Dead letters in one batch of an answer. */
const IDS_PER_READ = 1_000;

/**
 * The index that MongoDB keeps for a declared one: `id` is `_id`, which comes last and ascending (walking an index
 * backward is as good, so directions may be turned round together).
 */
export function indexKeysOf(spec: IndexSpec): IndexKeys {
  const fields = Object.entries(spec).map(([field, direction]) => [field === 'id' ? '_id' : field, direction] as const);
  const end = fields.findIndex(([field]) => field === '_id');
  const [, direction] = fields[end] ?? ['_id', 1];
  const turned = (end === -1 ? fields : fields.slice(0, end)).map(
    ([field, own]) => [field, own * direction === 1 ? 1 : -1] as const,
  );
  return [...turned, ['_id', 1]];
}

/**
 * Not the connection's: the driver writes the time of a causal read into the object that it took the read concern from, and
 * every read of the process would be after a time that only views were told of.
 */
const OWN = { readConcern: { level: 'majority' } } as const;

export function createViewStore(client: MongoClient, db: Db, logId: string): ViewStore {
  const reads = createCausalReads(client);
  const run: typeof reads.run = (read) => reads.run(read).catch((error) => Promise.reject(explainBehind(error)));
  const documents = (build: ViewBuild): Collection<ViewDocument> => db.collection(viewCollectionName(build), OWN);
  const partitions = db.collection<PartitionDocument>('partitions', OWN);
  const consumers = db.collection<ConsumerDocument>('consumers', OWN);
  const deadLetters = db.collection<DeadLetterDocument>('dead_letters', OWN);

  const walk = (build: ViewBuild, part: IndexScan): Promise<ViewDocument[]> =>
    run((session) => {
      const { index, limit } = part;
      const sort = keysDocument(index, part.backward ? -1 : 1);
      const projection = part.fields && Object.fromEntries([...MARKS, ...part.fields].map((field) => [field, 1]));
      const options = { session, limit, batchSize: limit, sort, ...(projection && { projection }) };
      const collection = documents(build);
      // The collection is clustered by `_id`; MongoDB walks its own order backward by a filter only.
      const cursor =
        index.length === 1
          ? collection.find({ $and: [idBounds(part), part.filter] }, options)
          : collection
              .find(part.filter, { ...options, hint: keysDocument(index) })
              .min(boundDocument(index, part.from))
              .max(boundDocument(index, part.to));
      return (cursor.toArray() as Promise<ViewDocument[]>).catch((error) =>
        Promise.reject(explainScan(error, build, index)),
      );
    });

  return {
    notBefore: reads.notBefore,
    byIds: (build, ids) => run((session) => findByIds<ViewDocument>(db, viewCollectionName(build), ids, session)),
    scan: (build, part) => walk(build, { ...part, filter: { ...part.filter, _deleted: { $exists: false } } }),
    count: (build, { index, filter, limit }) =>
      run((session) =>
        documents(build)
          .countDocuments(
            hasValue(filter) ? filter : { ...filter, _deleted: { $exists: false } },
            // The collection is clustered by `_id`: without a hint a filter on it, or none, walks that.
            { session, limit, ...(index.length > 1 && { hint: keysDocument(index) }) },
          )
          .catch((error) => Promise.reject(explainScan(error, build, index))),
      ),
    changedSince: (build, places, limit) =>
      run((session) => {
        // Each is a part of the index of its own; MongoDB merges them, and stops at the limit.
        const parts = places.flatMap(({ partition: _partition, revision, id }) => [
          ...(id === undefined ? [] : [{ _partition, _revision: revision, _id: { $gt: id } }]),
          { _partition, _revision: { $gt: revision } },
        ]);
        const index = keysDocument(CHANGES_INDEX);
        const options = { session, limit, batchSize: limit, sort: index, hint: index };
        const found = documents(build).find({ $or: parts }, options).toArray() as Promise<ViewDocument[]>;
        return found.catch((error) => Promise.reject(explainScan(error, build, CHANGES_INDEX)));
      }),
    builtAt: (consumer, generation) =>
      run(async (session) => {
        const found = await consumers.findOne({ _id: { $eq: `${logId}/${consumer}/${generation}` } }, { session });
        return (found?.startedAt ?? found?.createdAt)?.getTime();
      }),
    partitionCount: (consumer, generation) =>
      run(async (session) => {
        const found = await consumers.findOne({ _id: { $eq: `${logId}/${consumer}/${generation}` } }, { session });
        return found?.partitionCount;
      }),
    partitions: (consumer, generation) =>
      run((session) => {
        // "0" is the character after "/": the range holds exactly the ids that begin with the prefix.
        const prefix = `${logId}/${consumer}/${generation}`;
        return partitions
          .find({ _id: { $gte: `${prefix}/`, $lt: `${prefix}0` } }, { session, batchSize: 1_000 })
          .project<PartitionState>({
            _id: 0,
            partition: 1,
            checkpoint: 1,
            revision: 1,
            failure: 1,
            blockedCount: 1,
            paused: 1,
          })
          .toArray();
      }),
    isParked: (consumer, generation, events) =>
      run(async (session) => {
        const newest = new Map<string, number>();
        for (const { key, position } of events) {
          const id = deadLetterId(logId, { consumer, generation }, key);
          newest.set(id, Math.max(position, newest.get(id) ?? 0));
        }
        const ids = { _id: { $in: [...newest.keys()] } };
        const found = deadLetters.find(ids, { session, batchSize: IDS_PER_READ, projection: { position: 1 } });
        for await (const { _id, position } of found) if (position <= (newest.get(_id) ?? 0)) return true;
        return false;
      }),
  };
}

const RETRY_AFTER_MS = 1_000;
function explainBehind(error: unknown): unknown {
  if (!isServerBehind(error) && !isMillraceError(error, 'MONGODB_UNREACHABLE')) return error;
  return new MillraceError(
    'VIEW_BEHIND',
    `MongoDB is behind what was read or written before: it changes its primary, or that is cut off. Ask again in ${RETRY_AFTER_MS} ms.`,
    { cause: error, details: { reason: 'LAGGING', retryAfterMs: RETRY_AFTER_MS } },
  );
}

const BAD_VALUE = 2;
/** A declared index that is not there: somebody dropped it, or it is of a version that is not built. */
function explainScan(error: unknown, { view }: ViewBuild, index: IndexKeys): unknown {
  const missing = error instanceof MongoServerError && error.code === BAD_VALUE && error.message.includes('hint');
  if (!missing) return error;
  const keys = index.map(([field, direction]) => `${field}: ${direction}`).join(', ');
  const message = `View "${view}" declares an index that MongoDB does not have: { ${keys} }. Start a gateway or worker with this code anew, it builds it.`;
  return new MillraceError('INDEX_MISSING', message, { cause: error, details: { view } });
}

/** The next string in MongoDB's order: nothing lies between the two. */
export const successor = (text: string): string => `${text}\u0000`;

const keysDocument = (index: IndexKeys, turn: 1 | -1 = 1): Record<string, 1 | -1> =>
  Object.fromEntries(index.map(([field, direction]) => [field, direction === turn ? 1 : -1]));

/** Tombstones have none of the author's fields: what asks for a value of one does not find them, and needs no document to know. */
const hasValue = (filter: IndexScan['filter']): boolean =>
  Object.entries(filter).some(
    ([field, conditions]) =>
      field !== '_id' &&
      Object.entries(conditions as Document).some(
        ([, value]) => value !== null && !(Array.isArray(value) && value.includes(null)),
      ),
  );

/** Ids are strings: every other edge is an open end. */
function idBounds({ from: [from], to: [to] }: IndexScan): Filter<ViewDocument> {
  const bounds = { ...(typeof from === 'string' && { $gte: from }), ...(typeof to === 'string' && { $lt: to }) };
  return { _id: { $gte: '', ...bounds } };
}

function boundDocument(index: IndexKeys, edges: readonly Edge[]): Document {
  return Object.fromEntries(
    index.map(([field, direction], place) => {
      const edge = edges[place];
      if (edge === FIRST) return [field, direction === 1 ? new MinKey() : new MaxKey()];
      if (edge === LAST || edge === undefined) return [field, direction === 1 ? new MaxKey() : new MinKey()];
      return [field, edge];
    }),
  );
}
