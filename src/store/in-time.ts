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

/** After this a read that has no answer is asked once more. */
export const FIRST_TRY_MAX_MS = 3_000;

/**
 * A read, asked once more when the first try got no answer within FIRST_TRY_MAX_MS, with the rest of `ms`. Asking on a connection
 * that dies in this very moment leaves the driver waiting for ever (mongodb 7.8 waits for the "drain" of a socket that is
 * destroyed already), and whoever waits for the read would stand still long after the server is back.
 */
export async function askedAgain<T>(ask: () => Promise<T>, ms: number, name: string): Promise<T> {
  try {
    return await inTime(ask(), FIRST_TRY_MAX_MS, name);
  } catch (error) {
    if (!isMillraceError(error, 'MONGODB_UNREACHABLE')) throw error;
    return inTime(ask(), Math.max(0, ms - FIRST_TRY_MAX_MS), name);
  }
}
