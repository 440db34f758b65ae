import type { EventMeta } from './event.ts';

/** One run of a handler of the author's. */
export interface HandlerCall {
  readonly kind: 'aggregate' | 'service' | 'projector' | 'saga' | 'observer' | 'query';
  /** Of the aggregate, service, consumer or query. */
  readonly name: string;
  /** Command or event type, timer name, or the query's name. */
  readonly type: string;
  /** Data of a command or query, as its schema put it out; the event of a consumer; the timer or refusal of a saga. */
  readonly input: unknown;
  /** Of the command or event; undefined for queries and for timers and refusals of sagas. */
  readonly meta: EventMeta | undefined;
  /** 1 for the first try. */
  readonly attempt: number;
}

/**
 * Runs around handlers. Synchronous, because most handlers are: nobody waits for a promise of a hook. What `before` throws counts
 * as the handler's error; what `after` and `onError` throw is logged and changes nothing.
 */
export interface InterceptorHooks {
  /** Before the handler; in the order of the interceptors. */
  readonly before?: ((call: HandlerCall) => void) | undefined;
  /** After it answered (for handlers that take time: after they settled); in reverse order. */
  readonly after?: ((call: HandlerCall, result: unknown, durationMs: number) => void) | undefined;
  /** After it threw, or a later interceptor's `before` did; in reverse order. The error goes on its way whatever this does. */
  readonly onError?: ((call: HandlerCall, error: unknown, durationMs: number) => void) | undefined;
  /**
   * Adds to the baggage of the events that a command causes, and so of everything that follows from them. Asked once a command
   * of an aggregate or service, before `before`. What the caller said goes first; what it throws is the handler's error.
   */
  readonly baggage?: ((call: HandlerCall) => Readonly<Record<string, string>>) | undefined;
}
export interface Interceptor extends InterceptorHooks {
  readonly kind: 'interceptor';
  readonly name: string;
  /** Undefined: all kinds. */
  readonly kinds: ReadonlySet<HandlerCall['kind']> | undefined;
}
export interface InterceptorSpec extends InterceptorHooks {
  readonly name: string;
  /** Default: all kinds. */
  readonly kinds?: readonly HandlerCall['kind'][];
}
/** Declares an interceptor. They run in the order of the modules and their parts; `after` and `onError` in reverse. */
export function interceptor(spec: InterceptorSpec): Interceptor {
  const { name, kinds, before, after, onError, baggage } = spec;
  return { kind: 'interceptor', name, kinds: kinds && new Set(kinds), before, after, onError, baggage };
}
