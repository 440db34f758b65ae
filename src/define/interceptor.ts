import type { EventMeta } from './event.ts';

/** One run of a handler of the author's. */
export interface HandlerCall {
  readonly kind: 'aggregate' | 'service' | 'projector' | 'saga' | 'observer' | 'query';
  /** Of the aggregate, service, consumer or query. */
  readonly name: string;
  /** Command or event type, timer name, or the query's name. */
  readonly type: string;
  readonly input: unknown;
  /** Absent for queries. */
  readonly meta: EventMeta | undefined;
  /** 1 for the first try. */
  readonly attempt: number;
}

/** Runs around handlers; synchronous, because most handlers are. What `before` throws counts as the handler's error. */
export interface Interceptor {
  readonly kind: 'interceptor';
  readonly name: string;
  /** Default: all kinds. */
  readonly kinds: ReadonlySet<HandlerCall['kind']> | undefined;
  readonly before: ((call: HandlerCall) => void) | undefined;
  readonly after: ((call: HandlerCall, result: unknown, durationMs: number) => void) | undefined;
  readonly onError: ((call: HandlerCall, error: unknown, durationMs: number) => void) | undefined;
}
export interface InterceptorSpec {
  readonly name: string;
  readonly kinds?: readonly HandlerCall['kind'][];
  readonly before?: (call: HandlerCall) => void;
  readonly after?: (call: HandlerCall, result: unknown, durationMs: number) => void;
  readonly onError?: (call: HandlerCall, error: unknown, durationMs: number) => void;
}
/** Declares an interceptor. They run in the order of the modules and their parts; `after` and `onError` in reverse. */
export function interceptor(spec: InterceptorSpec): Interceptor {
  const { name, kinds, before, after, onError } = spec;
  return { kind: 'interceptor', name, kinds: kinds && new Set(kinds), before, after, onError };
}
