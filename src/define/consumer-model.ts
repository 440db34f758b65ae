import { MillraceError } from '../errors.ts';
import type { AnyRecorded } from './event.ts';
import type { AggregateModel, ServiceModel } from './model.ts';
import type { Observer } from './observer.ts';
import { type ObserverRun, observerRun } from './observer-run.ts';
import type { Projector } from './projector.ts';
import { checkFunction, checkList, checkName, checkVersion, invalid } from './refuse.ts';
import { type RetryPolicy, retryPolicy } from './retry-policy.ts';
import type { Saga } from './saga.ts';
import { checkStartFrom, type StartFrom } from './start-from.ts';
import type { View } from './view.ts';

/** Default number of partitions of a consumer generation; fixed for it when it is created. */
export const PARTITION_COUNT = 16;

interface ConsumerBase {
  readonly name: string;
  readonly version: number;
  /** Names one build of the consumer's effects; today it equals `version`. */
  readonly generation: number;
  readonly handles: ReadonlySet<string>;
  /** Names of the aggregates and services that it reads from. */
  readonly sources: ReadonlySet<string>;
  /** True when an event's key is the id of its aggregate: known even when the event cannot be read. */
  readonly routesById: boolean;
  /** Keys that an event concerns, each once; as the author gives them, unchecked. */
  readonly keysOf: (event: AnyRecorded) => readonly string[];
  readonly retry: RetryPolicy;
  /** Where a new generation begins. */
  readonly startFrom: StartFrom;
  /** For a new generation. */
  readonly partitionCount: number;
}
export interface ProjectorModel extends ConsumerBase {
  readonly kind: 'projector';
  readonly projector: Projector;
  /** The version before, which this code keeps level while somebody reads it. */
  readonly previous: ProjectorModel | undefined;
}
export interface SagaModel extends ConsumerBase {
  readonly kind: 'saga';
  readonly saga: Saga;
}
export interface ObserverModel extends ConsumerBase {
  readonly kind: 'observer';
  readonly observer: Observer;
  readonly run: ObserverRun;
}
/** A projector, saga or observer as delivery sees it. */
export type ConsumerModel = ProjectorModel | SagaModel | ObserverModel;

type ConsumerPart = Projector | Saga | Observer;

function base(part: ConsumerPart, place: string, defaultStart: StartFrom): ConsumerBase {
  checkVersion(part.version, place);
  checkList(part.from, 'from', place);
  for (const source of part.from) {
    if (source?.kind === 'aggregate' || source?.kind === 'service') continue;
    throw invalid(place, '`from` holds something that is no aggregate or service.');
  }
  if (part.handles.length === 0) {
    throw invalid(place, `handles no event. Add at least one handler to \`on\`, or remove the ${part.kind}.`);
  }
  const startFrom = part.options.startFrom ?? defaultStart;
  checkStartFrom(startFrom, place);
  return {
    name: part.name,
    version: part.version,
    generation: part.version,
    handles: new Set(part.handles),
    sources: new Set(part.from.map(({ name }) => name)),
    routesById: part.routesById,
    keysOf: part.keysOf,
    retry: retryPolicy(part.options, place),
    startFrom,
    partitionCount: PARTITION_COUNT,
  };
}

/** Checks one projector and makes it ready to run. Throws DEFINITION_INVALID. */
export function projectorModel(projector: Projector, place: string): ProjectorModel {
  if (projector.into?.kind !== 'view') throw invalid(place, '`into` is no view. Make it with `view(…)`.');
  if (!swapRules.has(projector.swap)) throw invalid(place, "`swap` must be 'whenLevel' or 'byOperator'.");
  if (!modes.has(projector.mode)) throw invalid(place, "`mode` must be 'async', 'inline' or 'live'.");
  if (projector.mode === 'live') checkLive(projector, place);
  const own = base(projector, place, 'start');
  // The handlers of a custom one write any documents, and a document belongs to one partition.
  const partitionCount = projector.write === undefined ? own.partitionCount : 1;
  return { ...own, partitionCount, kind: 'projector', projector, previous: previousModel(projector, place) };
}

const swapRules: ReadonlySet<unknown> = new Set(['whenLevel', 'byOperator']);
const modes: ReadonlySet<unknown> = new Set(['async', 'inline', 'live']);

/** What only a stored view can have. */
function checkLive({ write, previous, options }: Projector, place: string): void {
  const cure = "set `mode` to 'async' or 'inline'.";
  if (write !== undefined) {
    throw invalid(
      place,
      `is a custom projector with mode 'live': any event may change any of its documents, so none can be folded alone. Use \`projector\`, or ${cure}`,
    );
  }
  if (previous !== undefined) {
    throw invalid(
      place,
      `has mode 'live' and a \`previous\`: nothing is stored that a version before could be read from. Leave \`previous\` out, or ${cure}`,
    );
  }
  if (options.startFrom !== undefined && options.startFrom !== 'start') {
    throw invalid(
      place,
      `has mode 'live' and a \`startFrom\`: its documents are folded from the start of the log. Leave \`startFrom\` out, or ${cure}`,
    );
  }
}

