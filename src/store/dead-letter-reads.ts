import type { Collection, Db, Document, Filter } from 'mongodb';
import type { RecordSlice } from './audit.ts';
import type { DeadLetterDocument, LogDocument, ParkedEventDocument } from './documents.ts';
import { findByIds } from './find-by-ids.ts';
import { askedAgain } from './in-time.ts';
import type { GenerationRef } from './partitions.ts';

/** What must hold for a dead letter; all of it. */
export interface DeadLetterMatch {
  readonly ids?: readonly string[] | undefined;
  readonly consumer?: string | undefined;
  readonly generation?: number | undefined;
  readonly key?: string | undefined;
  readonly state?: DeadLetterDocument['state'] | undefined;
  readonly fingerprint?: string | undefined;
  /** Event type, timer name or command type. */
  readonly inputType?: string | undefined;
  readonly correlationId?: string | undefined;
  /** First failed at or after this. */
  readonly since?: Date | undefined;
  /** First failed before this. */
  readonly until?: Date | undefined;
}

/** Where a dead letter stands: the one that failed first comes first. */
export interface DeadLetterPlace {
  readonly firstFailedAt: Date;
  readonly id: string;
}

/** What is needed to do something about it. */
export type SeenDeadLetter = Pick<
  DeadLetterDocument,
  '_id' | 'consumer' | 'generation' | 'partition' | 'state' | 'position' | 'parkedCount'
>;

export interface DeadLetterGroup {
  readonly fingerprint: string;
  readonly count: number;
  readonly retryingCount: number;
  readonly deadCount: number;
  /** Keys of consumers: one that fails in two consumers counts twice. */
  readonly keyCount: number;
  readonly parkedCount: number;
  readonly consumers: readonly string[];
  readonly oldest: Date;
  readonly newest: Date;
  readonly sample: DeadLetterDocument;
}
export interface DeadLetterTotals {
  readonly count: number;
  readonly parkedCount: number;
  readonly oldest: Date | null;
  /** By consumer name, sorted. */
  readonly consumers: readonly { readonly name: string; readonly count: number; readonly parkedCount: number }[];
  /** Sorted. */
  readonly generations: readonly GenerationRef[];
}
export interface DeadLetterCount {
  readonly consumer: string;
  readonly generation: number;
  readonly retryingCount: number;
  readonly deadCount: number;
  readonly parkedCount: number;
  /** When the oldest of them failed first. */
  readonly since: Date;
}

/** `dead_letters` and `parked_events`, for people who look. Not here: writes, which go through the partition's revision. */
export interface DeadLetterReads {
  find(id: string): Promise<DeadLetterDocument | undefined>;
  scan(match: DeadLetterMatch, slice: RecordSlice<DeadLetterPlace>): Promise<readonly DeadLetterDocument[]>;
  /** Events that wait behind one, in order of position. */
  parked(id: string, slice: RecordSlice<number>): Promise<readonly ParkedEventDocument[]>;
  /** Of the log, in no order. */
  events(positions: readonly number[]): Promise<readonly LogDocument[]>;
  /** The largest first, at most `limit`. */
  groups(match: DeadLetterMatch, limit: number): Promise<readonly DeadLetterGroup[]>;
  totals(match: DeadLetterMatch): Promise<DeadLetterTotals>;
  /** By consumer and generation, those that have any. */
  counts(): Promise<readonly DeadLetterCount[]>;
  /** In order of id, after an id. */
  inOrderOfId(match: DeadLetterMatch, after: string | null, limit: number): Promise<readonly SeenDeadLetter[]>;
}

const FINGERPRINT_INDEX = { logId: 1, 'error.fingerprint': 1, _id: 1 } as const;

/** Indexes of the reads. Fields of them change seldom: an attempt that fails touches none. */
export async function ensureDeadLetterReads(db: Db): Promise<void> {
  await db.collection('dead_letters').createIndexes([
    { name: 'oldest', key: { logId: 1, firstFailedAt: 1, _id: 1 } },
    { name: 'fingerprint_id', key: FINGERPRINT_INDEX },
    { name: 'correlation', key: { logId: 1, correlationId: 1 } },
  ]);
}

const READ_MAX_MS = 30_000;

