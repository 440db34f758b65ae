import { MillraceError } from '../errors.ts';
import type { AnyAggregate, DecideContext, Rejection } from './aggregate.ts';
import { aggregateModel } from './aggregate-model.ts';
import type { AnyRecorded, EventMeta } from './event.ts';
import type { Module, Part } from './module.ts';
import type { Projector } from './projector.ts';
import type { AnyQuery } from './query.ts';
import { checkList, checkName, checkVersion, invalid } from './refuse.ts';
import type { Schema } from './schema.ts';
import { parseStreamKey } from './stream-key.ts';
import type { View } from './view.ts';
import { checkQuery, checkView } from './view-rules.ts';

/** An event of today's version, as decided or decoded. */
export interface PlainEvent {
  readonly type: string;
  readonly data: unknown;
}
/** An event as stored, of any version that ever was. */
export interface StoredEvent extends PlainEvent {
  readonly id: string;
  readonly schemaVersion: number;
}

/** An aggregate made ready to run. */
export interface AggregateModel {
  readonly name: string;
  readonly definition: AnyAggregate;
  readonly commands: ReadonlyMap<string, CommandModel>;
  readonly events: ReadonlyMap<string, EventModel>;
  readonly initial: () => unknown;
  readonly apply: (state: unknown, event: PlainEvent) => unknown;
  readonly handle: (
    state: unknown,
    command: PlainEvent,
    ctx: DecideContext<string>,
  ) => PlainEvent | readonly PlainEvent[] | Rejection;
  /** True when commands may start an instance only by those of `creates`. */
  readonly guarded: boolean;
  /** Codes that `decide` may refuse with. */
  readonly rejections: ReadonlySet<string>;
}
export interface CommandModel {
  readonly type: string;
  readonly schema: Schema;
  readonly creates: boolean;
  /** Top-level fields of the input that must not be stored. */
  readonly unstored: readonly string[];
}
export interface EventModel {
  readonly type: string;
  readonly aggregate: string;
  readonly schema: Schema;
  readonly version: number;
  readonly closes: boolean;
  /** Data of today's version. Throws UNKNOWN_EVENT for a later version, EVENT_INVALID when it does not parse. */
  readonly decode: (schemaVersion: number, data: unknown) => unknown;
}
/** A projector, saga or observer as delivery sees it. */
export interface ConsumerModel {
  readonly name: string;
  readonly version: number;
  /** Names one build of the consumer's effects; today it equals `version`. */
  readonly generation: number;
  readonly kind: 'projector';
  readonly projector: Projector;
  readonly handles: ReadonlySet<string>;
}
/** What modules declare, checked and indexed by name. Plain objects are never keyed by outside strings: these are Maps. */
export interface Model {
  readonly modules: readonly Module[];
  readonly aggregates: ReadonlyMap<string, AggregateModel>;
  /** By event type; a type belongs to one aggregate. */
  readonly events: ReadonlyMap<string, EventModel>;
  readonly views: ReadonlyMap<string, View>;
  readonly queries: ReadonlyMap<string, AnyQuery>;
  readonly consumers: readonly ConsumerModel[];
  /** The projector that keeps a view, by view name. */
  readonly projectorOf: ReadonlyMap<string, ConsumerModel>;
}

/** Default number of partitions of a consumer generation; fixed for it when it is created. */
export const PARTITION_COUNT = 16;

/**
 * Checks modules and makes them ready. Throws DEFINITION_INVALID, NAME_TAKEN or SCHEMA_NOT_DERIVABLE naming the place, the
 * cause and the cure.
 */
export function buildModel(modules: readonly Module[]): Model {
  const aggregates = new Map<string, AggregateModel>();
  const events = new Map<string, EventModel>();
  const views = new Map<string, View>();
  const queries = new Map<string, AnyQuery>();
  const consumers = new Map<string, ConsumerModel>();
  const named = <T>(into: Map<string, T>, kind: string, name: string, place: string, value: T): void => {
    if (into.has(name)) {
      throw new MillraceError(
        'NAME_TAKEN',
        `${place}: there are two ${kind}s named "${name}". Rename one of them, or list it in one module only.`,
      );
    }
    into.set(name, value);
  };

  for (const { part, place: modulePlace } of partsOf(modules)) {
    checkName(part.kind, part.name, modulePlace);
    const place = `${modulePlace}, ${part.kind} "${part.name}"`;
    if (part.kind === 'aggregate') {
      const model = aggregateModel(part, place);
      named(aggregates, 'aggregate', part.name, modulePlace, model);
      for (const event of model.events.values()) named(events, 'event', event.type, place, event);
    } else if (part.kind === 'view') {
      checkView(part, place);
      named(views, 'view', part.name, modulePlace, part);
    } else if (part.kind === 'query') {
      checkQuery(part, place);
      named(queries, 'query', part.name, modulePlace, part);
    } else {
      named(consumers, 'projector', part.name, modulePlace, consumerModel(part, place));
    }
  }

  const projectorOf = new Map<string, ConsumerModel>();
  for (const consumer of consumers.values()) connect(consumer, aggregates, views, projectorOf);
  for (const name of views.keys()) {
    if (projectorOf.has(name)) continue;
    throw invalid(`View "${name}"`, 'has no projector. Add a projector with `into` this view, or remove the view.');
  }
  return { modules, aggregates, events, views, queries, consumers: [...consumers.values()], projectorOf };
}

