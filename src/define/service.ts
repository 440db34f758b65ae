import { type Contract, handlerNames, type Rejection } from './aggregate.ts';
import type { EventMap, EventMeta, EventOf } from './event.ts';
import type { CommandChecks, EventChecks } from './json.ts';
import type { RetryOptions } from './retry-policy.ts';
import type { SchemaMap, SchemaOutput } from './schema.ts';

/** What a service's handler gets besides the command's data. */
export interface ServiceContext<R extends string = string> {
  readonly commandId: string;
  /** The same for every try of this command: hand it to the outside world. */
  readonly idempotencyKey: string;
  /** 1 for the first try. */
  readonly attempt: number;
  /** Aborts at the deadline of the try and when the process stops. */
  readonly signal: AbortSignal;
  readonly now: Date;
  readonly newId: () => string;
  readonly meta: EventMeta;
  readonly reject: (code: R, reason: string) => Rejection<R>;
  /**
   * Runs `fn` unless an earlier try of this command has run it under this key; answers what it gave then, as JSON. Kept for 30
   * days. A process that dies between the effect and the record runs it again.
   */
  readonly once: <T>(key: string, fn: () => Promise<T> | T) => Promise<T>;
}
/** A command whose tries are used up. */
export interface FailedCommand {
  readonly commandId: string;
  readonly type: string;
  readonly data: unknown;
  readonly attempts: number;
}

export interface ServiceOptions extends RetryOptions {
  /** Deadline of one try; default 30,000. */
  readonly timeoutMs?: number;
}

/** A service without its message types: every Service is assignable. */
export interface AnyService extends Contract {
  readonly kind: 'service';
  readonly options: ServiceOptions;
  readonly handlers: readonly string[];
  readonly run: (type: string, data: unknown, ctx: ServiceContext) => Promise<unknown>;
  /** Commands with the same key run one at a time, over all processes; undefined: no such rule. */
  readonly exclusiveKey: ((type: string, data: unknown) => string | undefined) | undefined;
  readonly onFailed: ((command: FailedCommand, error: unknown) => unknown) | undefined;
}
/** Handles commands that need the outside world. */
export interface Service<N extends string, C extends SchemaMap, E extends EventMap, R extends string>
  extends Contract<N, C, E, R>,
    Pick<AnyService, 'options' | 'handlers' | 'run' | 'exclusiveKey' | 'onFailed'> {
  readonly kind: 'service';
}

type Name<M> = keyof M & string;

export interface ServiceSpec<N extends string, C extends SchemaMap, E extends EventMap, R extends string>
  extends ServiceOptions {
  /** Wire name, part of every stream key: never change it. */
  readonly name: N;
  readonly description?: string;
  /** What can come of its commands. */
  readonly events: E & EventChecks<E>;
  readonly commands: C & CommandChecks<C>;
  readonly rejections?: readonly R[];
  readonly handle: {
    readonly [K in Name<C>]: (
      data: SchemaOutput<C[K]>,
      ctx: ServiceContext<NoInfer<R>>,
    ) => Promise<EventOf<E> | readonly EventOf<E>[] | Rejection<NoInfer<R>>>;
  };
  readonly exclusive?: (command: { readonly type: Name<C>; readonly data: unknown }) => string | undefined;
  /** The events that stand for "all tries failed"; without it only the dead letter tells. */
  readonly onFailed?: (command: FailedCommand, error: unknown) => EventOf<E> | readonly EventOf<E>[];
}

/**
 * Declares a service. A command waits in a queue and runs in a worker at least once; what it answers is appended once, to the stream
 * `<service>/<commandId>`.
 */
export function service<
  const N extends string,
  C extends SchemaMap,
  E extends EventMap,
  const R extends string = never,
>(spec: ServiceSpec<N, C, E, R>): Service<N, C, E, R> {
  const handle = new Map(Object.entries(spec.handle ?? {}));
  const { exclusive, onFailed, timeoutMs, attempts, backoff, retryable } = spec;
  return {
    kind: 'service',
    name: spec.name,
    description: spec.description,
    commands: spec.commands,
    events: spec.events,
    rejections: spec.rejections ?? [],
    creates: Object.keys(spec.commands ?? {}),
    closes: [],
    fields: {},
    options: {
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(attempts === undefined ? {} : { attempts }),
      ...(backoff === undefined ? {} : { backoff }),
      ...(retryable === undefined ? {} : { retryable }),
    },
    handlers: handlerNames(spec.handle),
    run: async (type, data, ctx) => handle.get(type)?.(data as never, ctx as never),
    exclusiveKey: exclusive && ((type, data) => exclusive({ type: type as Name<C>, data })),
    onFailed,
  };
}
