import type { Db, Document, Filter, FindCursor } from 'mongodb';
import { ignoreExisting } from './commits.ts';
import type { TimerDocument } from './documents.ts';
import type { GenerationRef } from './partitions.ts';

/** What a timer is named by, within its log. */
export interface SagaTimerRef extends GenerationRef {
  readonly key: string;
  readonly name: string;
}
export const sagaTimerId = (logId: string, { consumer, generation, key, name }: SagaTimerRef): string =>
  `${logId}/saga/${consumer}/${generation}/${key}/${name}`;
export const scheduleTimerId = (logId: string, name: string): string => `${logId}/schedule/${name}`;

/** Due after `from` (exclusive; undefined: whenever) up to `to` (inclusive), by the server's clock. */
export interface DueRange {
  readonly from?: Date | undefined;
  readonly to: Date;
}
export interface TimerListFilter {
  readonly kind?: TimerDocument['kind'] | undefined;
  readonly consumer?: string | undefined;
  /** Only timers of these generations, and schedules; default: of all. */
  readonly sagas?: readonly GenerationRef[] | undefined;
  readonly dueBefore?: Date | undefined;
}
/** Place in the list of all timers. */
export interface TimerPlace {
  readonly dueAt: Date;
  readonly id: string;
}
export interface TimerSlice {
  readonly after: TimerPlace | undefined;
  readonly before: TimerPlace | undefined;
  readonly inclusive: boolean;
  readonly turned: boolean;
  readonly limit: number;
}

/**
 * `timers`: what is due at a time. Timers of sagas are written by the transactions of their partitions, by nobody else; here
 * they are only read. Schedules are written here, each change on condition that nobody else was faster.
 */
export interface TimerStore {
  readonly logId: string;
  /** The server's clock, in ms since 1970. */
  now(): Promise<number>;
  /** Due times of timers of sagas in ms, ascending, at most `limit`; served by the index alone. */
  dueTimes(of: readonly GenerationRef[], range: DueRange, limit: number): Promise<readonly number[]>;
  /** Timers of sagas that are due, by time, in batches of at most `batchCount`. */
  due(of: readonly GenerationRef[], range: DueRange, batchCount: number): AsyncIterable<readonly TimerDocument[]>;
  list(filter: TimerListFilter, slice: TimerSlice): Promise<readonly TimerDocument[]>;
  /** All of them, or those that are due, by time. */
  schedules(range?: DueRange): Promise<readonly TimerDocument[]>;
  /** Unless it is there already. */
  addSchedule(schedule: TimerDocument): Promise<void>;
  /** False when it is not due at `dueAt` any more: somebody else moved it. */
  changeSchedule(id: string, dueAt: Date, change: ScheduleChange): Promise<boolean>;
  removeSchedule(id: string, unknownSince: Date): Promise<void>;
}
export interface ScheduleChange {
  readonly set?: Partial<Pick<TimerDocument, 'dueAt' | 'cron' | 'timeZone' | 'last' | 'failure' | 'unknownSince'>>;
  readonly unset?: readonly ('failure' | 'unknownSince')[];
}

/** An answer that comes later is worth nothing: the next look asks again. */
const ANSWER_MAX_MS = 10_000;

/** The collection must exist before transactions write to it. */
export async function ensureTimers(db: Db, existing: ReadonlySet<string>): Promise<void> {
  if (!existing.has('timers')) await db.createCollection('timers').catch(ignoreExisting);
  await db.collection('timers').createIndexes([
    // One range a generation, in order of time: what is due is found without touching what is not.
    { name: 'owner_due', key: { logId: 1, kind: 1, consumer: 1, generation: 1, dueAt: 1, _id: 1 } },
    { name: 'due', key: { logId: 1, dueAt: 1, _id: 1 } },
  ]);
}

