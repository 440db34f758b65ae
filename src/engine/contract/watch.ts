import type { AnyRecorded } from '../../define/event.ts';
import type { EventFilterInput, FilterInput, ViewRecord } from './runtime.ts';

export type Signal = 'SNAPSHOT' | 'UPDATE' | 'REMOVED' | 'CAUGHT_UP' | 'GAP';
/** Why a subscription could not go on where its cursor was: what the client has from before may be wrong. */
export type GapReason =
  | 'OTHER_LOG'
  | 'OTHER_VIEW'
  | 'OTHER_DOCUMENT'
  | 'OTHER_FILTER'
  /** Of another build of the view, also when it was replaced while the subscription was open. */
  | 'GENERATION'
  /** The snapshot was cut off before its CAUGHT_UP. */
  | 'INCOMPLETE'
  /** Removals are remembered for a day. */
  | 'TOO_OLD'
  /** It holds more than is stored: an older state of the database was restored. */
  | 'AHEAD';
/** One message of a view subscription. Versions of a document only rise; steps in between may be merged. */
export interface ViewChange {
  readonly signal: Signal;
  /** Opaque: log id, view, generation, document or filter, and the vector of partition revisions. Good on every node. */
  readonly cursor: string;
  /** Set when `signal` is GAP. */
  readonly gap: GapReason | null;
  readonly id: string | null;
  readonly node: ViewRecord | null;
  /** Ids of the commands merged into this change, oldest first, capped. */
  readonly origins: readonly string[];
}
export interface EventDelivery {
  readonly signal: Signal;
  readonly cursor: string;
  readonly event: AnyRecorded | null;
}

/** Subscriptions to views and to the log. */
export interface WatchReads {
  /**
   * Snapshot first, then changes, with no gap between the two. After a cursor of the same document: what changed since, if
   * anything did, CAUGHT_UP, then changes; a cursor that does not fit gets GAP with the reason, a snapshot and CAUGHT_UP.
   * Ends when the signal aborts. Throws BAD_CURSOR for what is no cursor of a view.
   */
  watchDocument(view: string, id: string, after: string | undefined, signal: AbortSignal): AsyncIterable<ViewChange>;
  /**
   * A SNAPSHOT a document, CAUGHT_UP, then UPDATE and REMOVED (removed, or no longer matching). After a cursor with the same
   * filter: UPDATE and REMOVED for what was missed (REMOVED may name a document that the client never had), CAUGHT_UP, and
   * so on; a cursor that does not fit gets GAP with the reason first.
   */
  watchDocuments(
    view: string,
    filter: FilterInput | undefined,
    after: string | undefined,
    signal: AbortSignal,
  ): AsyncIterable<ViewChange>;
  /**
   * From `after` (exclusive) or from now; every event once, in order of position; CAUGHT_UP when it reaches the end. A log
   * has no snapshot to begin with, so there is no GAP: a cursor of another log, or beyond the end, is BAD_CURSOR.
   */
  watchEvents(filter: EventFilterInput, after: string | undefined, signal: AbortSignal): AsyncIterable<EventDelivery>;
}
