import type { Db, Document, MongoClient } from 'mongodb';
import { MillraceError } from '../errors.ts';
import { createCausalReads } from './causal-reads.ts';
import { ignoreExisting } from './commits.ts';
import { WRITE_CONCERN } from './connect.ts';
import type { LogDocument } from './documents.ts';
import { isDuplicateKey } from './mongo-errors.ts';

/** What became of an ordered insert: the first `count` events were placed, then it met `stopped`. */
export interface PlaceResult {
  readonly count: number;
  /** `position`: somebody else took the next position. `placed`: the event at index `count` is in the log already. */
  readonly stopped: 'position' | 'placed' | undefined;
}

/** Names one event by its place in its stream. */
export interface EventRef {
  readonly stream: string;
  readonly version: number;
}
export const refKey = (stream: string, version: number): string => `${stream}\u0000${version}`;

/** `events`, the log. Every read is majority, from the primary, and not older than what this process wrote. */
export interface LogStore {
  /** The newest position; 0 when the log is empty. */
  end(): Promise<number>;
  /**
   * Inserts in order and stops at the first collision, so nothing is placed before what precedes it. Throws when the outcome
   * is not known (network, write concern): read the end again and place the same events again; the indexes refuse doubles.
   */
  place(events: readonly LogDocument[]): Promise<PlaceResult>;
  /** Events after a position, in order, without gaps, at most `limit`. Throws INTERNAL at a gap. */
  read(after: number, limit: number): Promise<readonly LogDocument[]>;
  /** Which of these are in the log, as `refKey`. */
  placed(refs: readonly EventRef[]): Promise<ReadonlySet<string>>;
  /** The newest version of a stream in the log; 0 when it has none. */
  versionOf(stream: string): Promise<number>;
  /** The first position up to `end` without an event. */
  firstGap(end: number): Promise<number | undefined>;
  /** All events in order of stream (by UTF-8 bytes) and version. */
  scanByStream(): AsyncIterable<EventRef & { readonly position: number; readonly id: string }>;
}

/** An insert that was not answered by then is of unknown outcome; a silent network must not hold the log. */
const PLACE_MAX_MS = 15_000;

/** Creates the clustered collection and its indexes; safe from several processes at once. */
export async function ensureLog(db: Db, existing: ReadonlySet<string>): Promise<void> {
  if (!existing.has('events')) {
    await db
      .createCollection('events', { clusteredIndex: { key: { _id: 1 }, unique: true, name: 'position' } })
      .catch(ignoreExisting);
  }
  await db.collection('events').createIndexes([
    { name: 'stream_version', key: { stream: 1, version: 1 }, unique: true },
    { name: 'type_position', key: { type: 1, _id: 1 } },
    { name: 'correlation_position', key: { 'meta.correlationId': 1, _id: 1 } },
    // Every text is greater than the empty one: events without an actor take no room in it.
    {
      name: 'actor_position',
      key: { 'meta.actor': 1, _id: 1 },
      partialFilterExpression: { 'meta.actor': { $gt: '' } },
    },
  ]);
}

export function createLogStore(client: MongoClient, db: Db): LogStore {
  const events = db.collection<LogDocument>('events');
  const reads = createCausalReads(client);

  return {
    end: () =>
      reads.run(async (session) => {
        const last = await events.findOne({}, { sort: { _id: -1 }, projection: { _id: 1 }, session });
        return last?._id ?? 0;
      }),

    place: async (batch) => {
      if (batch.length === 0) return { count: 0, stopped: undefined };
      const session = client.startSession({ causalConsistency: true });
      try {
        // A raw command: the driver's bulk classes would measure every document once more.
        const command = { insert: 'events', documents: batch, ordered: true, writeConcern: WRITE_CONCERN };
        return explainPlacing(
          await db.command(command, { session, signal: AbortSignal.timeout(PLACE_MAX_MS), ignoreUndefined: true }),
          batch.length,
        );
      } finally {
        reads.observe(session);
        await session.endSession();
      }
    },

    read: (after, limit) =>
      reads.run(async (session) => {
        const found = await events
          .find({ _id: { $gt: after } }, { sort: { _id: 1 }, limit, batchSize: limit, session })
          .toArray();
        found.forEach((event, index) => {
          if (event._id !== after + index + 1) throw gap(after + index + 1, event._id);
        });
        return found;
      }),

    placed: (refs) =>
      reads.run(async (session) => {
        const keys = new Set<string>();
        for (let i = 0; i < refs.length; i += 200) {
          const $or = refs.slice(i, i + 200).map(({ stream, version }) => ({ stream, version }));
          const found = events.find({ $or }, { projection: { _id: 0, stream: 1, version: 1 }, session });
          for await (const { stream, version } of found) keys.add(refKey(stream, version));
        }
        return keys;
      }),

    versionOf: (stream) =>
      reads.run(async (session) => {
        const last = await events.findOne({ stream }, { sort: { version: -1 }, projection: { version: 1 }, session });
        return last?.version ?? 0;
      }),

    async firstGap(end) {
      let [low, high] = [1, end];
      if ((await events.countDocuments({ _id: { $gte: low, $lte: high } })) === end) return undefined;
      // Positions are distinct whole numbers: a half with too few of them has a gap.
      while (low < high) {
        const middle = Math.floor((low + high) / 2);
        const count = await events.countDocuments({ _id: { $gte: low, $lte: middle } });
        if (count < middle - low + 1) high = middle;
        else low = middle + 1;
      }
      return low;
    },

    async *scanByStream() {
      const found = events.find({}, { projection: { stream: 1, version: 1, id: 1 }, batchSize: 5_000 });
      for await (const { _id, stream, version, id } of found.sort({ stream: 1, version: 1 }).hint('stream_version')) {
        yield { stream, version, id, position: _id };
      }
    },
  };
}

function explainPlacing(reply: Document, length: number): PlaceResult {
  const [first] = Array.isArray(reply.writeErrors) ? reply.writeErrors : [];
  if (first === undefined) return { count: length, stopped: undefined };
  if (!isDuplicateKey(first)) {
    throw new MillraceError('INTERNAL', `MongoDB does not take an event into the log: ${String(first.errmsg)}`);
  }
  const byStream = String(first.errmsg).includes('stream_version');
  return { count: Number(first.index), stopped: byStream ? 'placed' : 'position' };
}

const gap = (expected: number, found: number): MillraceError =>
  new MillraceError(
    'INTERNAL',
    `The log has no event at position ${expected}; the next one is at ${found}. Positions never have gaps: run \`millrace verify\`, and restore "events" from a backup if documents were removed.`,
  );
