import type { AnyRecorded } from '../define/event.ts';
import { type Model, recorded } from '../define/model.ts';
import type { LogDocument } from '../store/documents.ts';

/** Turns log documents into events of today's version; each document once, however many readers share it. */
export type EventDecoder = (document: LogDocument) => AnyRecorded;

/**
 * Throws UNKNOWN_EVENT (retryable: a process with newer code knows it) or EVENT_INVALID. A reader meets the error at the
 * event; it is never skipped.
 */
export function createEventDecoder(model: Model): EventDecoder {
  const decoded = new WeakMap<LogDocument, AnyRecorded>();
  return (document) => {
    const known = decoded.get(document);
    if (known !== undefined) return known;
    const event = recorded(model, { ...document, position: document._id });
    decoded.set(document, event);
    return event;
  };
}
