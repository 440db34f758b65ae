import type { AnyRecorded } from '../../define/event.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { DecodeOnce } from './decode-once.ts';

/**
 * A log document as an event of today's version. Throws UNKNOWN_EVENT (retryable: a process with newer code knows it) or
 * EVENT_INVALID: a reader meets the error at the event, which is never skipped.
 */
export type ToEvent = (document: LogDocument) => AnyRecorded;

export function decodeEvent(decode: DecodeOnce): ToEvent {
  return (document) => {
    const decoded = decode(document);
    if (decoded.ok) return decoded.event;
    throw decoded.error;
  };
}
