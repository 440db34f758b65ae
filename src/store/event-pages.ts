import type { ClientSession, Collection, Db, Document, MongoClient } from 'mongodb';
import { createCausalReads } from './causal-reads.ts';
import type { LogDocument } from './documents.ts';

/** The part of the log that a page is read from; each is a range of one index, in order of position. */
export type LogPart =
  | { readonly by: 'position' }
  /** `streamPrefix` removes events of these types that lie in other streams; keep them few. */
  | { readonly by: 'type'; readonly types: readonly string[]; readonly streamPrefix?: string | undefined }
  | { readonly by: 'correlation'; readonly correlationId: string }
  | { readonly by: 'actor'; readonly actor: string }
  | { readonly by: 'stream'; readonly stream: string };

export interface LogScan {
  readonly part: LogPart;
  /** Positions, exclusive. */
  readonly after: number;
  readonly before: number;
  readonly backward: boolean;
  readonly limit: number;
  /** Also holds for every event, without an index: keep the range small where it removes many. */
  readonly at?: { readonly since: Date | undefined; readonly until: Date | undefined };
}

/** Events of one commit, by stream and version. */
export interface VersionRange {
  readonly stream: string;
  readonly first: number;
  readonly count: number;
}

/** Reads of the log by filter. Majority, from the primary. Not here: tailing it, which is the log reader's work. */
export interface EventPages {
  /** Newest position; 0 when the log is empty. */
  end(): Promise<number>;
  /** Every event type up to `end`, by hopping over the index of types. */
  types(): Promise<{ readonly end: number; readonly types: readonly string[] }>;
  /** Events of all ranges, in no order; those that are not placed yet are absent. */
  byVersions(ranges: readonly VersionRange[]): Promise<readonly LogDocument[]>;
  scan(scan: LogScan): Promise<readonly LogDocument[]>;
  /**
   * First position whose event is not before `at`, by binary search: about 20 single reads in a log of 1,000,000.
   * `at` only nearly rises with the position; see TIME_TOLERANCE_MS in the engine. Past the end when there is none.
   */
  positionAt(at: Date): Promise<number>;
}

const STREAM_INDEX = { stream: 1, version: 1 } as const;

export function createEventPages(client: MongoClient, db: Db): EventPages {
  const reads = createCausalReads(client);
  const events = db.collection<LogDocument>('events');

  const end = async (session: ClientSession): Promise<number> => {
    // The bound makes it a look at the clustered index and not, by name, a scan of the collection.
    const last = await events.findOne({ _id: { $gt: 0 } }, { sort: { _id: -1 }, projection: { _id: 1 }, session });
    return last?._id ?? 0;
  };

  return {
    end: () => reads.run(end),
    types: () =>
      reads.run(async (session) => {
        // The end first: types that are read after it are all that there are up to it.
        const last = await end(session);
        return { end: last, types: await events.distinct('type', {}, { session }) };
      }),
    byVersions: (ranges) =>
      reads.run(async (session) => {
        if (ranges.length === 0) return [];
        const $or = ranges.map(({ stream, first, count }) => ({
          stream: { $eq: stream },
          version: { $gte: first, $lt: first + count },
        }));
        return events.find({ $or }, { session }).toArray();
      }),
    async scan(scan) {
      if (scan.limit === 0 || scan.before - scan.after < 2) return [];
      const { part } = scan;
      return reads.run((session) => {
        const log: Log = { events, session };
        return part.by === 'stream' ? scanStream(log, part.stream, scan) : scanByPosition(log, scan);
      });
    },
    positionAt: (at) =>
      reads.run(async (session) =>
        firstThat(1, (await end(session)) + 1, async (position) => {
          const options = { sort: { _id: 1 }, projection: { at: 1 }, session } as const;
          const found = await events.findOne({ _id: { $gte: position } }, options);
          return found === null || found.at >= at;
        }),
      ),
  };
}

