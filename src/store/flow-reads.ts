import type { Db, MongoClient } from 'mongodb';
import { createCausalReads } from './causal-reads.ts';
import type {
  CommitDocument,
  ConsumerDocument,
  DeadLetterDocument,
  LogDocument,
  PartitionDocument,
  QueuedCommandDocument,
  RejectionDocument,
  SagaDocument,
  SagaKeyDocument,
} from './documents.ts';
import type { GenerationRef } from './partitions.ts';
import { sagaKeyId } from './sagas.ts';
import { viewCollectionName } from './view-documents.ts';

/** A commit without data. */
export interface CommitHead {
  readonly stream: string;
  readonly version?: number;
  readonly command: { readonly id: string; readonly type: string };
  readonly events: readonly { readonly id: string; readonly type: string }[];
  readonly meta: CommitDocument['meta'];
  readonly at: Date;
}
export type RejectionHead = Pick<RejectionDocument, 'stream' | 'command' | 'code' | 'reason' | 'meta' | 'at'>;
/** A queued command without its data. */
export type QueuedHead = Omit<QueuedCommandDocument, 'data' | 'hash'>;
export interface CommandRef {
  readonly stream: string;
  readonly commandId: string;
}
export type PartitionPlace = Pick<
  PartitionDocument,
  'consumer' | 'generation' | 'partition' | 'checkpoint' | 'failure'
>;

/** An instance of a saga without its state. */
export type InstanceHead = Pick<SagaDocument, '_id' | 'status' | 'timers' | 'timeline'>;

/**
 * What is known of one correlation id, each from an index. Reads only; majority, from the primary, and none older than one
 * before it.
 */
export interface FlowReads {
  /** In order of position, after one. */
  events(correlationId: string, after: number, limit: number): Promise<readonly LogDocument[]>;
  queued(correlationId: string, limit: number): Promise<readonly QueuedHead[]>;
  rejections(correlationId: string, limit: number): Promise<readonly RejectionHead[]>;
  /** Accepted commands that caused no event. */
  receipts(correlationId: string, limit: number): Promise<readonly CommitHead[]>;
  commits(refs: readonly CommandRef[]): Promise<readonly CommitHead[]>;
  /** Commits of the correlation among the newest of the last RECENT_MS: they may not be in the log yet. */
  recent(correlationId: string): Promise<readonly CommitHead[]>;
  /** Whether what was committed before those is in the log. */
  placedBeforeRecent(): Promise<boolean>;
  /** Which of these commits have all their events in the log, as `commandKey`. */
  placed(heads: readonly CommitHead[]): Promise<ReadonlySet<string>>;
  /** Events of one commit that are in the log, in order of version. */
  range(range: {
    readonly stream: string;
    readonly first: number;
    readonly count: number;
  }): Promise<readonly LogDocument[]>;
  consumers(refs: readonly GenerationRef[]): Promise<readonly ConsumerDocument[]>;
  partitions(refs: readonly GenerationRef[]): Promise<readonly PartitionPlace[]>;
  /** Where correlation keys of a saga lead; those that lead nowhere are left out. */
  sagaKeys(of: GenerationRef, keys: readonly string[]): Promise<ReadonlyMap<string, string>>;
  instances(of: GenerationRef, ids: readonly string[]): Promise<readonly InstanceHead[]>;
  deadLetters(ids: readonly string[]): Promise<readonly DeadLetterDocument[]>;
}

/** A commit is placed within milliseconds; one that is older and not placed shows that nobody places. */
const RECENT_MS = 5_000;
const RECENT_MAX_COUNT = 50_000;
const REFS_PER_READ = 200;

export const commandKey = ({ stream, commandId }: CommandRef): string => `${stream}\u0000${commandId}`;

/** Indexes by correlation id of what is few beside the log. */
export async function ensureFlow(db: Db): Promise<void> {
  const key = { 'meta.correlationId': 1 } as const;
  await Promise.all([
    db.collection('rejections').createIndex(key, { name: 'correlation' }),
    db.collection('queued_commands').createIndex(key, { name: 'correlation' }),
    // Commits with events are found by them; an index of those would cost every append.
    db
      .collection('commits')
      .createIndex(key, { name: 'receipt_correlation', partialFilterExpression: { version: { $eq: null } } }),
  ]);
}

const HEAD = { _id: 0, stream: 1, version: 1, command: { id: 1, type: 1 }, events: { id: 1, type: 1 }, meta: 1, at: 1 };

