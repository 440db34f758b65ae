import type { Contract } from './aggregate.ts';
import type { AnyRecorded, EventMap, EventOf } from './event.ts';
import type { RetryOptions } from './retry-policy.ts';
import type { SchemaMap } from './schema.ts';
import type { StartFrom } from './start-from.ts';

/** What every consumer (projector, saga, observer) may say about its delivery. */
export interface ConsumerOptions extends RetryOptions {
  /** Where a new consumer begins. Default: a projector at the start, a saga or observer at the end of the log. */
  readonly startFrom?: StartFrom;
}

/** Only what was given: `undefined` is not a value of these. */
export function consumerOptionsOf({ startFrom, attempts, backoff, retryable }: ConsumerOptions): ConsumerOptions {
  return {
    ...(startFrom === undefined ? {} : { startFrom }),
    ...(attempts === undefined ? {} : { attempts }),
    ...(backoff === undefined ? {} : { backoff }),
    ...(retryable === undefined ? {} : { retryable }),
  };
}

export type EventsFrom<A extends readonly Contract[]> = {
  [I in keyof A]: A[I] extends Contract<string, SchemaMap, infer E extends EventMap, string> ? EventOf<E> : never;
}[number];
export type Message = { readonly type: string; readonly data: unknown };
export type EventNamed<M extends Message, K> = Extract<M, { type: K }>;

/** `key` of a spec as a function of any event, each key once; undefined: none of its
 * business. Default: the id of the event's aggregate. */
export function keysFunction(
  key: ((event: never) => string | readonly string[] | undefined) | undefined,
): (event: AnyRecorded) => readonly string[] {
  return (event) => {
    if (key === undefined) return [event.stream.id];
    const keys = key(event as never);
    if (keys === undefined) return [];
    if (typeof keys === 'string') return [keys];
    return keys.length < 2 ? keys : [...new Set(keys)];
  };
}

/** The functions of an `on` map by event type; what is no function is left for the checks at start. */
export function handlerMap<F>(
  on: object | undefined,
  isHandler: (value: unknown) => value is F,
): ReadonlyMap<string, F> {
  const map = new Map<string, F>();
  for (const [type, handler] of Object.entries<unknown>({ ...on })) if (isHandler(handler)) map.set(type, handler);
  return map;
}
