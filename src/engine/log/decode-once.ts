import type { AnyRecorded } from '../../define/event.ts';
import { type Model, recorded } from '../../define/model.ts';
import type { LogDocument } from '../../store/documents.ts';

export type Decoded =
  | { readonly ok: true; readonly event: AnyRecorded }
  /** UNKNOWN_EVENT or EVENT_INVALID, or what an upcast threw. */
  | { readonly ok: false; readonly error: unknown };

/** Decodes each event once a process, whoever asks first; forgotten together with the document. */
export type DecodeOnce = (document: LogDocument) => Decoded;

export function decodeOnce(model: Model): DecodeOnce {
  const known = new WeakMap<LogDocument, Decoded>();
  return (document) => {
    const before = known.get(document);
    if (before !== undefined) return before;
    const decoded = decode(model, document);
    known.set(document, decoded);
    return decoded;
  };
}

function decode(model: Model, document: LogDocument): Decoded {
  const { _id: position, id, type, schemaVersion, data, stream, version, commandId, at, meta } = document;
  try {
    const stored = { id, type, schemaVersion, data, position, stream, version, commandId, at, meta };
    return { ok: true, event: recorded(model, stored) };
  } catch (error) {
    return { ok: false, error };
  }
}
