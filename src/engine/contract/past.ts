import type { AnyRecorded } from '../../define/event.ts';
import type { Page } from './runtime.ts';

/** Which past of a document is meant; exactly one. */
export type AsOf =
  /** After this event of the log and all before it; 0 is before everything. */
  | { readonly position: number }
  /** After its events up to this time (inclusive); the first later one ends them. */
  | { readonly time: Date }
  /** The version that reads and subscriptions showed. */
  | { readonly version: number };

/** A document as it was. */
export interface PastRecord {
  readonly id: string;
  /** Null where it cannot be told without a look at all that came later (after a removal or a reset of the view). */
  readonly version: number | null;
  readonly document: Readonly<Record<string, unknown>>;
  /** Of the last event in it. */
  readonly position: number;
}

/** A top-level field that a step changed; undefined: it was, or is, not there. */
export interface FieldChange {
  readonly field: string;
  readonly before: unknown;
  readonly after: unknown;
}
/** One event that changed a document. */
export interface HistoryStep {
  /** After the event; null when it removed the document. */
  readonly document: Readonly<Record<string, unknown>> | null;
  /** Empty when the projector wrote the same again. */
  readonly changes: readonly FieldChange[];
  /** As in ViewRecord; null where it is not known any more: the view was reset, or a removal is forgotten. */
  readonly version: number | null;
  readonly event: AnyRecorded;
}
export interface HistoryInput {
  /** Default 50, at most 1,000. */
  readonly first?: number | null | undefined;
  readonly after?: string | null | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The past of view documents, folded from the log by today's code: handlers, `key`, upcasters. What the view leaves out is left out
 * too: events before `startFrom` or the last reset, and those that an operator skipped. Not what older code made of them.
 *
 * Cost: all events that may concern the document are read from its first one on, by an index: of a projector without `key` those
 * of the streams with the document's id, of one with `key` all of the types that it handles. At most HISTORY_MAX_EVENTS a question.
 *
 * Both throw UNKNOWN_VIEW, BAD_INPUT, HISTORY_TOO_LONG, UNKNOWN_EVENT or EVENT_INVALID (as `events` does), and VIEW_BEHIND with
 * reason PARKED at an event that the projector fails at.
 */
export interface PastReads {
  /**
   * Undefined when there was no such document. BAD_INPUT for what has not come yet: a position beyond the log's end, a time in the
   * future, a version above the current one. An answer about a position never changes (until the code, a skip or a reset does);
   * one about the last few seconds may, since events get their time before their place.
   */
  documentAsOf(
    view: string,
    id: string,
    asOf: AsOf,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<PastRecord | undefined>;
  /** What changed a document, oldest first. Every page folds from the document's first event on. Throws BAD_CURSOR. */
  documentHistory(view: string, id: string, page?: HistoryInput): Promise<Page<HistoryStep>>;
}
