import { TOMBSTONE_TTL_S } from '../../store/view-indexes.ts';
import type { GapReason } from '../contract/runtime.ts';
import type { ViewCursor } from '../views/cursor.ts';

/** Older than this, a cursor may be behind a removal that is forgotten. An hour is left for clocks and slow feeds. */
export const CURSOR_MAX_AGE_S = TOMBSTONE_TTL_S - 3_600;

/** What a cursor has to be of, so that a subscription can go on from it. */
export interface WatchedPlace extends Omit<ViewCursor, 'revisions' | 'issuedAtS'> {}

/** Why a cursor cannot be gone on from, as far as it says so itself. */
export function misfit(cursor: ViewCursor, here: WatchedPlace): GapReason | undefined {
  if (cursor.logId !== here.logId) return 'OTHER_LOG';
  if (cursor.view !== here.view) return 'OTHER_VIEW';
  if (cursor.generation !== here.generation || cursor.builtAtMs !== here.builtAtMs) return 'GENERATION';
  if (cursor.scope !== here.scope) return here.scope.startsWith('d') ? 'OTHER_DOCUMENT' : 'OTHER_FILTER';
  // It was cut off in its snapshot: what was removed since then it would keep for ever.
  return cursor.revisions.length === 0 ? 'INCOMPLETE' : undefined;
}

/** Numbers of the partitions whose changes the cursor does not hold. */
export function movedSince(cursor: readonly number[], stored: readonly number[]): readonly number[] {
  return [...stored.keys()].filter((partition) => (stored[partition] ?? 0) > (cursor[partition] ?? 0));
}

/** The cursor says more than is stored: another gateway was quicker, or an older state of the database was restored. */
export const isAhead = (cursor: readonly number[], stored: readonly number[]): boolean => !holds(stored, cursor);

/** Removals are kept for a day. Where nothing has changed, nothing was removed, and the age does not matter. */
export const isTooOld = (cursor: ViewCursor, stored: readonly number[], nowS: number): boolean =>
  nowS - cursor.issuedAtS > CURSOR_MAX_AGE_S && movedSince(cursor.revisions, stored).length > 0;

/** Whether the first has come as far as the second, in every partition. */
export const holds = (revisions: readonly number[], wanted: readonly number[]): boolean =>
  wanted.every((revision, partition) => (revisions[partition] ?? 0) >= revision);