/** Whoever looks waits no longer than READ_MAX_MS, whatever became of the connection. */
export function createDeadLetterReads(db: Db, logId: string): DeadLetterReads {
  const bare = bareReads(db, logId);
  const asked = <T>(read: () => Promise<T>): Promise<T> => askedAgain(read, READ_MAX_MS, 'a read of dead letters');
  return {
    find: (id) => asked(() => bare.find(id)),
    scan: (match, slice) => asked(() => bare.scan(match, slice)),
    parked: (id, slice) => asked(() => bare.parked(id, slice)),
    events: (positions) => asked(() => bare.events(positions)),
    groups: (match, limit) => asked(() => bare.groups(match, limit)),
    totals: (match) => asked(() => bare.totals(match)),
    counts: () => asked(() => bare.counts()),
    inOrderOfId: (match, after, limit) => asked(() => bare.inOrderOfId(match, after, limit)),
  };
}

function bareReads(db: Db, logId: string): DeadLetterReads {
  const letters = db.collection<DeadLetterDocument>('dead_letters');
  const parkedEvents = db.collection<ParkedEventDocument>('parked_events');
  return {
    find: async (id) => (await letters.findOne({ _id: { $eq: id }, logId })) ?? undefined,
    scan: (match, slice) => {
      if (slice.limit === 0) return Promise.resolve([]);
      const direction = slice.turned ? -1 : 1;
      return letters
        .find({ $and: [filterOf(logId, match), ...placesOf(slice)] }, { limit: slice.limit, batchSize: slice.limit })
        .sort({ firstFailedAt: direction, _id: direction })
        .toArray();
    },
    parked: (id, { after, before, inclusive, turned, limit }) => {
      if (limit === 0) return Promise.resolve([]);
      const reach = inclusive ? 1 : 0;
      const low = (after ?? -1) - reach;
      const high = (before ?? Number.MAX_SAFE_INTEGER - 1) + reach;
      // "0" is the character after "/": the range holds exactly the ids that begin with the prefix.
      return parkedEvents
        .find(
          { _id: { $gte: `${id}/`, $lt: `${id}0` }, position: { $gt: low, $lt: high } },
          { limit, batchSize: limit },
        )
        .sort({ _id: turned ? -1 : 1 })
        .toArray();
    },
    events: (positions) => findByIds<LogDocument>(db, 'events', positions),
    async groups(match, limit) {
      const found = await letters.aggregate<Unsampled>(groupStages(logId, match, limit)).toArray();
      const groups = await Promise.all(found.map((group) => sampled(letters, { logId, ...match }, group)));
      return groups.filter((group) => group !== undefined);
    },
    async totals(match) {
      const groups = await letters
        .aggregate<{ _id: GenerationRef; count: number; parkedCount: number; oldest: Date }>([
          { $match: filterOf(logId, match) },
          {
            $group: {
              _id: { consumer: '$consumer', generation: '$generation' },
              count: { $sum: 1 },
              parkedCount: { $sum: '$parkedCount' },
              oldest: { $min: '$firstFailedAt' },
            },
          },
          { $sort: { _id: 1 } },
        ])
        .toArray();
      return {
        count: sum(groups, ({ count }) => count),
        parkedCount: sum(groups, ({ parkedCount }) => parkedCount),
        oldest: groups.reduce<Date | null>((least, { oldest }) => (least && least < oldest ? least : oldest), null),
        consumers: [...new Set(groups.map(({ _id }) => _id.consumer))].map((name) => {
          const of = groups.filter(({ _id }) => _id.consumer === name);
          return { name, count: sum(of, ({ count }) => count), parkedCount: sum(of, ({ parkedCount }) => parkedCount) };
        }),
        generations: groups.map(({ _id }) => _id),
      };
    },
    counts: () => letters.aggregate<DeadLetterCount>(countStages(logId)).toArray(),
    inOrderOfId: (match, after, limit) =>
      letters
        .find({ $and: [filterOf(logId, match), { _id: { $gt: after ?? '' } }] }, { limit, batchSize: limit })
        .sort({ _id: 1 })
        // Both give the order: nothing is sorted in memory, however many match.
        .hint(match.fingerprint === undefined ? { _id: 1 } : FINGERPRINT_INDEX)
        .project<SeenDeadLetter>({ consumer: 1, generation: 1, partition: 1, state: 1, position: 1, parkedCount: 1 })
        .toArray(),
  };
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0);

