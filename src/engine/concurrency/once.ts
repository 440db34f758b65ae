import { MillraceError } from '../../errors.ts';
import type { JournalStore } from '../../store/observer-journal.ts';

/** Runs `fn` unless this key has a result already; answers that result. */
export type Once = <T>(key: string, fn: () => Promise<T> | T) => Promise<T>;

export const JOURNAL_TTL_MS = 30 * 86_400_000;
const RESULT_MAX_BYTES = 65_536;
const KEY_MAX_LENGTH = 200;

/**
 * `once` of one try. A later try with the same scope (an idempotency key) gets what the first gave, as JSON gives it back, without
 * running it. A process that dies between the effect and the record runs it again: at least once, with the same idempotency key.
 * Throws ONCE_RESULT_INVALID (not retryable: the effect has happened) for what is no JSON or longer than 64 KiB.
 */
export function onceOf(journal: JournalStore, scope: string, ttlMs: number = JOURNAL_TTL_MS): Once {
  const underWay = new Map<string, Promise<unknown>>();
  const run = async <T>(key: string, fn: () => Promise<T> | T): Promise<T> => {
    const id = `${scope}/${key}`;
    const known = await journal.find(id);
    if (known !== undefined) return resultOf<T>(known);
    const json = jsonOf(key, await fn());
    return resultOf<T>(await journal.record(id, json, ttlMs));
  };
  return <T>(key: string, fn: () => Promise<T> | T): Promise<T> => {
    if (typeof key !== 'string' || key === '' || key.length > KEY_MAX_LENGTH) {
      const problem = `once() was called with a key that is no text of 1 to ${KEY_MAX_LENGTH} characters. Name the effect, e.g. "mail".`;
      return Promise.reject(new MillraceError('ONCE_RESULT_INVALID', problem));
    }
    const before = underWay.get(key) as Promise<T> | undefined;
    if (before !== undefined) return before;
    const result = run(key, fn);
    underWay.set(key, result);
    // What failed may be tried again in the same handler.
    result.catch(() => underWay.delete(key));
    return result;
  };
}

/** `undefined` is a result too: an effect without an answer. */
function resultOf<T>(json: string): T {
  return (json === '' ? undefined : JSON.parse(json)) as T;
}

function jsonOf(key: string, value: unknown): string {
  if (value === undefined) return '';
  let json: string | undefined;
  let cause: unknown;
  try {
    json = JSON.stringify(value);
  } catch (error) {
    cause = error;
  }
  if (json === undefined) {
    throw new MillraceError(
      'ONCE_RESULT_INVALID',
      `The result of once("${key}") is no JSON. Return plain data or nothing.`,
      {
        cause,
      },
    );
  }
  const bytes = Buffer.byteLength(json);
  if (bytes <= RESULT_MAX_BYTES) return json;
  throw new MillraceError(
    'ONCE_RESULT_INVALID',
    `The result of once("${key}") has ${bytes} bytes; at most ${RESULT_MAX_BYTES} are kept. Return only what a later try needs.`,
  );
}
