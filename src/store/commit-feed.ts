import { BSON, type Db, type Document, type MongoClient, type Timestamp } from 'mongodb';
import { MillraceError } from '../errors.ts';
import type { CommitDocument } from './documents.ts';
import { askedAgain } from './in-time.ts';
import { errorCode, isStreamLost } from './mongo-errors.ts';

/** A point in the server's history that a feed can start at. */
export type FeedTime = Timestamp;

export interface CommitBatch {
  readonly commits: readonly CommitDocument[];
  /** Commits that were left out because they are known. */
  readonly knownCount: number;
  /** More may be ready. When not, everything that was in `commits` when this batch was asked for has come by now. */
  readonly full: boolean;
  /** Goes on after this batch. */
  readonly token: unknown;
}

/** Commits in commit order (majority), as they come. */
export interface CommitStream {
  /**
   * Waits up to half a second for news; `commits` may be empty. `token` goes on after them. Commits whose id is `known` are
   * left out without being decoded.
   */
  next(known: (id: string) => boolean): Promise<CommitBatch>;
  close(): Promise<void>;
}

/** What a scan needs to know of a commit: where it belongs and how many events it has. */
export interface CommitHead {
  readonly _id: string;
  readonly stream: string;
  readonly version: number;
  readonly eventCount: number;
}

/** `commits` as the sequencer reads them: majority, from the primary. Commits without events are not in it. */
export interface CommitFeed {
  /** Names the pipeline; a token of another pipeline is of no use. */
  readonly pipeline: string;
  now(): Promise<FeedTime>;
  /** Throws `FeedLostError` when the server cannot go on from there. */
  open(from: { readonly token: unknown } | { readonly time: FeedTime }): Promise<CommitStream>;
  /** Newest first, before the commit `before` (exclusive). */
  backward(before: string | undefined, limit: number): Promise<readonly CommitHead[]>;
  /** Oldest first, from the commit `from` on. */
  forward(from: string, limit: number): Promise<readonly CommitDocument[]>;
  /** Commits of a stream that hold a version from `from` on, oldest first. */
  ofStream(stream: string, from: number, limit: number): Promise<readonly CommitDocument[]>;
  /** All commits in order of stream (by UTF-8 bytes) and version, with the ids of their events. */
  scanByStream(): AsyncIterable<CommitHead & { readonly eventIds: readonly string[] }>;
}

/** The change stream's history is lost or its token invalid: scan, then follow from a time taken before the scan. */
export class FeedLostError extends Error {
  override readonly name = 'FeedLostError';
}

const PIPELINE: readonly Document[] = [
  { $match: { operationType: 'insert', 'fullDocument.version': { $exists: true } } },
  { $project: { fullDocument: 1 } },
];
const BATCH_MAX_COMMITS = 1_000;
/** The server ends a batch before it reaches 16 MB. */
const FULL_BYTES = 8_000_000;
const AWAIT_MS = 500;
/** A server that does not answer a wait of half a second within this is gone: the watchdog of the stream. */
const WATCHDOG_MS = 10_000;
const WITH_EVENTS = { version: { $exists: true } };
const HEAD = { stream: 1, version: 1, eventCount: { $size: '$events' } };

const READ_MAX_MS = 30_000;
const asked = <T>(read: () => Promise<T>): Promise<T> => askedAgain(read, READ_MAX_MS, 'a read of commits');

export function createCommitFeed(client: MongoClient, db: Db): CommitFeed {
  const commits = db.collection<CommitDocument>('commits');
  return {
    pipeline: JSON.stringify(PIPELINE),
    async now() {
      const { operationTime } = await asked(() => db.command({ ping: 1 }));
      if (operationTime === undefined) throw new MillraceError('INTERNAL', 'MongoDB sent no operation time.');
      return operationTime;
    },
    open: (from) =>
      openStream(client, db, 'token' in from ? { resumeAfter: from.token } : { startAtOperationTime: from.time }),
    backward: (before, limit) =>
      asked(() =>
        commits
          .find({ ...WITH_EVENTS, ...(before === undefined ? {} : { _id: { $lt: before } }) })
          .sort({ _id: -1 })
          .limit(limit)
          .project<CommitHead>(HEAD)
          .toArray(),
      ),
    forward: (from, limit) =>
      asked(() =>
        commits
          .find({ ...WITH_EVENTS, _id: { $gte: from } })
          .sort({ _id: 1 })
          .limit(limit)
          .toArray(),
      ),
    ofStream: (stream, from, limit) =>
      asked(async () => {
        // The commit that holds `from` may begin before it.
        const before = { stream, version: { $lt: from } };
        const [first] = await commits.find(before).sort({ version: -1 }).limit(1).toArray();
        const holds = first !== undefined && (first.version ?? 0) + first.events.length > from;
        const rest = commits.find({ stream, version: { $gte: from } });
        return [...(holds ? [first] : []), ...(await rest.sort({ version: 1 }).limit(limit).toArray())];
      }),
    scanByStream: () =>
      commits
        .find(WITH_EVENTS, { batchSize: 2_000 })
        .sort({ stream: 1, version: 1 })
        .hint('stream_version')
        .project<CommitHead & { readonly eventIds: readonly string[] }>({ ...HEAD, eventIds: '$events.id' }),
  };
}

