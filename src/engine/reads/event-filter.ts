import type { Model } from '../../define/model.ts';
import { DEFAULT_TENANT, idProblem, parseStreamKey, streamKey } from '../../define/stream-key.ts';
import { MillraceError } from '../../errors.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { EventPages, LogPart } from '../../store/event-pages.ts';
import type { EventFilterInput } from '../contract/runtime.ts';

/** Checked and complete: `undefined` means "not asked for". Every condition holds at once. */
export interface EventFilter {
  readonly types: ReadonlySet<string> | undefined;
  readonly aggregate: string | undefined;
  readonly aggregateId: string | undefined;
  readonly correlationId: string | undefined;
  readonly actor: string | undefined;
  /** Inclusive. */
  readonly since: Date | undefined;
  /** Exclusive, so that ranges of time can be put side by side. */
  readonly until: Date | undefined;
}

export const TYPES_MAX_COUNT = 100;

/** Checks that every value is of its type. Throws BAD_INPUT. */
export function checkEventFilter(input: EventFilterInput): EventFilter {
  const types = input.types ?? undefined;
  if (types !== undefined && (!Array.isArray(types) || types.length > TYPES_MAX_COUNT)) {
    throw new MillraceError('BAD_INPUT', `\`types\` must be a list of at most ${TYPES_MAX_COUNT} event types.`);
  }
  return {
    types: types === undefined ? undefined : new Set(types.map((type) => checkText('types', type))),
    aggregate: optional('aggregate', input.aggregate),
    aggregateId: optional('aggregateId', input.aggregateId),
    correlationId: optional('correlationId', input.correlationId),
    actor: optional('actor', input.actor),
    since: checkTime('since', input.since),
    until: checkTime('until', input.until),
  };
}

const optional = (name: string, value: unknown): string | undefined =>
  value == null ? undefined : checkText(name, value);

function checkText(name: string, value: unknown): string {
  const problem = idProblem(value);
  if (problem === undefined && typeof value === 'string') return value;
  throw new MillraceError('BAD_INPUT', `Filter \`${name}\`: a value ${problem}.`, { details: { field: name } });
}

function checkTime(name: string, value: unknown): Date | undefined {
  if (value == null) return undefined;
  if (value instanceof Date && !Number.isNaN(value.getTime())) return value;
  throw new MillraceError('BAD_INPUT', `Filter \`${name}\` must be a valid time.`, { details: { field: name } });
}

/**
 * The index that serves a page with this filter: by types (`aggregate` alone means all its types), by one stream, by
 * correlation, by actor, or by position; `since` and `until` go with each. Throws INDEX_MISSING naming the index that another
 * combination would need, and UNKNOWN_AGGREGATE.
 */
export function planEvents(model: Model, filter: EventFilter): LogPart {
  const { types, aggregate, aggregateId, correlationId, actor } = filter;
  if (aggregateId !== undefined && aggregate === undefined) {
    throw missing('`aggregateId` without `aggregate`', '{ stream: 1, version: 1 }');
  }
  if (aggregateId !== undefined && types !== undefined) {
    throw missing('`types` within one stream', '{ stream: 1, type: 1, version: 1 }');
  }
  if (correlationId !== undefined && aggregateId !== undefined) {
    throw missing('`correlationId` within one stream', '{ stream: 1, meta.correlationId: 1, version: 1 }');
  }
  if (correlationId !== undefined && (types !== undefined || aggregate !== undefined)) {
    throw missing('`correlationId` with types', '{ meta.correlationId: 1, type: 1, _id: 1 }');
  }
  if (actor !== undefined && correlationId !== undefined) {
    throw missing('`actor` with `correlationId`', '{ meta.correlationId: 1, meta.actor: 1, _id: 1 }');
  }
  if (actor !== undefined && aggregateId !== undefined) {
    throw missing('`actor` within one stream', '{ stream: 1, meta.actor: 1, version: 1 }');
  }
  if (actor !== undefined && (types !== undefined || aggregate !== undefined)) {
    throw missing('`actor` with types', '{ meta.actor: 1, type: 1, _id: 1 }');
  }
  return selectivePart(model, filter);
}

/** The smallest part of the log that an index gives and that holds every match; the rest is for `matchesEvent`. */
export function selectivePart(model: Model, filter: EventFilter): LogPart {
  const { types, aggregate, aggregateId, correlationId, actor } = filter;
  if (aggregate !== undefined && aggregateId !== undefined) {
    return { by: 'stream', stream: streamKey({ tenant: DEFAULT_TENANT, aggregate, id: aggregateId }) };
  }
  if (correlationId !== undefined) return { by: 'correlation', correlationId };
  if (actor !== undefined) return { by: 'actor', actor };
  if (aggregate === undefined) return types === undefined ? { by: 'position' } : { by: 'type', types: [...types] };
  const known = model.aggregates.get(aggregate) ?? model.services.get(aggregate);
  if (known === undefined) {
    throw new MillraceError('UNKNOWN_AGGREGATE', `There is no aggregate or service "${aggregate.slice(0, 100)}".`);
  }
  // A type has one aggregate, so those of others would be walked for nothing. What only newer code knows may be its own.
  const mayBeOwn = (type: string): boolean => known.events.has(type) || !model.events.has(type);
  return {
    by: 'type',
    types: types === undefined ? [...known.events.keys()] : [...types].filter(mayBeOwn),
    streamPrefix: prefixOf(aggregate),
  };
}

const prefixOf = (aggregate: string): string => streamKey({ tenant: DEFAULT_TENANT, aggregate, id: '' });

/**
 * All events of an aggregate are found by their types. Newer code may have stored types that this process does not know;
 * they are asked for too, so that the reader meets UNKNOWN_EVENT instead of a hole. Good up to `end`.
 */
export async function completePart(
  model: Model,
  pages: EventPages,
  filter: EventFilter,
  part: LogPart,
): Promise<{ readonly part: LogPart; readonly end: number }> {
  if (part.by !== 'type' || part.streamPrefix === undefined || filter.types !== undefined) {
    return { part, end: Number.POSITIVE_INFINITY };
  }
  const stored = await pages.types();
  const unknown = stored.types.filter((type) => !model.events.has(type));
  return { part: { ...part, types: [...part.types, ...unknown] }, end: stored.end };
}

export function matchesEvent(filter: EventFilter, event: LogDocument): boolean {
  const { types, aggregate, aggregateId, correlationId, actor, since, until } = filter;
  if (types !== undefined && !types.has(event.type)) return false;
  if (correlationId !== undefined && event.meta.correlationId !== correlationId) return false;
  if (actor !== undefined && event.meta.actor !== actor) return false;
  if (since !== undefined && event.at < since) return false;
  if (until !== undefined && event.at >= until) return false;
  if (aggregate !== undefined && !event.stream.startsWith(prefixOf(aggregate))) return false;
  return aggregateId === undefined || parseStreamKey(event.stream).id === aggregateId;
}

const missing = (what: string, index: string): MillraceError =>
  new MillraceError(
    'INDEX_MISSING',
    `No index of the log serves ${what}: it would need ${index}. Ask with one of them.`,
    {
      details: { index },
    },
  );
