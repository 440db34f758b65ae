import { type Contract, type Dispatch, handlerNames } from './aggregate.ts';
import {
  type ConsumerOptions,
  consumerOptionsOf,
  type EventNamed,
  type EventsFrom,
  handlerMap,
  keysFunction,
} from './consumer-spec.ts';
import type { AnyRecorded, Recorded } from './event.ts';
import type { Literal } from './literal.ts';

/**
 * What a saga does after an input. `undefined` means: nothing, the state stays; an event that could start an instance then starts
 * none. Checked before anything is written: SAGA_REACTION_INVALID, SAGA_COMMAND_INVALID, CHAIN_TOO_LONG.
 */
export interface Reaction<S> {
  /** JSON values and dates. Default: unchanged. */
  readonly state?: S;
  /** Commands, in order; each is sent once, whatever is killed in between. */
  readonly send?: readonly Dispatch[];
  /**
   * Named timers of this instance (names of `onTimer`); a name that is set again replaces the earlier one. `afterMs` counts from the
   * time of the input. One in the past fires at once, one beyond the year 9999 is refused.
   */
  readonly timers?: Readonly<Record<string, { readonly afterMs: number } | { readonly at: Date } | 'cancel'>>;
  /** More correlation keys that lead to this instance (sagas with `keys`). */
  readonly keys?: readonly string[];
  /**
   * The instance is over: its timers are cancelled and later inputs are ignored, also those that could start one, as long as
   * `keepEndedMs` says.
   */
  readonly end?: boolean;
}

/** What a saga's handler may look at besides state and input. */
export interface SagaContext {
  /** Id of the instance: its (first) correlation key. */
  readonly id: string;
  /** Time of the input: of the event, of the timer's due time, of the refusal. Use it instead of `new Date()`. */
  readonly now: Date;
  /** Ids that are the same whenever this input is handled again. */
  readonly newId: () => string;
}
export interface TimerFired {
  readonly name: string;
  readonly dueAt: Date;
  /** How much later than `dueAt` it fires; more than a second only after downtime. */
  readonly lateMs: number;
}
/** A command that this saga sent and that was refused. */
export interface SentRejected {
  readonly commandId: string;
  readonly aggregate: string;
  readonly id: string;
  readonly type: string;
  readonly data: unknown;
  readonly code: string;
  readonly reason: string;
}

/** A process manager. */
export interface Saga<A extends readonly Contract[] = readonly Contract[], S = unknown> {
  readonly kind: 'saga';
  readonly name: string;
  readonly version: number;
  readonly description: string | undefined;
  readonly from: A;
  readonly options: ConsumerOptions;
  readonly routesById: boolean;
  /** Several correlation keys: the saga runs in one partition. */
  readonly manyKeys: boolean;
  /** Which of `key` and `keys` the author gave. */
  readonly keySources: readonly ('key' | 'keys')[];
  readonly keysOf: (event: AnyRecorded) => readonly string[];
  readonly handles: readonly string[];
  /** Event types that may start an instance; undefined: all that it handles. */
  readonly starts: readonly string[] | undefined;
  /** How long an ended instance is kept; `Infinity`: for ever. */
  readonly keepEndedMs: number;
  readonly timerNames: readonly string[];
  readonly hasOnRejected: boolean;
  readonly initial: () => S;
  readonly onEvent: (state: unknown, event: AnyRecorded, ctx: SagaContext) => unknown;
  readonly onTimer: (state: unknown, timer: TimerFired, ctx: SagaContext) => unknown;
  readonly onRejected: (state: unknown, rejection: SentRejected, ctx: SagaContext) => unknown;
}

/** A conditional type on purpose: see literal.ts. */
type React<S, I> = [S] extends [unknown]
  ? (state: NoInfer<S>, input: I, ctx: SagaContext) => Reaction<NoInfer<S>> | undefined
  : (state: NoInfer<S>, input: I, ctx: SagaContext) => Literal;

export interface SagaSpec<A extends readonly Contract[], S> extends ConsumerOptions {
  readonly name: string;
  /** Default 1. A higher one is a new consumer that begins anew. */
  readonly version?: number;
  readonly description?: string;
  readonly from: A;
  /** The instance that an event belongs to, undefined for none; default: the id of the event's aggregate. */
  readonly key?: (event: Recorded<EventsFrom<A>>) => string | undefined;
  /**
   * Instead of `key`: several correlation keys, any of which leads to the instance. The first key of the event that starts it is its
   * id; the others, those of later events and those of `Reaction.keys` lead to it too. Keys of different kinds need a prefix. The
   * saga then runs in one partition.
   */
  readonly keys?: (event: Recorded<EventsFrom<A>>) => readonly string[];
  /** Events that may start an instance; others are ignored while there is none. Default: all that are handled. */
  readonly starts?: readonly EventsFrom<A>['type'][];
  /**
   * How long an instance is kept after its end was handled, with its timeline and correlation keys; default 30 days. What happened
   * within that time never begins it anew, however late it is handled; a later event of `starts` does. `'forever'`: none ever does.
   */
  readonly keepEndedMs?: number | 'forever';
  readonly initial: () => S;
  readonly on: { readonly [K in EventsFrom<A>['type']]?: React<S, Recorded<EventNamed<EventsFrom<A>, K>>> };
  /** By timer name. */
  readonly onTimer?: Readonly<Record<string, React<S, TimerFired>>>;
  /** A command of this instance was refused. Without it the timeline alone tells. */
  readonly onRejected?: React<S, SentRejected>;
}

const KEEP_ENDED_MS = 30 * 86_400_000;

type Handler = (state: never, input: never, ctx: SagaContext) => unknown;
const isHandler = (value: unknown): value is Handler => typeof value === 'function';

/**
 * Declares a saga (process manager): a pure fold from (state, input) to (state, commands, timers). State, commands, timers and
 * checkpoint are written together: each input has its effect once, in order for each instance.
 */
export function saga<const A extends readonly Contract[], S>(spec: SagaSpec<A, S>): Saga<A, S> {
  const on = handlerMap(spec.on, isHandler);
  const onTimer = handlerMap(spec.onTimer, isHandler);
  return {
    kind: 'saga',
    name: spec.name,
    version: spec.version ?? 1,
    description: spec.description,
    from: spec.from,
    options: consumerOptionsOf(spec),
    routesById: spec.key === undefined && spec.keys === undefined,
    manyKeys: spec.keys !== undefined,
    keySources: (['key', 'keys'] as const).filter((name) => spec[name] !== undefined),
    keysOf: keysFunction(spec.keys ?? spec.key),
    handles: handlerNames(spec.on),
    starts: spec.starts,
    keepEndedMs: spec.keepEndedMs === 'forever' ? Number.POSITIVE_INFINITY : (spec.keepEndedMs ?? KEEP_ENDED_MS),
    timerNames: [...onTimer.keys()],
    hasOnRejected: spec.onRejected !== undefined,
    initial: spec.initial,
    onEvent: (state, event, ctx) => on.get(event.type)?.(state as never, event as never, ctx),
    onTimer: (state, timer, ctx) => onTimer.get(timer.name)?.(state as never, timer as never, ctx),
    onRejected: (state, rejection, ctx) => spec.onRejected?.(state as never, rejection, ctx),
  };
}