export function createTimerStore(db: Db, logId: string): TimerStore {
  const timers = db.collection<TimerDocument>('timers', {
    readConcern: { level: 'majority' },
    timeoutMS: ANSWER_MAX_MS,
  });
  return {
    logId,
    async now() {
      const { localTime } = await db.command({ hello: 1 }, { timeoutMS: ANSWER_MAX_MS });
      return new Date(localTime).getTime();
    },
    async dueTimes(of, range, limit) {
      if (of.length === 0) return [];
      const found = timers.find(sagasDue(logId, of, range), { projection: { _id: 0, dueAt: 1 }, batchSize: limit });
      const due = await found.sort({ dueAt: 1, _id: 1 }).limit(limit).toArray();
      return due.map(({ dueAt }) => dueAt.getTime());
    },
    async *due(of, range, batchCount) {
      if (of.length === 0) return;
      const found = timers.find(sagasDue(logId, of, range), { batchSize: batchCount, timeoutMode: 'iteration' });
      yield* inBatches(found.sort({ dueAt: 1, _id: 1 }), batchCount);
    },
    list(filter, slice) {
      const { turned, limit } = slice;
      const direction = turned ? -1 : 1;
      return timers
        .find(listFilter(logId, filter, slice))
        .sort({ dueAt: direction, _id: direction })
        .limit(limit)
        .toArray();
    },
    schedules: (range) =>
      timers
        .find({ logId, kind: 'schedule', ...(range === undefined ? {} : { dueAt: withinRange(range) }) })
        .sort({ dueAt: 1 })
        .toArray(),
    async addSchedule({ _id, ...rest }) {
      await timers.updateOne({ _id }, { $setOnInsert: rest }, { upsert: true });
    },
    async changeSchedule(id, dueAt, { set, unset = [] }) {
      const { matchedCount } = await timers.updateOne(
        { _id: id, dueAt },
        {
          ...(set === undefined ? {} : { $set: set }),
          ...(unset.length === 0 ? {} : { $unset: Object.fromEntries(unset.map((field) => [field, ''])) }),
        },
      );
      return matchedCount === 1;
    },
    async removeSchedule(id, unknownSince) {
      await timers.deleteOne({ _id: id, unknownSince });
    },
  };
}

export const withinRange = ({ from, to }: DueRange) => (from === undefined ? { $lte: to } : { $gt: from, $lte: to });

/** Each generation is one range of `owner_due`; the server merges them by time. */
function sagasDue(logId: string, of: readonly GenerationRef[], range: DueRange): Filter<TimerDocument> {
  const dueAt = withinRange(range);
  return { $or: of.map(({ consumer, generation }) => ({ logId, kind: 'saga', consumer, generation, dueAt })) };
}

function listFilter(
  logId: string,
  { kind, consumer, sagas, dueBefore }: TimerListFilter,
  { after, before, inclusive }: TimerSlice,
): Filter<TimerDocument> {
  // A schedule that nobody declares any more is not going to fire.
  const and: Filter<TimerDocument>[] = [{ logId, unknownSince: { $exists: false } }];
  if (kind !== undefined) and.push({ kind });
  if (consumer !== undefined) and.push({ consumer });
  if (sagas !== undefined)
    and.push({ $or: [{ kind: 'schedule' }, ...sagas.map((one) => ({ kind: 'saga' as const, ...one }))] });
  if (dueBefore !== undefined) and.push({ dueAt: { $lt: dueBefore } });
  if (after !== undefined) and.push(beyondPlace('dueAt', '$gt', after, inclusive));
  if (before !== undefined) and.push(beyondPlace('dueAt', '$lt', before, inclusive));
  return { $and: and };
}

/** Further in the list than a place. The range beside the alternatives is what an index serves. */
export function beyondPlace(
  field: 'dueAt' | 'notBefore' | 'finishedAt',
  operator: '$gt' | '$lt',
  { dueAt, id }: TimerPlace,
  inclusive: boolean,
): Document {
  const orEqual = operator === '$gt' ? '$gte' : '$lte';
  return {
    [field]: { [orEqual]: dueAt },
    $or: [{ [field]: { [operator]: dueAt } }, { [field]: dueAt, _id: { [inclusive ? orEqual : operator]: id } }],
  };
}

async function* inBatches<T>(cursor: FindCursor<T>, batchCount: number): AsyncIterable<readonly T[]> {
  try {
    let batch: T[] = [];
    for await (const document of cursor) {
      batch.push(document);
      if (batch.length < batchCount) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  } finally {
    await cursor.close().catch(() => undefined);
  }
}