/**
 * The change stream by plain commands instead of the driver's ChangeStream: whole batches, no resuming behind our back, and
 * a deadline on each wait, because a stream can be open and silent for ever.
 */
async function openStream(client: MongoClient, db: Db, start: Document): Promise<CommitStream> {
  const session = client.startSession({ causalConsistency: false });
  const ask = async (command: Document): Promise<Document> => {
    try {
      return await db.command(command, { session, signal: AbortSignal.timeout(WATCHDOG_MS), fieldsAsRaw: RAW_BATCHES });
    } catch (error) {
      throw isStreamLost(error)
        ? new FeedLostError(`change stream lost (${errorCode(error)})`, { cause: error })
        : error;
    }
  };
  let opened: Document;
  try {
    opened = await ask({
      aggregate: 'commits',
      pipeline: [{ $changeStream: start }, ...PIPELINE],
      cursor: { batchSize: BATCH_MAX_COMMITS },
      readConcern: { level: 'majority' },
    });
  } catch (error) {
    await session.endSession();
    throw error;
  }
  const { id } = opened.cursor;
  let first: Document | undefined = opened;
  return {
    async next(known) {
      const reply: Document =
        first ?? (await ask({ getMore: id, collection: 'commits', batchSize: BATCH_MAX_COMMITS, maxTimeMS: AWAIT_MS }));
      first = undefined;
      const { firstBatch, nextBatch = firstBatch, postBatchResumeToken, id: still } = reply.cursor;
      // Dropped or renamed: the server ends the stream, and its token leads nowhere.
      if (isClosed(still)) throw new FeedLostError('change stream ended by the server (collection dropped or renamed)');
      const commits = unknownCommits(nextBatch, known);
      return {
        commits,
        knownCount: nextBatch.length - commits.length,
        full: isFull(nextBatch),
        token: postBatchResumeToken,
      };
    },
    async close() {
      const gone = db.command(
        { killCursors: 'commits', cursors: [id] },
        { session, signal: AbortSignal.timeout(1_000) },
      );
      await gone.catch(() => undefined);
      await session.endSession();
    },
  };
}

/** Batches come as raw BSON: most changes are echoes of what this process wrote, and decoding costs more than all the rest. */
const RAW_BATCHES = { firstBatch: true, nextBatch: true };

function unknownCommits(changes: readonly Buffer[], known: (id: string) => boolean): readonly CommitDocument[] {
  const commits: CommitDocument[] = [];
  for (const change of changes) {
    const id = commitIdOf(change);
    if (id !== undefined && known(id)) continue;
    const { fullDocument } = BSON.deserialize(change);
    commits.push(fullDocument as CommitDocument);
  }
  return commits;
}

const EMBEDDED = 0x03;
const STRING = 0x02;
const ID_FIELD = Buffer.from('_id\0');
const DOCUMENT_FIELD = Buffer.from('fullDocument\0');

/** Reads `{ _id: {…}, fullDocument: { _id: '…' …` without decoding the rest; undefined when it looks otherwise. */
export function commitIdOf(change: Buffer): string | undefined {
  let at = 4;
  const isField = (type: number, name: Buffer): boolean =>
    change[at] === type && change.subarray(at + 1, at + 1 + name.length).equals(name);
  if (!isField(EMBEDDED, ID_FIELD)) return undefined;
  at += 1 + ID_FIELD.length;
  at += change.readInt32LE(at);
  if (!isField(EMBEDDED, DOCUMENT_FIELD)) return undefined;
  at += 1 + DOCUMENT_FIELD.length + 4;
  if (!isField(STRING, ID_FIELD)) return undefined;
  at += 1 + ID_FIELD.length;
  const length = change.readInt32LE(at);
  return change.toString('utf8', at + 4, at + 4 + length - 1);
}

function isFull(changes: readonly Buffer[]): boolean {
  let bytes = 0;
  for (const { length } of changes) bytes += length;
  return changes.length >= BATCH_MAX_COMMITS || bytes >= FULL_BYTES;
}

const isClosed = (cursorId: unknown): boolean => String(cursorId) === '0';
