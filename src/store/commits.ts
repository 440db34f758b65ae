import {
  BSON,
  type ClientSession,
  type Db,
  type Document,
  type MongoClient,
  MongoServerError,
  type Timestamp,
} from 'mongodb';
import { isMillraceError, MillraceError } from '../errors.ts';
import { WRITE_CONCERN } from './connect.ts';
import type { CommitDocument } from './documents.ts';
import { askedAgain, FIRST_TRY_MAX_MS, inTime, ON_ITS_WAY, unanswered } from './in-time.ts';

/** What became of one member of an insert. Only `inserted` and `taken` are answers; `unknown` proves nothing. */
export type InsertResult =
  | { readonly kind: 'inserted' }
  /** A unique index refused it; which one is only a hint, because the server names the first it met. */
  | { readonly kind: 'taken'; readonly by: 'id' | 'version' | 'command' }
  | { readonly kind: 'failed'; readonly error: unknown }
  | { readonly kind: 'unknown'; readonly error: unknown };

/** A point in the server's history. Reads that are given one see everything that was acknowledged or refused before it. */
export type OperationTime = Timestamp;

export interface CommitWriter {
  /** One unordered insert; every member succeeds or fails alone. One call at a time a writer. Never throws. */
  insert(commits: readonly CommitDocument[]): Promise<readonly InsertResult[]>;
  /** Of the last insert: pass it to reads that follow a `taken`. */
  readonly operationTime: OperationTime | undefined;
  close(): Promise<void>;
}

/** `commits`, the write side of the truth. Documents are inserted once and never updated. All reads are majority, from the primary. */
export interface CommitStore {
  writer(): CommitWriter;
  /** Commits with events of a stream from a version on, oldest first. */
  since(stream: string, afterVersion: number, operationTime?: OperationTime): AsyncIterable<CommitDocument>;
  /** The commit of a command and the commits after a version, in one read; in no order. */
  news(
    stream: string,
    afterVersion: number,
    commandId: string,
    operationTime?: OperationTime,
  ): Promise<readonly CommitDocument[]>;
  byCommand(stream: string, commandId: string, operationTime?: OperationTime): Promise<CommitDocument | undefined>;
}

const READ_MAX_MS = 30_000;
const DUPLICATE_KEY = 11_000;
const INDEX_OF_VERSION = 'stream_version';
const INDEX_OF_COMMAND = 'stream_command';

/**
 * Creates the collection, clustered by the time-ordered `_id` so that a backward scan meets the newest first, its unique
 * indexes and the flat MongoDB view `commands`.
 */
export async function ensureCommits(db: Db, existing: ReadonlySet<string>): Promise<void> {
  if (!existing.has('commits')) {
    await db
      .createCollection('commits', { clusteredIndex: { key: { _id: 1 }, unique: true, name: 'id' } })
      .catch(ignoreExisting);
  }
  await db.collection('commits').createIndexes([
    {
      name: INDEX_OF_VERSION,
      key: { stream: 1, version: 1 },
      unique: true,
      partialFilterExpression: { version: { $exists: true } },
    },
    { name: INDEX_OF_COMMAND, key: { stream: 1, 'command.id': 1 }, unique: true },
  ]);
  if (!existing.has('commands')) {
    await db
      .createCollection('commands', {
        viewOn: 'commits',
        pipeline: [
          {
            $project: {
              _id: '$command.id',
              stream: 1,
              type: '$command.type',
              data: '$command.data',
              version: 1,
              events: '$events.type',
              meta: 1,
              at: 1,
            },
          },
        ],
      })
      .catch(ignoreExisting);
  }
}

const NAMESPACE_EXISTS = 48;
/** Several processes start at once; the first creates. */
export function ignoreExisting(error: unknown): void {
  if (typeof error === 'object' && error !== null && 'code' in error && error.code === NAMESPACE_EXISTS) return;
  throw error;
}

