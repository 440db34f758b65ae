import { MongoError, MongoServerError } from 'mongodb';
import { isMillraceError, MillraceError } from '../errors.ts';

/** Rejects with MONGODB_UNREACHABLE when there is no answer within `ms`; the call goes on, and nobody hears its answer. */
export function inTime<T>(call: Promise<T>, ms: number, name: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new MillraceError('MONGODB_UNREACHABLE', `MongoDB gave no answer to ${name} in ${ms} ms.`));
    }, ms);
  });
  return Promise.race([call, late]).finally(() => clearTimeout(timer));
}

const PART_MAX_MS = 20_000;
/** The server ends a part by itself; after this it says nothing any more. */
const PART_ANSWER_MAX_MS = 25_000;
const MAX_TIME_MS_EXPIRED = 50;

/**
 * A write over many documents that takes as long as it takes, while each question has an answer in time: ended by the server it is
 * asked again. `write` goes on where it was: what it has changed it does not find any more.
 */
export async function inParts(
  write: (limits: { readonly maxTimeMS: number }) => Promise<unknown>,
  name: string,
): Promise<void> {
  for (;;) {
    try {
      await inTime(write({ maxTimeMS: PART_MAX_MS }), PART_ANSWER_MAX_MS, name);
      return;
    } catch (error) {
      if (!(error instanceof MongoServerError) || error.code !== MAX_TIME_MS_EXPIRED) throw unanswered(error);
    }
  }
}

/** After this a read that has no answer is asked once more. */
export const FIRST_TRY_MAX_MS = 3_000;

/** Codes of a server that is on its way down or to another primary: they say nothing about what was asked. */
export const ON_ITS_WAY = new Set([6, 7, 64, 89, 91, 189, 9_001, 10_058, 10_107, 11_600, 11_602, 13_435, 13_436]);

/** What keeps a question from being answered, as MONGODB_UNREACHABLE: it may be asked again. Anything else as it is. */
export function unanswered(error: unknown): unknown {
  if (isMillraceError(error)) return error;
  if (error instanceof MongoServerError && !(typeof error.code === 'number' && ON_ITS_WAY.has(error.code)))
    return error;
  // The driver passes what it gets from a socket that is half closed.
  const ofSystem = error instanceof Error && 'code' in error && typeof error.code === 'string';
  if (!(error instanceof MongoError) && !ofSystem) return error;
  return new MillraceError('MONGODB_UNREACHABLE', `MongoDB could not be asked: ${error.message}`, { cause: error });
}

/**
 * A read, or a write that may be done twice, asked once more when the first try failed because of the surroundings, or got no answer within FIRST_TRY_MAX_MS,
 * with the rest of `ms`. Asking on a connection that dies in this very moment leaves the driver waiting for ever (mongodb 7.8
 * waits for the "drain" of a socket that is destroyed already), and whoever waits for the read would stand still long after
 * the server is back.
 */
export async function askedAgain<T>(ask: () => Promise<T>, ms: number, name: string): Promise<T> {
  try {
    return await inTime(ask(), FIRST_TRY_MAX_MS, name);
  } catch (thrown) {
    const error = unanswered(thrown);
    if (!isMillraceError(error, 'MONGODB_UNREACHABLE')) throw error;
  }
  try {
    return await inTime(ask(), Math.max(0, ms - FIRST_TRY_MAX_MS), name);
  } catch (error) {
    throw unanswered(error);
  }
}
