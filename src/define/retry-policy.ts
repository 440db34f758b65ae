import { isMillraceError, NonRetryableError, RetryAfterError } from '../errors.ts';
import { invalid } from './refuse.ts';

/** How often and how soon a handler that failed is tried again; what an author writes. */
export interface RetryOptions {
  /** Tries in all, the first included; default 5. `'forever'` never gives up. */
  readonly attempts?: number | 'forever';
  readonly backoff?: {
    /** Default `exponential`: the delay doubles with each try. */
    readonly type?: 'exponential' | 'fixed';
    /** Delay after the first failure; default 1,000. */
    readonly delayMs?: number;
    /** Default 30,000. */
    readonly maxDelayMs?: number;
    /** Share of the delay that is random, 0 to 1; default 0.2. */
    readonly jitter?: number;
  };
  /** False: this error will not go away, do not try again. */
  readonly retryable?: (error: unknown) => boolean;
}

/** RetryOptions with every default filled in. */
export interface RetryPolicy {
  /** `Infinity` for `'forever'`. */
  readonly attempts: number;
  readonly type: 'exponential' | 'fixed';
  readonly delayMs: number;
  readonly maxDelayMs: number;
  readonly jitter: number;
  readonly retryable: (error: unknown) => boolean;
}

const DAY_MS = 86_400_000;

/** Fills in the defaults. Throws DEFINITION_INVALID. */
export function retryPolicy(options: RetryOptions, place: string): RetryPolicy {
  const { attempts = 5, backoff = {}, retryable = () => true } = options;
  const { type = 'exponential', delayMs = 1_000, maxDelayMs = Math.max(30_000, delayMs), jitter = 0.2 } = backoff;
  const count = attempts === 'forever' ? Number.POSITIVE_INFINITY : attempts;
  if (count !== Number.POSITIVE_INFINITY && (!Number.isSafeInteger(count) || count < 1 || count > 1_000_000)) {
    throw invalid(place, "`attempts` must be a whole number from 1 to 1,000,000 or 'forever'.");
  }
  if (type !== 'exponential' && type !== 'fixed') throw invalid(place, '`backoff.type` must be exponential or fixed.');
  for (const [name, ms] of Object.entries({ delayMs, maxDelayMs })) {
    if (!Number.isFinite(ms) || ms < 0 || ms > DAY_MS) {
      throw invalid(place, `\`backoff.${name}\` must be a number of milliseconds from 0 to ${DAY_MS} (a day).`);
    }
  }
  if (!(jitter >= 0 && jitter <= 1)) throw invalid(place, '`backoff.jitter` must be a number from 0 to 1.');
  if (typeof retryable !== 'function') throw invalid(place, '`retryable` must be a function of the error.');
  return { attempts: count, type, delayMs, maxDelayMs, jitter, retryable };
}

/** How long to wait after the nth failed try (from 1). */
export function retryDelayMs(policy: RetryPolicy, failedCount: number, random: () => number = Math.random): number {
  const factor = policy.type === 'fixed' ? 1 : 2 ** Math.min(Math.max(0, failedCount - 1), 30);
  const delayMs = Math.min(policy.maxDelayMs, policy.delayMs * factor);
  return Math.round(delayMs * (1 - policy.jitter * random()));
}

/** The same, but not before the outside world asked for (`RetryAfterError`), within a day. */
export function delayAfterMs(policy: RetryPolicy, failedCount: number, error: unknown, random?: () => number): number {
  const delayMs = retryDelayMs(policy, failedCount, random);
  const askedMs = error instanceof RetryAfterError ? error.retryAfterMs : 0;
  return Number.isFinite(askedMs) ? Math.max(delayMs, Math.min(DAY_MS, Math.ceil(askedMs))) : delayMs;
}

/** Found by the platform in what a handler was given or answers: it will be the same next time. */
const LASTING: ReadonlySet<string> = new Set([
  'EVENT_INVALID',
  'ONCE_RESULT_INVALID',
  'SAGA_REACTION_INVALID',
  'SAGA_COMMAND_INVALID',
  'CHAIN_TOO_LONG',
]);

/** Whether another try can help at all, whatever the number of tries. A predicate that throws says yes. */
export function mayRetry(policy: RetryPolicy, error: unknown): boolean {
  if (error instanceof NonRetryableError || (isMillraceError(error) && LASTING.has(error.code))) return false;
  try {
    return policy.retryable(error) !== false;
  } catch {
    return true;
  }
}