function previousModel(projector: Projector, place: string): ProjectorModel | undefined {
  const { previous } = projector;
  if (previous === undefined) return undefined;
  if (previous?.kind !== 'projector')
    throw invalid(place, '`previous` is no projector. Make it with `projector({ … })`.');
  if (previous.name !== projector.name) {
    throw invalid(place, `\`previous\` is named "${previous.name}". It is the same projector: give both one name.`);
  }
  if (previous.into?.name !== projector.into.name) {
    throw invalid(place, `\`previous\` keeps view "${previous.into?.name}". Both keep the same view, by one name.`);
  }
  if (previous.mode === 'live') {
    throw invalid(place, "`previous` has mode 'live': nothing of it is stored or kept level. Leave it out.");
  }
  if (!(previous.version < projector.version)) {
    throw invalid(
      place,
      `\`previous\` has version ${previous.version}. Its version must be lower than ${projector.version}.`,
    );
  }
  // One step back is enough: what is older is nobody's any more.
  return projectorModel({ ...previous, previous: undefined }, `${place}, previous`);
}

/** The versions before, of those projectors that carry one, where the new ones stand in the model. */
export function previousModelOf<M extends { readonly consumers: readonly ConsumerModel[] }>(
  model: M,
  wanted: (previous: ProjectorModel) => boolean = () => true,
): Omit<M, 'consumers'> & { readonly consumers: readonly ProjectorModel[] } {
  const consumers = model.consumers.flatMap((one) =>
    one.kind === 'projector' && one.previous !== undefined && wanted(one.previous) ? [one.previous] : [],
  );
  return { ...model, consumers };
}

const KEEP_ENDED_MAX_MS = 100 * 366 * 86_400_000;

/** Checks one saga and makes it ready to run. Throws DEFINITION_INVALID. */
export function sagaModel(saga: Saga, place: string): SagaModel {
  const common = base(saga, place, 'now');
  checkFunction(saga.initial, 'initial', place);
  for (const name of saga.timerNames) checkName('timer', name, place);
  if (saga.keySources.length > 1) throw invalid(place, 'has both `key` and `keys`. Remove one of them.');
  const unknown = saga.starts?.find((type) => !common.handles.has(type));
  if (unknown !== undefined) {
    throw invalid(place, `\`starts\` names "${unknown}", which it does not handle. Add a handler to \`on\`.`);
  }
  const { keepEndedMs } = saga;
  const isKept = keepEndedMs === Number.POSITIVE_INFINITY || Number.isSafeInteger(keepEndedMs);
  if (!isKept || keepEndedMs < 0 || (keepEndedMs > KEEP_ENDED_MAX_MS && keepEndedMs !== Number.POSITIVE_INFINITY)) {
    throw invalid(place, "`keepEndedMs` must be a whole number of milliseconds, up to 100 years, or 'forever'.");
  }
  return { ...common, kind: 'saga', saga, partitionCount: saga.manyKeys ? 1 : PARTITION_COUNT };
}

/** Checks one observer and makes it ready to run. Throws DEFINITION_INVALID. */
export function observerModel(observer: Observer, place: string): ObserverModel {
  const run = observerRun(observer.options, place);
  // Without order each event is a key of its own: a failing one holds nothing back.
  const keys = run.ordered ? {} : { routesById: true, keysOf: ({ id }: AnyRecorded) => [id] };
  return { ...base(observer, place, 'now'), ...keys, kind: 'observer', observer, run };
}

/** Checks that everything that a consumer reads is in a module. */
export function checkSources(
  consumer: ConsumerModel,
  part: ConsumerPart,
  aggregates: ReadonlyMap<string, AggregateModel>,
  services: ReadonlyMap<string, ServiceModel>,
): void {
  const place = placeOf(consumer);
  const offered = new Set<string>();
  for (const { kind, name } of part.from) {
    const source = kind === 'service' ? services.get(name) : aggregates.get(name);
    if (source === undefined) {
      throw invalid(place, `reads from ${kind} "${name}", which is in no module. Add it to a module's parts.`);
    }
    for (const type of source.events.keys()) offered.add(type);
  }
  for (const type of part.handles) {
    if (offered.has(type)) continue;
    throw invalid(
      place,
      `has a handler for "${type}", which none of its sources has. Add the source to \`from\` or correct the name.`,
    );
  }
}

/** Enters a projector as the keeper of its view. Throws DEFINITION_INVALID or NAME_TAKEN. */
export function connectView(
  consumer: ProjectorModel,
  views: ReadonlyMap<string, View>,
  keeperOf: Map<string, ProjectorModel>,
): void {
  const { projector } = consumer;
  const place = placeOf(consumer);
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
  const other = keeperOf.get(view.name);
  if (other !== undefined) {
    throw new MillraceError(
      'NAME_TAKEN',
      `View "${view.name}" has two projectors, "${other.name}" and "${projector.name}". One view has one projector.`,
    );
  }
  keeperOf.set(view.name, consumer);
}

const placeOf = ({ kind, name }: ConsumerModel): string => `${kind.charAt(0).toUpperCase()}${kind.slice(1)} "${name}"`;

/** The author's value behind a consumer. */
export function partOf(consumer: ConsumerModel): ConsumerPart {
  if (consumer.kind === 'projector') return consumer.projector;
  return consumer.kind === 'saga' ? consumer.saga : consumer.observer;
}