export function createFlowReads(client: MongoClient, db: Db, logId: string): FlowReads {
  const reads = createCausalReads(client);
  const log = db.collection<LogDocument>('events');
  const commits = db.collection<CommitDocument>('commits');
  const partitions = db.collection<PartitionDocument>('partitions');
  const letters = db.collection<DeadLetterDocument>('dead_letters');
  const consumers = db.collection<ConsumerDocument>('consumers');
  const by = (correlationId: string) => ({ 'meta.correlationId': { $eq: correlationId } });

  return {
    events: (correlationId, after, limit) =>
      reads.run((session) =>
        log
          .find({ ...by(correlationId), _id: { $gt: after } }, { session, limit, batchSize: limit })
          .hint({ 'meta.correlationId': 1, _id: 1 })
          .sort({ _id: 1 })
          .toArray(),
      ),
    queued: (correlationId, limit) =>
      reads.run((session) =>
        db
          .collection<QueuedCommandDocument>('queued_commands')
          .find({ ...by(correlationId), logId }, { session, limit, batchSize: limit })
          .project<QueuedHead>({ data: 0, hash: 0 })
          .toArray(),
      ),
    rejections: (correlationId, limit) =>
      reads.run((session) =>
        db
          .collection<RejectionDocument>('rejections')
          .find(by(correlationId), { session, limit, batchSize: limit })
          .project<RejectionHead>({ _id: 0, stream: 1, command: 1, code: 1, reason: 1, meta: 1, at: 1 })
          .toArray(),
      ),
    receipts: (correlationId, limit) =>
      reads.run((session) =>
        commits
          .find({ ...by(correlationId), version: { $eq: null } } as object, { session, limit, batchSize: limit })
          .project<CommitHead>(HEAD)
          .toArray(),
      ),
    commits: (refs) =>
      reads.run(async (session) => {
        const found: CommitHead[] = [];
        for (let start = 0; start < refs.length; start += REFS_PER_READ) {
          const $or = refs.slice(start, start + REFS_PER_READ).map(({ stream, commandId }) => ({
            stream: { $eq: stream },
            'command.id': { $eq: commandId },
          }));
          const cursor = commits.find({ $or }, { session, batchSize: REFS_PER_READ }).project<CommitHead>(HEAD);
          found.push(...(await cursor.toArray()));
        }
        return found;
      }),
    recent: (correlationId) =>
      reads.run((session) =>
        commits
          .aggregate<CommitHead>(
            [
              { $match: { _id: { $gt: earliestId(Date.now() - RECENT_MS) } } },
              { $sort: { _id: -1 } },
              { $limit: RECENT_MAX_COUNT },
              { $match: by(correlationId) },
              { $project: HEAD },
            ],
            { session },
          )
          .toArray(),
      ),
    placedBeforeRecent: () =>
      reads.run(async (session) => {
        const last = await commits.findOne(
          { _id: { $lte: earliestId(Date.now() - RECENT_MS) }, version: { $exists: true } },
          { session, sort: { _id: -1 }, projection: { stream: 1, version: 1 } },
        );
        if (last?.version === undefined) return true;
        const { stream, version } = last;
        return (await log.findOne({ stream: { $eq: stream }, version }, { session, projection: { _id: 1 } })) !== null;
      }),
    placed: (heads) =>
      reads.run(async (session) => {
        const placed = new Set<string>();
        for (let start = 0; start < heads.length; start += REFS_PER_READ) {
          const some = heads.slice(start, start + REFS_PER_READ);
          // The events of a commit are placed in order: the last one tells.
          const ends = new Map(some.map((head) => [lastEvent(head), head]));
          const $or = some.map((head) => ({ stream: { $eq: head.stream }, version: lastVersion(head) }));
          const found = await log.find({ $or }, { session, projection: { stream: 1, version: 1 } }).toArray();
          for (const event of found) {
            const head = ends.get(`${event.stream}\u0000${event.version}`);
            if (head !== undefined) placed.add(commandKey({ stream: head.stream, commandId: head.command.id }));
          }
        }
        return placed;
      }),
    range: ({ stream, first, count }) =>
      reads.run((session) =>
        log
          .find(
            { stream: { $eq: stream }, version: { $gte: first, $lt: first + count } },
            { session, batchSize: count },
          )
          .sort({ version: 1 })
          .toArray(),
      ),
    consumers: (refs) =>
      reads.run((session) =>
        consumers
          .find({ _id: { $in: refs.map((ref) => `${logId}/${ref.consumer}/${ref.generation}`) } }, { session })
          .toArray(),
      ),
    partitions: (refs) =>
      reads.run(async (session) => {
        if (refs.length === 0) return [];
        // "0" is the character after "/": a range holds exactly the ids that begin with the prefix.
        const prefixes = refs.map((ref) => `${logId}/${ref.consumer}/${ref.generation}`);
        const $or = prefixes.map((prefix) => ({ _id: { $gte: `${prefix}/`, $lt: `${prefix}0` } }));
        return partitions
          .find({ $or }, { session, batchSize: 5_000 })
          .project<PartitionPlace>({ _id: 0, consumer: 1, generation: 1, partition: 1, checkpoint: 1, failure: 1 })
          .toArray();
      }),
    sagaKeys: (of, keys) =>
      reads.run(async (session) => {
        const ids = keys.map((key) => sagaKeyId(logId, of, key));
        const found = db.collection<SagaKeyDocument>('saga_keys').find({ _id: { $in: ids } }, { session });
        return new Map((await found.toArray()).map(({ key, instance }) => [key, instance]));
      }),
    instances: ({ consumer, generation }, ids) =>
      reads.run((session) =>
        db
          .collection<SagaDocument>(viewCollectionName({ kind: 'saga', view: consumer, generation }))
          .find({ _id: { $in: [...ids] } }, { session, batchSize: ids.length })
          .project<InstanceHead>({ status: 1, timers: 1, timeline: 1 })
          .toArray(),
      ),
    deadLetters: (ids) =>
      reads.run(async (session) => {
        const found: DeadLetterDocument[] = [];
        for (let start = 0; start < ids.length; start += 1_000) {
          const some = ids.slice(start, start + 1_000);
          found.push(...(await letters.find({ _id: { $in: some } }, { session, batchSize: 1_000 }).toArray()));
        }
        return found;
      }),
  };
}

const lastVersion = ({ version = 0, events }: CommitHead): number => version + events.length - 1;
const lastEvent = (head: CommitHead): string => `${head.stream}\u0000${lastVersion(head)}`;

/** The smallest UUIDv7 of a millisecond. */
function earliestId(ms: number): string {
  const hex = Math.max(0, Math.floor(ms)).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}
