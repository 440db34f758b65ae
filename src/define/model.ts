import { MillraceError } from '../errors.ts';
import type { AnyAggregate, DecideContext, Rejection } from './aggregate.ts';
import type { AnyRecorded, EventDefinition, EventMeta, EventSource } from './event.ts';
import type { Module } from './module.ts';
import type { Projector } from './projector.ts';
import type { AnyQuery } from './query.ts';
import { describeIssues, parse, type Schema } from './schema.ts';
import { parseStreamKey } from './stream-key.ts';
import type { View } from './view.ts';

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

/** Checks modules and makes them ready. Throws DEFINITION_INVALID or NAME_TAKEN naming the place, the cause and the cure. */
export function buildModel(modules: readonly Module[]): Model {
  const aggregates = new Map<string, AggregateModel>();
  const events = new Map<string, EventModel>();
  const views = new Map<string, View>();
  const queries = new Map<string, AnyQuery>();
  const consumers = new Map<string, ConsumerModel>();
  const parts = modules.flatMap((module) => module.parts.map((part) => ({ part, place: `module "${module.name}"` })));
  const named = <T>(into: Map<string, T>, kind: string, name: string, place: string, value: T): void => {
    checkName(kind, name, place);
    if (into.has(name)) {
      throw new MillraceError('NAME_TAKEN', `${place}: there are two ${kind}s named "${name}". Rename one of them.`);
    }
    into.set(name, value);
  };

  const moduleNames = new Map<string, Module>();
  for (const module of modules) named(moduleNames, 'module', module.name, 'modules', module);
  for (const { part, place } of parts) {
    if (part.kind === 'aggregate') {
      const model = aggregateModel(part, `${place}, aggregate "${part.name}"`);
      named(aggregates, 'aggregate', part.name, place, model);
      for (const event of model.events.values())
        named(events, 'event', event.type, `${place}, aggregate "${part.name}"`, event);
    } else if (part.kind === 'view') named(views, 'view', part.name, place, part);
    else if (part.kind === 'query') named(queries, 'query', part.name, place, part);
    else named(consumers, 'projector', part.name, place, consumerModel(part, `${place}, projector "${part.name}"`));
  }

  const projectorOf = new Map<string, ConsumerModel>();
  for (const consumer of consumers.values()) checkSources(consumer, aggregates, views, projectorOf);
  for (const name of views.keys()) {
    if (projectorOf.has(name)) continue;
    throw new MillraceError(
      'DEFINITION_INVALID',
      `View "${name}" has no projector. Add a projector with \`into\` this view, or remove the view.`,
    );
  }
  return { modules, aggregates, events, views, queries, consumers: [...consumers.values()], projectorOf };
}

function checkName(kind: string, name: string, place: string): void {
  if (/^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(name)) return;
  throw new MillraceError(
    'DEFINITION_INVALID',
    `${place}: "${name}" is no name for a ${kind}. Use 1 to 64 letters, digits, "_" or "-", beginning with a letter.`,
  );
}

function checkSources(
  consumer: ConsumerModel,
  aggregates: ReadonlyMap<string, AggregateModel>,
  views: ReadonlyMap<string, View>,
  projectorOf: Map<string, ConsumerModel>,
): void {
  const { projector } = consumer;
  const place = `Projector "${projector.name}"`;
  for (const source of projector.from) {
    if (aggregates.has(source.name)) continue;
    throw new MillraceError(
      'DEFINITION_INVALID',
      `${place} reads from aggregate "${source.name}", which is in no module. Add it to a module's parts.`,
    );
  }
  const offered = new Set(projector.from.flatMap((source) => Object.keys(source.events)));
  for (const type of projector.handles) {
    if (offered.has(type)) continue;
    throw new MillraceError(
      'DEFINITION_INVALID',
      `${place} handles "${type}", which none of its sources declares. Add its aggregate to \`from\`.`,
    );
  }
  if (!views.has(projector.into.name)) {
    throw new MillraceError(
      'DEFINITION_INVALID',
      `${place} writes view "${projector.into.name}", which is in no module. Add the view to the module's parts.`,
    );
  }
  const other = projectorOf.get(projector.into.name);
  if (other !== undefined) {
    throw new MillraceError(
      'NAME_TAKEN',
      `View "${projector.into.name}" has two projectors, "${other.name}" and "${projector.name}". One view has one projector.`,
    );
  }
  projectorOf.set(projector.into.name, consumer);
}

