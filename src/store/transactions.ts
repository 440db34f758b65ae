import { setTimeout as pause } from 'node:timers/promises';
import { type ClientSession, type MongoClient, MongoError } from 'mongodb';
import { crashPoint } from '../crash-points.ts';
import { type CausalReads, type TimeText, timeText } from './causal-reads.ts';
import { inTime } from './in-time.ts';
import { isUnknownCommit, meaningOf } from './mongo-errors.ts';

/** How a transaction ended. `unknown`: it may or may not live; read back what it would have changed. */
export type TransactionEnd =
  /** `time`: reads that begin after it see what was written. */
  | { readonly kind: 'committed'; readonly time?: TimeText | undefined }
  /** The work itself gave up; nothing was written. */
  | { readonly kind: 'refused' }
  /** Another transaction holds the same documents; nothing was written. */
  | { readonly kind: 'conflict' }
  /** These documents can never be written; nothing was written. */
  | { readonly kind: 'unstorable'; readonly error: unknown }
  /** Network, failover, time: nothing was written. */
  | { readonly kind: 'failed'; readonly error: unknown }
  | { readonly kind: 'unknown'; readonly error: unknown };

/** What the work of a transaction may use; `deadline` ends its commands. */
export interface TransactionScope {
  readonly session: ClientSession;
  readonly deadline: AbortSignal;
}

/**
 * Short transactions on a few sessions of its own, whose ids `instances` knows, so that others can free what a killed
 * process left locked. Not `withTransaction`: it repeats the work for up to two minutes; here the caller decides again.
 */
export interface Transactions {
  /** Ids of the sessions in use, for the instance record. */
  sessionIds(): readonly unknown[];
  /** Runs `work` and commits when it returns true. Never throws. */
  run(work: (scope: TransactionScope) => Promise<boolean>): Promise<TransactionEnd>;
  close(): Promise<void>;
}

const TRANSACTION_MAX_MS = 5_000;
/** Work whose connection died in the wrong moment is not ended by its deadline. */
const WORK_MAX_MS = 6_000;
const COMMIT_MAX_MS = 10_000;
const COMMIT_PAUSE_MS = 20;
const ABORT_MAX_MS = 5_000;
const CLOSE_MAX_MS = 400;

export function createTransactions(client: MongoClient, reads: CausalReads, sessionCount = 4): Transactions {
  const start = (): ClientSession => client.startSession({ causalConsistency: true });
  const idle = Array.from({ length: sessionCount }, start);
  const known = new Set(idle);
  const waiting: ((session: ClientSession) => void)[] = [];

  const take = (): Promise<ClientSession> => {
    const session = idle.pop();
    return session === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(session);
  };
  const give = (session: ClientSession): void => {
    const next = waiting.shift();
    if (next === undefined) idle.push(session);
    else next(session);
  };
  /** A session with a command that never came back is of no use: it goes in the background, a new one takes its place. */
  const replace = (session: ClientSession): void => {
    known.delete(session);
    session.endSession().catch(() => undefined);
    const fresh = start();
    known.add(fresh);
    give(fresh);
  };

  const attempt = async (session: ClientSession, work: (scope: TransactionScope) => Promise<boolean>) => {
    crashPoint('before-transaction');
    const deadline = AbortSignal.timeout(TRANSACTION_MAX_MS);
    session.startTransaction({
      readConcern: { level: 'majority' },
      writeConcern: { w: 'majority', journal: true },
      maxCommitTimeMS: TRANSACTION_MAX_MS,
    });
    try {
      if (!(await inTime(work({ session, deadline }), WORK_MAX_MS, 'a transaction'))) {
        await abort(session);
        return { kind: 'refused' } as const;
      }
    } catch (error) {
      if (!deadline.aborted) await abort(session);
      const meaning = meaningOf(error);
      return meaning === 'transient' ? ({ kind: 'failed', error } as const) : ({ kind: meaning, error } as const);
    }
    crashPoint('before-commit');
    const end = await commit(session);
    crashPoint('after-commit');
    return end;
  };

  return {
    sessionIds: () => [...known].flatMap((session) => (session.id === undefined ? [] : [session.id.id])),
    async run(work) {
      const session = await take();
      const end = await attempt(session, work);
      reads.observe(session);
      if (session.inTransaction() || end.kind === 'unknown') replace(session);
      else give(session);
      return end;
    },
    async close() {
      const ended = Promise.all([...known].map((session) => session.endSession()));
      await inTime(ended, CLOSE_MAX_MS, 'endSession').catch(() => undefined);
    },
  };
}

/** Nothing depends on it: what is not aborted ends with its session or with the server's limit. */
const abort = (session: ClientSession): Promise<void> =>
  inTime(session.abortTransaction(), ABORT_MAX_MS, 'abortTransaction').catch(() => undefined);

/** The same commit may be sent again: the server answers what became of the first. */
async function commit(session: ClientSession): Promise<TransactionEnd> {
  const until = Date.now() + COMMIT_MAX_MS;
  for (;;) {
    try {
      await inTime(session.commitTransaction(), Math.max(1, until - Date.now()), 'commitTransaction');
      return { kind: 'committed', time: timeText(session) };
    } catch (error) {
      if (meaningOf(error) === 'conflict') return { kind: 'conflict' };
      if (error instanceof MongoError && !isUnknownCommit(error)) return { kind: 'failed', error };
      if (Date.now() >= until) return { kind: 'unknown', error };
      await pause(COMMIT_PAUSE_MS);
    }
  }
}
