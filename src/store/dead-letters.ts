import { createHash } from 'node:crypto';
import type { Db } from 'mongodb';
import type { CausalReads } from './causal-reads.ts';
import { ignoreExisting } from './commits.ts';
import type { DeadLetterDocument, LogDocument, ParkedEventDocument } from './documents.ts';
import { inTime } from './in-time.ts';
import type { GenerationRef, PartitionRef } from './partitions.ts';

/** A dead letter as its partition keeps it in memory: all but the error. */
export type BlockedKey = Pick<
  DeadLetterDocument,
  | '_id'
  | 'key'
  | 'partition'
  | 'state'
  | 'input'
  | 'position'
  | 'attempts'
  | 'delivery'
  | 'parkedCount'
  | 'nextAttemptAt'
>;
/** How many keys of a generation wait, and for example which: a dead one where there is one. */
export interface BlockedSummary extends GenerationRef {
  readonly deadCount: number;
  readonly retryingCount: number;
  readonly parkedCount: number;
  readonly example: DeadLetterDocument;
}
/** What a job needs to find it. */
export type DeadLetterRef = Pick<
  DeadLetterDocument,
  '_id' | 'consumer' | 'generation' | 'version' | 'partition' | 'state' | 'delivery' | 'maxAttempts' | 'nextAttemptAt'
>;

export interface LoadedDeadLetter {
  readonly record: DeadLetterDocument;
  readonly event: LogDocument | undefined;
}
export interface ParkedEvent extends Pick<ParkedEventDocument, '_id' | 'deadLetter' | 'position'> {
  /** As the log has it. */
  readonly event: LogDocument | undefined;
}

/**
 * `dead_letters` and `parked_events`, for delivery. Reads are majority and not older than what the partitions of this
 * process read or wrote. Not here: writes, which are part of the partition's transaction (`SideWrites`), and what people ask.
 */
export interface DeadLetterStore {
  /** In no order; `withEvents`: each with the event at its position as the log has it. */
  byIds(ids: readonly string[], options?: { readonly withEvents: boolean }): Promise<readonly LoadedDeadLetter[]>;
  /** A try is about to begin (1), or was begun and its outcome lost (-1); beside revisions. */
  begin(id: string, by: 1 | -1): Promise<void>;
  /** All blocked keys of these partitions. */
  blocked(partitions: readonly PartitionRef[]): Promise<readonly BlockedKey[]>;
  /** Events parked behind these, by dead letter and position, at most `limit` together. */
  parked(deadLetters: readonly string[], limit: number): Promise<readonly ParkedEvent[]>;
  /** RETRYING ones of these generations whose next try was due before a time, the longest overdue first. */
  overdue(generations: readonly GenerationRef[], before: Date, limit: number): Promise<readonly DeadLetterRef[]>;
  /** Those whose event no process knew so far, at most `limit`. */
  unknown(generations: readonly GenerationRef[], limit: number): Promise<readonly DeadLetterRef[]>;
  /** Of those generations that have any. */
  summaries(generations: readonly GenerationRef[]): Promise<readonly BlockedSummary[]>;
  /** All of the log by id, after one. */
  walk(after: string | undefined, limit: number): Promise<readonly DeadLetterRef[]>;
}

const KEYS_PER_READ = 500;
const BEGIN_MAX_MS = 10_000;
/** Joined by the server: the log is clustered, so one find of many positions would walk all that lie between them. */
const WITH_EVENT = [
  { $lookup: { from: 'events', localField: 'position', foreignField: '_id', as: 'event' } },
  { $set: { event: { $first: '$event' } } },
];
const REF = {
  consumer: 1,
  generation: 1,
  version: 1,
  partition: 1,
  state: 1,
  delivery: 1,
  maxAttempts: 1,
  nextAttemptAt: 1,
} as const;

/** Names the dead letter of a key: one at most exists. */
export function deadLetterId(logId: string, { consumer, generation }: GenerationRef, key: string): string {
  return createHash('sha256').update(`${logId}/${consumer}/${generation}/${key}`).digest('hex').slice(0, 32);
}

/** Sorts like the position among those of one dead letter. */
export const parkedEventId = (deadLetter: string, position: number): string =>
  `${deadLetter}/${String(position).padStart(16, '0')}`;

/** Collections must exist before transactions write to them. */
export async function ensureDeadLetters(db: Db, existing: ReadonlySet<string>): Promise<void> {
  const missing = ['dead_letters', 'parked_events'].filter((name) => !existing.has(name));
  await Promise.all(missing.map((name) => db.createCollection(name).catch(ignoreExisting)));
  await db.collection('dead_letters').createIndexes([
    { name: 'partition', key: { logId: 1, consumer: 1, generation: 1, partition: 1 } },
    { name: 'due', key: { logId: 1, state: 1, nextAttemptAt: 1 } },
  ]);
}

