import { invalid } from './refuse.ts';

/**
 * Where a new consumer begins in the log: at its `start`, at its end (`now`), after a position, or at the first event not older than a
 * time. Applied once, when the consumer's generation is created.
 */
export type StartFrom = 'start' | 'now' | { readonly position: number } | { readonly time: Date };

/** Throws DEFINITION_INVALID. */
export function checkStartFrom(startFrom: StartFrom, place: string): void {
  if (startFrom === 'start' || startFrom === 'now') return;
  if (typeof startFrom === 'object' && startFrom !== null) {
    if ('position' in startFrom && Number.isSafeInteger(startFrom.position) && startFrom.position >= 0) return;
    if ('time' in startFrom && startFrom.time instanceof Date && !Number.isNaN(startFrom.time.getTime())) return;
  }
  throw invalid(place, "`startFrom` must be 'start', 'now', { position: a whole number from 0 } or { time: a Date }.");
}