const partKinds: ReadonlySet<unknown> = new Set(['aggregate', 'view', 'projector', 'query']);

function partsOf(modules: readonly Module[]): readonly { readonly part: Part; readonly place: string }[] {
  checkList(modules, 'modules', 'start');
  const names = new Set<string>();
  return modules.flatMap((module, moduleIndex) => {
    if (module?.kind !== 'module')
      throw invalid(`modules[${moduleIndex}]`, 'is no module. Make it with `module({ … })`.');
    checkName('module', module.name, `modules[${moduleIndex}]`);
    const place = `module "${module.name}"`;
    if (names.has(module.name)) {
      throw new MillraceError('NAME_TAKEN', `There are two modules named "${module.name}". Rename one of them.`);
    }
    names.add(module.name);
    checkList(module.parts, 'parts', place);
    module.parts.forEach((part, index) => {
      if (partKinds.has(part?.kind)) return;
      throw invalid(
        place,
        part === undefined
          ? `parts[${index}] is undefined. Its file is probably part of an import circle: import it from where it is declared.`
          : `parts[${index}] is no part. Make it with aggregate(), view(), projector() or query().`,
      );
    });
    return module.parts.map((part) => ({ part, place }));
  });
}

/** Checks what a projector reads and writes, and enters it as the keeper of its view. */
function connect(
  consumer: ConsumerModel,
  aggregates: ReadonlyMap<string, AggregateModel>,
  views: ReadonlyMap<string, View>,
  projectorOf: Map<string, ConsumerModel>,
): void {
  const { projector } = consumer;
  const place = `Projector "${projector.name}"`;
  const offered = new Set<string>();
  for (const source of projector.from) {
    const aggregate = aggregates.get(source.name);
    if (aggregate === undefined) {
      throw invalid(place, `reads from aggregate "${source.name}", which is in no module. Add it to a module's parts.`);
    }
    for (const type of aggregate.events.keys()) offered.add(type);
  }
  for (const type of projector.handles) {
    if (offered.has(type)) continue;
    throw invalid(
      place,
      `has a handler for "${type}", which none of its sources has. Add the source to \`from\` or correct the name.`,
    );
  }
  const view = views.get(projector.into.name);
  if (view === undefined) {
    throw invalid(
      place,
      `writes view "${projector.into.name}", which is in no module. Add the view to a module's parts.`,
    );
  }
  if (view !== projector.into) {
    throw invalid(place, `writes another view "${view.name}" than the one in the module. Use the same value in both.`);
  }
  const other = projectorOf.get(view.name);
  if (other !== undefined) {
    throw new MillraceError(
      'NAME_TAKEN',
      `View "${view.name}" has two projectors, "${other.name}" and "${projector.name}". One view has one projector.`,
    );
  }
  projectorOf.set(view.name, consumer);
}

/** Checks one projector and makes it ready to run. */
export function consumerModel(projector: Projector, place: string): ConsumerModel {
  checkVersion(projector.version, place);
  checkList(projector.from, 'from', place);
  for (const source of projector.from) {
    if (source?.kind !== 'aggregate') throw invalid(place, '`from` holds something that is no aggregate.');
  }
  if (projector.into?.kind !== 'view') throw invalid(place, '`into` is no view. Make it with `view(…)`.');
  if (projector.handles.length === 0) {
    throw invalid(place, 'handles no event. Add at least one handler to `on`, or remove the projector.');
  }
  return {
    name: projector.name,
    version: projector.version,
    generation: projector.version,
    kind: 'projector',
    projector,
    handles: new Set(projector.handles),
  };
}

/** The model of a stored event's type. Throws UNKNOWN_EVENT (retryable: a newer process may know it). */
export function eventModelOf(model: Model, type: string): EventModel {
  const found = model.events.get(type);
  if (found !== undefined) return found;
  throw new MillraceError(
    'UNKNOWN_EVENT',
    `Event "${type}" is in the log, but no module of this process declares it. Deploy the code that does; never remove an event that was stored.`,
  );
}

/** A log document turned into what handlers receive. */
export function recorded(
  model: Model,
  stored: StoredEvent & {
    readonly position: number;
    readonly stream: string;
    readonly version: number;
    readonly commandId: string;
    readonly at: Date;
    readonly meta: EventMeta;
  },
): AnyRecorded {
  const event = eventModelOf(model, stored.type);
  const { tenant, aggregate, id } = parseStreamKey(stored.stream);
  return {
    id: stored.id,
    type: stored.type,
    data: event.decode(stored.schemaVersion, stored.data),
    schemaVersion: event.version,
    stream: { tenant, aggregate, id, version: stored.version },
    position: stored.position,
    commandId: stored.commandId,
    at: stored.at,
    meta: stored.meta,
  };
}
