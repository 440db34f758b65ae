import { MillraceError } from '../errors.ts';
import type { ConsumerModel } from './consumer-model.ts';
import type { AnyRecorded } from './event.ts';
import { freezeJson } from './frozen.ts';
import type { Projector } from './projector.ts';
import { describeIssues, parse } from './schema.ts';
import { DOCUMENT_ID_MAX_LENGTH, idProblem } from './stream-key.ts';

export type DocumentFields = Readonly<Record<string, unknown>>;

/**
 * Keys (ids of documents, of saga instances, of what an observer keeps in order) that `event` concerns, each once; none when
 * the consumer has no handler for it. Throws VIEW_DOCUMENT_INVALID when `key` answers with anything but ids; what `key`
 * throws passes.
 */
export function consumerKeys(consumer: ConsumerModel, event: AnyRecorded): readonly string[] {
  if (!consumer.handles.has(event.type)) return [];
  const keys = consumer.keysOf(event);
  for (const key of keys) {
    const problem = idProblem(key, DOCUMENT_ID_MAX_LENGTH);
    if (problem !== undefined) throw documentError(consumer, event, `\`key\` names an id that ${problem}`);
  }
  return keys;
}

/**
 * One step of a projector: the checked document after the event, `null` when it is to be removed, `undefined` when it
 * stays as it is. Throws VIEW_DOCUMENT_INVALID when the handler's document does not fit the view; what the handler
 * throws passes.
 */
export function projectDocument(
  projector: Projector,
  doc: unknown,
  event: AnyRecorded,
  key: string,
): DocumentFields | null | undefined {
  const next = projector.project(doc, event, key);
  if (next === null || next === undefined) return next;
  return checkDocument(projector, event, key, next);
}

/** The document as the view's schema puts it out, frozen. Throws VIEW_DOCUMENT_INVALID. */
export function checkDocument(projector: Projector, event: AnyRecorded, key: string, next: unknown): DocumentFields {
  const parsed = parse(projector.into.schema, next);
  if (!parsed.ok) {
    throw documentError(
      projector,
      event,
      `the document "${key}" does not fit view "${projector.into.name}": ${describeIssues(parsed.issues)}`,
    );
  }
  const document: unknown = parsed.value;
  if (!isDocument(document)) throw documentError(projector, event, `the document "${key}" is no object`);
  if ('id' in document && document.id !== key) {
    throw documentError(
      projector,
      event,
      `the document "${key}" has the id "${String(document.id)}". Its field \`id\` must be its key.`,
    );
  }
  return freezeJson(document);
}

const isDocument = (value: unknown): value is DocumentFields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function documentError(consumer: ConsumerModel | Projector, event: AnyRecorded, what: string): MillraceError {
  return new MillraceError(
    'VIEW_DOCUMENT_INVALID',
    `${consumer.kind} "${consumer.name}", event "${event.type}" at position ${event.position}: ${what}`,
  );
}
