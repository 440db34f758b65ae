import type { ObserverOptions } from './observer.ts';
import { invalid } from './refuse.ts';

/** ObserverOptions with every default filled in. */
export interface ObserverRun {
  readonly ordered: boolean;
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly rateLimit: { readonly count: number; readonly perMs: number } | undefined;
  readonly breaker: { readonly failures: number; readonly pauseMs: number } | undefined;
  readonly replays: boolean;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** The last so many starts are remembered one by one. */
const RATE_MAX_COUNT = 10_000;

/** Fills in the defaults. Throws DEFINITION_INVALID. */
export function observerRun(options: ObserverOptions, place: string): ObserverRun {
  const { ordered = true, concurrency = 10, timeoutMs = 30_000, rateLimit, breaker = {}, replays = false } = options;
  checkFlag(ordered, 'ordered', place);
  checkFlag(replays, 'replays', place);
  checkWhole(concurrency, 'concurrency', 1, 10_000, place);
  checkWhole(timeoutMs, 'timeoutMs', 1, HOUR_MS, place);
  if (rateLimit !== undefined) {
    checkWhole(rateLimit?.count, 'rateLimit.count', 1, RATE_MAX_COUNT, place);
    checkWhole(rateLimit?.perMs, 'rateLimit.perMs', 1, DAY_MS, place);
  }
  return { ordered, concurrency, timeoutMs, rateLimit, breaker: breakerOf(breaker, place), replays };
}

function breakerOf(breaker: NonNullable<ObserverOptions['breaker']>, place: string): ObserverRun['breaker'] {
  if (breaker === false) return undefined;
  if (typeof breaker !== 'object' || breaker === null) throw invalid(place, '`breaker` must be an object or false.');
  const { failures = 10, pauseMs = 30_000 } = breaker;
  checkWhole(failures, 'breaker.failures', 1, 1_000_000, place);
  checkWhole(pauseMs, 'breaker.pauseMs', 1, DAY_MS, place);
  return { failures, pauseMs };
}

function checkFlag(value: unknown, name: string, place: string): void {
  if (typeof value !== 'boolean') throw invalid(place, `\`${name}\` must be true or false.`);
}

function checkWhole(value: unknown, name: string, min: number, max: number, place: string): void {
  if (Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max) return;
  throw invalid(place, `\`${name}\` must be a whole number from ${min} to ${max.toLocaleString('en')}.`);
}
