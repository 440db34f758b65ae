import { MillraceError } from '../errors.ts';
import type { Documents } from './custom-projector.ts';
import type { AnyRecorded } from './event.ts';
import { checkDocument, type DocumentFields } from './project.ts';
import type { Projector } from './projector.ts';
import { DOCUMENT_ID_MAX_LENGTH, idProblem } from './stream-key.ts';

/** A handler asked for a document that is not at hand: read it, and run the handler again. */
export class DocumentMissing extends Error {
  override readonly name = 'DocumentMissing';
  readonly id: string;
  constructor(id: string) {
    super(`The document "${id}" is not at hand.`);
    this.id = id;
  }
}

/** The document with this id; null when there is none; undefined: it is not at hand. */
export type ReadDocument = (id: string) => DocumentFields | null | undefined;

/**
 * What a custom projector makes of an event, by document id; null removes. Nothing is written anywhere: what the handler threw leaves
 * no trace. Throws DocumentMissing, VIEW_DOCUMENT_INVALID, and what the handler throws.
 */
export function writeDocuments(
  projector: Projector,
  event: AnyRecorded,
  read: ReadDocument,
): ReadonlyMap<string, DocumentFields | null> {
  const written = new Map<string, DocumentFields | null>();
  let missing: DocumentMissing | undefined;
  let isOver = false;
  const get = (id: string): DocumentFields | null => {
    if (isOver) throw invalid(projector, event, 'used `documents` after its handler had returned');
    const problem = idProblem(id, DOCUMENT_ID_MAX_LENGTH);
    if (problem !== undefined) throw invalid(projector, event, `names a document whose id ${problem}`);
    const known = written.get(id) ?? (written.has(id) ? null : read(id));
    if (known !== undefined) return known;
    missing = new DocumentMissing(id);
    throw missing;
  };
  const set = (id: string, document: unknown): void => {
    // What is written must be known: its version goes on.
    const before = get(id);
    if (document === undefined) throw invalid(projector, event, `put undefined under "${id}"`);
    if (document !== null) written.set(id, checkDocument(projector, event, id, document));
    else if (before !== null) written.set(id, null);
  };
  const documents: Documents<unknown> = {
    get: (id) => get(id) ?? undefined,
    put: (id, document) => set(id, document ?? undefined),
    update(id, change) {
      const next = change(get(id) ?? undefined);
      if (next !== undefined) set(id, next);
    },
    remove: (id) => set(id, null),
  };
  try {
    const returned = projector.write?.(event, documents);
    if (isPromise(returned)) {
      returned.then(undefined, () => undefined);
      throw invalid(
        projector,
        event,
        'has an asynchronous handler. Handlers are synchronous: what they ask for is read for them',
      );
    }
  } catch (error) {
    throw missing ?? error;
  } finally {
    isOver = true;
  }
  // A handler that caught it knows nothing of that document.
  if (missing !== undefined) throw missing;
  for (const [id, document] of written) if (document === null && read(id) === null) written.delete(id);
  return written;
}

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';

const invalid = ({ name }: Projector, event: AnyRecorded, what: string): MillraceError =>
  new MillraceError(
    'VIEW_DOCUMENT_INVALID',
    `projector "${name}", event "${event.type}" at position ${event.position}: it ${what}.`,
  );
