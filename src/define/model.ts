import { MillraceError } from '../errors.ts';
import type { AnyAggregate, DecideContext, Rejection } from './aggregate.ts';
import { aggregateModel } from './aggregate-model.ts';
import {
  type ConsumerModel,
  checkSources,
  connectView,
  observerModel,
  type ProjectorModel,
  partOf,
  projectorModel,
  sagaModel,
} from './consumer-model.ts';
import { checkDeadLetterAlert, type DeadLetterAlert } from './dead-letter-alert.ts';
import type { AnyRecorded, EventMeta } from './event.ts';
import type { Interceptor } from './interceptor.ts';
import type { Module, Part } from './module.ts';
import type { Observer } from './observer.ts';
import type { Projector } from './projector.ts';
import type { AnyQuery } from './query.ts';
import { checkList, checkName, invalid } from './refuse.ts';
import type { RetryPolicy } from './retry-policy.ts';
import type { Saga } from './saga.ts';
import type { Schedule } from './schedule.ts';
import type { Schema } from './schema.ts';
import type { AnyService } from './service.ts';
import { serviceModel } from './service-model.ts';
import type { SnapshotRule } from './snapshot-rule.ts';
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
  /** Undefined: no snapshots are kept. */
  readonly snapshot?: SnapshotRule | undefined;
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
/** A service made ready to run. */
export interface ServiceModel {
  readonly name: string;
  readonly definition: AnyService;
  readonly commands: ReadonlyMap<string, CommandModel>;
  readonly events: ReadonlyMap<string, EventModel>;
  readonly rejections: ReadonlySet<string>;
  readonly retry: RetryPolicy;
  /** Deadline of one try. */
  readonly timeoutMs: number;
}
/** What modules declare, checked and indexed by name. Plain objects are never keyed by outside strings: these are Maps. */
export interface Model {
  readonly modules: readonly Module[];
  readonly aggregates: ReadonlyMap<string, AggregateModel>;
  /** By event type; a type belongs to one aggregate. */
  readonly events: ReadonlyMap<string, EventModel>;
  readonly views: ReadonlyMap<string, View>;
  readonly queries: ReadonlyMap<string, AnyQuery>;
  /** By name; a service and an aggregate never share one. */
  readonly services: ReadonlyMap<string, ServiceModel>;
  /** All kinds, in the order of the modules; without live projectors, which nobody runs. */
  readonly consumers: readonly ConsumerModel[];
  /** The projector that keeps a view, by view name; of stored views. */
  readonly projectorOf: ReadonlyMap<string, ProjectorModel>;
  /** The projector that a view is folded with when it is read, by view name; of views that are not stored. */
  readonly liveProjectorOf: ReadonlyMap<string, ProjectorModel>;
  readonly schedules: ReadonlyMap<string, Schedule>;
  /** In the order of the modules. */
  readonly interceptors: readonly Interceptor[];
  readonly alerts: ReadonlyMap<string, DeadLetterAlert>;
}

export type { ConsumerModel, ObserverModel, ProjectorModel, SagaModel } from './consumer-model.ts';
export { PARTITION_COUNT, previousModelOf } from './consumer-model.ts';

/**
 * Checks modules and makes them ready. Throws DEFINITION_INVALID, NAME_TAKEN or SCHEMA_NOT_DERIVABLE naming the place, the
 * cause and the cure.
 */
export function buildModel(modules: readonly Module[]): Model {
  const aggregates = new Map<string, AggregateModel>();
  const services = new Map<string, ServiceModel>();
  const events = new Map<string, EventModel>();
  const views = new Map<string, View>();
  const queries = new Map<string, AnyQuery>();
  const consumers = new Map<string, ConsumerModel>();
  const schedules = new Map<string, Schedule>();
  const interceptors = new Map<string, Interceptor>();
  const alerts = new Map<string, DeadLetterAlert>();
  const named = <T>(into: Map<string, T>, kind: string, name: string, place: string, value: T): void => {
    if (into.has(name)) throw taken(kind, name, place);
    into.set(name, value);
  };

  for (const { part, place: modulePlace } of partsOf(modules)) {
    checkName(part.kind, part.name, modulePlace);
    const place = `${modulePlace}, ${part.kind} "${part.name}"`;
    switch (part.kind) {
      case 'aggregate':
      case 'service': {
        const other = part.kind === 'service' ? aggregates : services;
        if (other.has(part.name)) throw taken('aggregate or service', part.name, modulePlace);
        const model = part.kind === 'aggregate' ? aggregateModel(part, place) : serviceModel(part, place);
        if ('initial' in model) named(aggregates, 'aggregate', part.name, modulePlace, model);
        else named(services, 'service', part.name, modulePlace, model);
        for (const event of model.events.values()) named(events, 'event', event.type, place, event);
        break;
      }
      case 'view':
        checkView(part, place);
        named(views, 'view', part.name, modulePlace, part);
        break;
      case 'query':
        checkQuery(part, place);
        named(queries, 'query', part.name, modulePlace, part);
        break;
      case 'schedule':
        named(schedules, 'schedule', part.name, modulePlace, part);
        break;
      case 'interceptor':
        named(interceptors, 'interceptor', part.name, modulePlace, part);
        break;
      case 'deadLetterAlert':
        checkDeadLetterAlert(part, place);
        named(alerts, 'alert', part.name, modulePlace, part);
        break;
      default:
        named(consumers, part.kind, part.name, modulePlace, consumerModel(part, place));
    }
  }

  const keeperOf = new Map<string, ProjectorModel>();
  for (const consumer of consumers.values()) {
    checkSources(consumer, partOf(consumer), aggregates, services);
    if (consumer.kind !== 'projector') continue;
    connectView(consumer, views, keeperOf);
    const { previous } = consumer;
    if (previous !== undefined) checkSources(previous, previous.projector, aggregates, services);
  }
  for (const name of views.keys()) {
    if (keeperOf.has(name)) continue;
    throw invalid(`View "${name}"`, 'has no projector. Add a projector with `into` this view, or remove the view.');
  }
  return {
    modules,
    aggregates,
    services,
    events,
    views,
    queries,
    consumers: [...consumers.values()].filter((one) => !isLive(one)),
    projectorOf: new Map([...keeperOf].filter(([, one]) => !isLive(one))),
    liveProjectorOf: new Map([...keeperOf].filter(([, one]) => isLive(one))),
    schedules,
    interceptors: [...interceptors.values()],
    alerts,
  };
}

const isLive = (one: ConsumerModel): boolean => one.kind === 'projector' && one.projector.mode === 'live';

const taken = (kind: string, name: string, place: string): MillraceError =>
  new MillraceError(
    'NAME_TAKEN',
    `${place}: there are two ${kind}s named "${name}". Rename one of them, or list it in one module only.`,
  );

const partKinds: ReadonlySet<unknown> = new Set([
  'aggregate',
  'service',
  'view',
  'projector',
  'query',
  'saga',
  'observer',
  'schedule',
  'interceptor',
  'deadLetterAlert',
]);

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
          : `parts[${index}] is no part. Make it with aggregate(), view(), projector(), customProjector(), query(), saga(), service(), observer(), schedule(), interceptor() or deadLetterAlert().`,
      );
    });
    return module.parts.map((part) => ({ part, place }));
  });
}

function consumerModel(part: Projector | Saga | Observer, place: string): ConsumerModel {
  if (part.kind === 'projector') return projectorModel(part, place);
  return part.kind === 'saga' ? sagaModel(part, place) : observerModel(part, place);
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