export function createDeadLetterStore(db: Db, logId: string, reads: CausalReads): DeadLetterStore {
  const letters = db.collection<DeadLetterDocument>('dead_letters');
  const parkedEvents = db.collection<ParkedEventDocument>('parked_events');
  return {
    byIds: (ids, options) =>
      reads.run(async (session) => {
        const found: LoadedDeadLetter[] = [];
        for (const some of inParts(ids)) {
          const stages = [{ $match: { _id: { $in: [...some] } } }, ...(options?.withEvents === true ? WITH_EVENT : [])];
          const cursor = letters.aggregate<DeadLetterDocument & { event?: LogDocument }>(stages, { session });
          for (const { event, ...record } of await cursor.toArray()) found.push({ record, event });
        }
        return found;
      }),
    async begin(id, by) {
      const options = { writeConcern: { w: 1, journal: false }, timeoutMS: BEGIN_MAX_MS };
      const counted = letters.updateOne({ _id: id }, { $inc: { begun: by } }, options);
      await inTime(counted, BEGIN_MAX_MS, 'a count of tries');
    },
    blocked: (partitions) =>
      reads.run((session) => {
        const of = partitions.map(({ consumer, generation, partition }) => ({
          logId,
          consumer,
          generation,
          partition,
        }));
        const projection = {
          key: 1,
          partition: 1,
          state: 1,
          input: 1,
          position: 1,
          attempts: 1,
          delivery: 1,
          parkedCount: 1,
          nextAttemptAt: 1,
        };
        return letters.find({ $or: of }, { session, batchSize: 10_000 }).project<BlockedKey>(projection).toArray();
      }),
    parked: (deadLetters, limit) =>
      reads.run((session) => {
        // "0" is the character after "/": a range holds exactly the ids that begin with the prefix.
        const ranges = deadLetters.map((id) => ({ _id: { $gte: `${id}/`, $lt: `${id}0` } }));
        const stages = [
          { $match: { $or: ranges } },
          { $sort: { _id: 1 } },
          { $limit: limit },
          { $project: { deadLetter: 1, position: 1 } },
          ...WITH_EVENT,
        ];
        return parkedEvents.aggregate<ParkedEvent>(stages, { session, batchSize: limit }).toArray();
      }),
    overdue: (generations, before, limit) =>
      reads.run((session) => {
        const of = { $or: generations.map(({ consumer, generation }) => ({ consumer, generation })) };
        return letters
          .find(
            { logId, state: 'RETRYING', nextAttemptAt: { $lt: before }, ...of },
            { session, limit, batchSize: limit },
          )
          .sort({ nextAttemptAt: 1 })
          .project<DeadLetterRef>(REF)
          .toArray();
      }),
    unknown: (generations, limit) =>
      reads.run((session) => {
        const of = generations.map(({ consumer, generation }) => ({ logId, consumer, generation }));
        const filter = { $or: of, state: 'RETRYING', 'error.code': 'UNKNOWN_EVENT' } as const;
        return letters.find(filter, { session, limit, batchSize: limit }).project<DeadLetterRef>(REF).toArray();
      }),
    summaries: (generations) =>
      reads.run(async (session) => {
        const found: BlockedSummary[] = [];
        for (const { consumer, generation } of generations) {
          const of = { logId, consumer, generation };
          const example = await letters.findOne(of, { session, sort: { state: 1 } });
          if (example === null) continue;
          const stages = [
            { $match: of },
            { $group: { _id: '$state', count: { $sum: 1 }, parkedCount: { $sum: '$parkedCount' } } },
          ];
          const counts = await letters.aggregate<StateCount>(stages, { session }).toArray();
          const countOf = (state: string): number => counts.find(({ _id }) => _id === state)?.count ?? 0;
          const parkedCount = counts.reduce((sum, one) => sum + one.parkedCount, 0);
          const [deadCount, retryingCount] = [countOf('DEAD'), countOf('RETRYING')];
          found.push({ consumer, generation, deadCount, retryingCount, parkedCount, example });
        }
        return found;
      }),
    walk: (after, limit) =>
      reads.run((session) =>
        letters
          .find({ _id: { $gt: after ?? '' }, logId }, { session, limit, batchSize: limit })
          .sort({ _id: 1 })
          .project<DeadLetterRef>(REF)
          .toArray(),
      ),
  };
}

interface StateCount {
  readonly _id: string;
  readonly count: number;
  readonly parkedCount: number;
}

function* inParts<T>(ids: readonly T[]): Generator<readonly T[]> {
  for (let start = 0; start < ids.length; start += KEYS_PER_READ) yield ids.slice(start, start + KEYS_PER_READ);
}