/** The collection, as one causal read sees it. */
interface Log {
  readonly events: Collection<LogDocument>;
  readonly session: ClientSession;
}

const atFilter = ({ at }: LogScan): Document => {
  const { since, until } = at ?? {};
  if (since === undefined && until === undefined) return {};
  return { at: { ...(since && { $gte: since }), ...(until && { $lt: until }) } };
};

/** "0" is the character after "/", with which every prefix ends. */
const inStreams = (prefix: string | undefined): Document =>
  prefix === undefined ? {} : { stream: { $gte: prefix, $lt: `${prefix.slice(0, -1)}0` } };

/** `{ type, _id }`, `{ meta.correlationId, _id }` and `{ meta.actor, _id }` hold the events of one value in order of position. */
function scanByPosition({ events, session }: Log, scan: LogScan): Promise<LogDocument[]> {
  const { after, before, backward, limit } = scan;
  const { fixed, index } = conditionOf(scan.part);
  const cursor = events
    .find({ ...fixed, _id: { $gt: after, $lt: before }, ...atFilter(scan) }, { session, limit, batchSize: limit })
    .sort({ _id: backward ? -1 : 1 });
  if (index !== undefined) cursor.hint(index);
  return cursor.toArray();
}

function conditionOf(part: LogPart): { readonly fixed: Document; readonly index?: Document } {
  switch (part.by) {
    case 'type':
      return { fixed: { type: { $in: [...part.types] }, ...inStreams(part.streamPrefix) }, index: { type: 1, _id: 1 } };
    case 'correlation':
      return {
        fixed: { 'meta.correlationId': { $eq: part.correlationId } },
        index: { 'meta.correlationId': 1, _id: 1 },
      };
    case 'actor':
      return { fixed: { 'meta.actor': { $eq: part.actor } }, index: { 'meta.actor': 1, _id: 1 } };
    default:
      return { fixed: {} };
  }
}

/** In a stream positions rise with versions, so the ends are looked up as versions and `{ stream, version }` serves. */
async function scanStream(log: Log, stream: string, scan: LogScan): Promise<LogDocument[]> {
  const from = scan.after <= 0 ? 1 : await versionAt(log, stream, scan.after + 1);
  const to = Number.isFinite(scan.before) ? await versionAt(log, stream, scan.before) : Number.POSITIVE_INFINITY;
  const { limit } = scan;
  return log.events
    .find(
      { stream: { $eq: stream }, version: { $gte: from, $lt: to }, ...atFilter(scan) },
      { session: log.session, limit, batchSize: limit, hint: STREAM_INDEX },
    )
    .sort({ version: scan.backward ? -1 : 1 })
    .toArray();
}

/** First version of a stream that lies at a position or after it. */
async function versionAt({ events, session }: Log, stream: string, position: number): Promise<number> {
  const near = await events
    .find({ _id: { $gte: position - 1, $lte: position } }, { session })
    .project<Pick<LogDocument, '_id' | 'stream' | 'version'>>({ stream: 1, version: 1 })
    .toArray();
  // The usual case: the cursor is an event of this stream.
  const own = near.find((event) => event.stream === stream);
  if (own !== undefined) return own._id >= position ? own.version : own.version + 1;
  const last = await events.findOne(
    { stream: { $eq: stream } },
    { sort: { version: -1 }, projection: { version: 1 }, hint: STREAM_INDEX, session },
  );
  return firstThat(1, (last?.version ?? 0) + 1, async (version) => {
    const found = await events.findOne({ stream: { $eq: stream }, version }, { projection: { _id: 1 }, session });
    return found === null || found._id >= position;
  });
}

/** Smallest number from `low` for which `holds`; `high` when there is none before it. */
async function firstThat(low: number, high: number, holds: (value: number) => Promise<boolean>): Promise<number> {
  let [from, to] = [low, high];
  while (from < to) {
    const middle = Math.floor((from + to) / 2);
    if (await holds(middle)) to = middle;
    else from = middle + 1;
  }
  return from;
}