function consumerModel(projector: Projector, place: string): ConsumerModel {
  if (projector.handles.length === 0) {
    throw new MillraceError(
      'DEFINITION_INVALID',
      `${place} handles no event. Add at least one handler to \`on\`, or remove the projector.`,
    );
  }
  if (!Number.isSafeInteger(projector.version) || projector.version < 1) {
    throw new MillraceError(
      'DEFINITION_INVALID',
      `${place}: version is ${projector.version}. Use a whole number from 1.`,
    );
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

function aggregateModel(definition: AnyAggregate, place: string): AggregateModel {
  const events = new Map<string, EventModel>();
  for (const [type, source] of Object.entries(definition.events)) {
    checkName('event', type, place);
    events.set(type, eventModel(definition.name, type, source, definition.closes.includes(type), place));
  }
  const commands = new Map<string, CommandModel>();
  for (const [type, schema] of Object.entries(definition.commands)) {
    checkName('command', type, place);
    const fields = Object.entries(definition.fields[type] ?? {});
    const unstored = fields.filter(([, options]) => options?.store === false).map(([field]) => field);
    commands.set(type, { type, schema, creates: definition.creates.includes(type), unstored });
  }
  const known = (list: readonly string[], of: ReadonlyMap<string, unknown>, what: string): void => {
    for (const name of list) {
      if (!of.has(name))
        throw new MillraceError(
          'DEFINITION_INVALID',
          `${place}: \`${what}\` names "${name}", which it does not declare.`,
        );
    }
  };
  known(definition.creates, commands, 'creates');
  known(definition.closes, events, 'closes');
  return {
    name: definition.name,
    definition,
    commands,
    events,
    initial: definition.initial,
    apply: (state, event) => definition.apply(state as never, event as never),
    handle: (state, command, ctx) =>
      definition.handle(state as never, command as never, ctx as never) as
        | PlainEvent
        | readonly PlainEvent[]
        | Rejection,
    guarded: definition.creates.length > 0,
    rejections: new Set(definition.rejections),
  };
}

const isEventDefinition = (source: EventSource): source is EventDefinition =>
  'kind' in source && source.kind === 'event';

function eventModel(aggregate: string, type: string, source: EventSource, closes: boolean, place: string): EventModel {
  const { schema, version, upcast }: Omit<EventDefinition, 'kind'> = isEventDefinition(source)
    ? source
    : { schema: source, version: 1, upcast: {} };
  if (!Number.isSafeInteger(version) || version < 1) {
    throw new MillraceError(
      'DEFINITION_INVALID',
      `${place}, event "${type}": version is ${version}. Use a whole number from 1.`,
    );
  }
  const steps: ((old: unknown) => unknown)[] = [];
  for (let from = 1; from < version; from++) {
    const step = upcast[from];
    if (step === undefined) {
      throw new MillraceError(
        'DEFINITION_INVALID',
        `${place}, event "${type}": there is no upcast from version ${from} to ${from + 1}. Add \`upcast: { ${from}: (old) => … }\`.`,
      );
    }
    steps.push((old) => step(old as never));
  }
  const decode = (schemaVersion: number, data: unknown): unknown => {
    if (schemaVersion > version || schemaVersion < 1) {
      throw new MillraceError(
        'UNKNOWN_EVENT',
        `Event "${type}" is stored in version ${schemaVersion}; this process knows it up to version ${version}. Deploy the newer code here.`,
      );
    }
    let current = data;
    for (const step of steps.slice(schemaVersion - 1)) current = step(current);
    const parsed = parse(schema, current);
    if (parsed.ok) return parsed.value;
    throw new MillraceError(
      'EVENT_INVALID',
      `Event "${type}" (stored version ${schemaVersion}) does not parse as version ${version}: ${describeIssues(parsed.issues)}. Mend its upcast or its schema.`,
    );
  };
  return { type, aggregate, schema, version, closes, decode };
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