function filterOf(logId: string, match: DeadLetterMatch): Filter<DeadLetterDocument> {
  const { ids, consumer, generation, key, state, fingerprint, inputType, correlationId, since, until } = match;
  const equal = {
    consumer,
    generation,
    key,
    state,
    'error.fingerprint': fingerprint,
    inputType,
    correlationId,
  };
  return {
    logId,
    ...Object.fromEntries(Object.entries(equal).flatMap(([f, v]) => (v === undefined ? [] : [[f, { $eq: v }]]))),
    ...(ids !== undefined && { _id: { $in: [...ids] } }),
    ...((since !== undefined || until !== undefined) && {
      firstFailedAt: { ...(since && { $gte: since }), ...(until && { $lt: until }) },
    }),
  };
}

function placesOf({ after, before, inclusive }: RecordSlice<DeadLetterPlace>): Document[] {
  const beyond = ({ firstFailedAt, id }: DeadLetterPlace, strict: '$lt' | '$gt'): Document => ({
    $or: [
      { firstFailedAt: { [strict]: firstFailedAt } },
      { firstFailedAt, _id: { [inclusive ? `${strict}e` : strict]: id } },
    ],
  });
  return [...(after ? [beyond(after, '$gt')] : []), ...(before ? [beyond(before, '$lt')] : [])];
}

const countOf = (state: DeadLetterDocument['state']): Document => ({
  $sum: { $cond: [{ $eq: ['$state', state] }, 1, 0] },
});

/** First by key, so that keys are counted without holding them all in one group. The sample is the newest failure. */
function groupStages(logId: string, match: DeadLetterMatch, limit: number): Document[] {
  return [
    { $match: filterOf(logId, match) },
    {
      $group: {
        _id: { fingerprint: '$error.fingerprint', key: '$key', consumer: '$consumer' },
        count: { $sum: 1 },
        retryingCount: countOf('RETRYING'),
        deadCount: countOf('DEAD'),
        parkedCount: { $sum: '$parkedCount' },
        oldest: { $min: '$firstFailedAt' },
        newest: { $max: '$lastFailedAt' },
        last: { $max: { at: '$lastFailedAt', id: '$_id' } },
      },
    },
    {
      $group: {
        _id: { fingerprint: '$_id.fingerprint', consumer: '$_id.consumer' },
        ...summed,
        keyCount: { $sum: 1 },
      },
    },
    {
      $group: {
        _id: '$_id.fingerprint',
        ...summed,
        keyCount: { $sum: '$keyCount' },
        consumers: { $addToSet: '$_id.consumer' },
      },
    },
    { $sort: { count: -1, _id: 1 } },
    { $limit: limit },
    { $addFields: { fingerprint: '$_id' } },
    { $project: { _id: 0 } },
  ];
}

interface Unsampled extends Omit<DeadLetterGroup, 'sample'> {
  readonly last: { readonly id: string };
}

/** The one that failed last may be healed by now: then another, and with none the group is gone. */
async function sampled(
  letters: Collection<DeadLetterDocument>,
  { logId, ...match }: DeadLetterMatch & { readonly logId: string },
  { last, ...group }: Unsampled,
): Promise<DeadLetterGroup | undefined> {
  const { fingerprint } = group;
  const sample =
    (await letters.findOne({ _id: last.id, 'error.fingerprint': fingerprint })) ??
    (await letters.findOne(filterOf(logId, { ...match, fingerprint })));
  return sample === null ? undefined : { ...group, sample };
}

const summed = {
  count: { $sum: '$count' },
  retryingCount: { $sum: '$retryingCount' },
  deadCount: { $sum: '$deadCount' },
  parkedCount: { $sum: '$parkedCount' },
  oldest: { $min: '$oldest' },
  newest: { $max: '$newest' },
  last: { $max: '$last' },
};

const countStages = (logId: string): Document[] => [
  { $match: { logId } },
  {
    $group: {
      _id: { consumer: '$consumer', generation: '$generation' },
      retryingCount: countOf('RETRYING'),
      deadCount: countOf('DEAD'),
      parkedCount: { $sum: '$parkedCount' },
      since: { $min: '$firstFailedAt' },
    },
  },
  { $addFields: { consumer: '$_id.consumer', generation: '$_id.generation' } },
  { $project: { _id: 0 } },
  { $sort: { consumer: 1, generation: 1 } },
];