export function createCommitStore(client: MongoClient, db: Db): CommitStore {
  const commits = db.collection<CommitDocument>('commits');

  /** Runs reads after `operationTime`: a majority read alone may be older than the refusal that led to it. */
  const reading = (operationTime: OperationTime | undefined): ClientSession | undefined => {
    if (operationTime === undefined) return undefined;
    const session = client.startSession({ causalConsistency: true });
    session.advanceOperationTime(operationTime);
    return session;
  };
  const find = async (filter: object, operationTime: OperationTime | undefined): Promise<CommitDocument[]> => {
    const ask = async (): Promise<CommitDocument[]> => {
      const session = reading(operationTime);
      try {
        return await commits.find(filter, session === undefined ? {} : { session }).toArray();
      } finally {
        await session?.endSession();
      }
    };
    return askedAgain(ask, READ_MAX_MS, 'a read of commits');
  };

  return {
    writer: () => createWriter(client, db),
    async *since(stream, afterVersion, operationTime) {
      let after = afterVersion;
      for (let patient = false; ; ) {
        const session = reading(operationTime);
        const options = session === undefined ? {} : { session };
        const found = commits.find({ stream, version: { $gt: after } }, options).sort({ version: 1 });
        try {
          while (await inTime(found.hasNext(), patient ? READ_MAX_MS : FIRST_TRY_MAX_MS, 'a read of a stream')) {
            for (const commit of found.readBufferedDocuments()) {
              yield commit;
              after = commit.version ?? after;
            }
          }
          return;
        } catch (thrown) {
          const error = unanswered(thrown);
          // The connection died in the moment of asking: go on behind what has come.
          if (patient || !isMillraceError(error, 'MONGODB_UNREACHABLE')) throw error;
          patient = true;
        } finally {
          void found.close().catch(() => undefined);
          void session?.endSession().catch(() => undefined);
        }
      }
    },
    news: (stream, afterVersion, commandId, operationTime) =>
      find(
        {
          $or: [
            { stream, 'command.id': commandId },
            { stream, version: { $gt: afterVersion } },
          ],
        },
        operationTime,
      ),
    byCommand: async (stream, commandId, operationTime) =>
      (await find({ stream, 'command.id': commandId }, operationTime))[0],
  };
}

/** A server that is silent for so long will not answer; what became of the documents is then unknown. */
const INSERT_MAX_MS = 5_000;

function createWriter(client: MongoClient, db: Db): CommitWriter {
  const session = client.startSession({ causalConsistency: true });
  const insert = async (batch: readonly CommitDocument[]): Promise<readonly InsertResult[]> => {
    // A raw command: the driver's bulk classes would measure every document once more, and its retry costs the server
    // a record of each write. Repeating is ours: the same ids, of which the indexes let exactly one live.
    const command = { insert: 'commits', documents: batch, ordered: false, writeConcern: WRITE_CONCERN };
    try {
      const signal = AbortSignal.timeout(INSERT_MAX_MS);
      return explainInsert(await db.command(command, { session, signal, ignoreUndefined: true }), batch.length);
    } catch (error) {
      const refused = definite(error);
      if (refused === undefined) return batch.map(() => ({ kind: 'unknown', error }));
      if (batch.length <= 1) return batch.map(() => refused);
      // Nothing was written: one of them, or all together, cannot be sent. The others must not suffer for it.
      const half = Math.ceil(batch.length / 2);
      return [...(await insert(batch.slice(0, half))), ...(await insert(batch.slice(half)))];
    }
  };
  return {
    insert,
    get operationTime() {
      return session.operationTime;
    },
    close: () => session.endSession(),
  };
}

function explainInsert(reply: Document, count: number): InsertResult[] {
  if (reply.writeConcernError !== undefined) {
    const error = new MongoServerError(reply.writeConcernError);
    return Array.from({ length: count }, () => ({ kind: 'unknown', error }));
  }
  const results: InsertResult[] = Array.from({ length: count }, () => ({ kind: 'inserted' }));
  for (const { index, code, errmsg, keyPattern } of Array.isArray(reply.writeErrors) ? reply.writeErrors : []) {
    const error = new MongoServerError({ message: String(errmsg), code });
    if (code === DUPLICATE_KEY) results[Number(index)] = { kind: 'taken', by: indexOf(keyPattern) };
    else results[Number(index)] = ON_ITS_WAY.has(code) ? { kind: 'unknown', error } : { kind: 'failed', error };
  }
  return results;
}

/** Which unique index was met; "command" makes the caller look, whatever it was. */
function indexOf(keyPattern: unknown): 'id' | 'version' | 'command' {
  if (typeof keyPattern !== 'object' || keyPattern === null) return 'command';
  if ('_id' in keyPattern) return 'id';
  return 'version' in keyPattern ? 'version' : 'command';
}

/** Too large, or nested too deep: the server refuses the message as a whole before it looks at a document. */
const BSON_REFUSED = new Set([15, 10_334, 17_419, 17_420]);
/** Errors raised before anything was written, by the driver or by the server: a repeat would fail alike. */
function definite(error: unknown): InsertResult | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const code = 'code' in error ? error.code : undefined;
  const unreadable = typeof code === 'number' && BSON_REFUSED.has(code);
  // An offset is named by the reader of BSON: that was an answer, and what it meant is not known.
  const unwritable = error instanceof BSON.BSONError && !(error instanceof BSON.BSONOffsetError);
  if (!unreadable && !unwritable && !(error instanceof RangeError) && !(error instanceof TypeError)) return undefined;
  return {
    kind: 'failed',
    error: new MillraceError(
      'COMMIT_TOO_LARGE',
      'MongoDB does not take this commit: it is too large, nested too deep or not plain JSON.',
      { cause: error },
    ),
  };
}
