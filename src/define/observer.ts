import { type Contract, handlerNames } from './aggregate.ts';
import { type ConsumerOptions, type EventNamed, type EventsFrom, handlerMap, keysFunction } from './consumer-spec.ts';
import type { AnyRecorded, Recorded } from './event.ts';

/** What an observer's handler gets besides the event. */
export interface ObserveContext {
  /**
   * `<log>/<observer>/<event id>`: the same for every try of this event, in every process, after every restart, replay and new
   * version of this observer. Hand it to the outside world: what comes twice comes under one key.
   */
  readonly idempotencyKey: string;
  /** 1 for the first try. Tries that ended with their process, or were not the handler's fault, are not counted. */
  readonly attempt: number;
  /** Aborts at the deadline of the try and when the process stops: pass it to what you wait for. */
  readonly signal: AbortSignal;
  /**
   * Runs `fn` once for this event and key and remembers its result for 30 days; a later try gets the result, as JSON gives it back,
   * without running it. A process that dies between the effect and the record runs it again. Rejects with ONCE_RESULT_INVALID
   * (not tried again) when the result is no JSON or longer than 64 KiB.
   */
  readonly once: <T>(key: string, fn: () => Promise<T> | T) => Promise<T>;
}

/** Reacts to events with a side effect. */
export interface Observer<A extends readonly Contract[] = readonly Contract[]> {
  readonly kind: 'observer';
  readonly name: string;
  readonly version: number;
  readonly description: string | undefined;
  readonly from: A;
  readonly options: ConsumerOptions & ObserverOptions;
  readonly routesById: boolean;
  readonly keysOf: (event: AnyRecorded) => readonly string[];
  readonly handles: readonly string[];
  readonly observe: (event: AnyRecorded, ctx: ObserveContext) => Promise<unknown>;
}

export interface ObserverOptions {
  /**
   * Default true: events of one key one after the other; a failing one holds back the later ones of its key. False: `key` is not
   * looked at, and nothing waits for anything.
   */
  readonly ordered?: boolean;
  /** Handlers at once in one process; default 10. */
  readonly concurrency?: number;
  /** Deadline of one try; default 30,000. Then its signal aborts, the try has failed with OBSERVER_TIMED_OUT, and what it does later is ignored. */
  readonly timeoutMs?: number;
  /** At most so many tries in any time of that length, over all processes; `count` up to 10,000. */
  readonly rateLimit?: { readonly count: number; readonly perMs: number };
  /**
   * Stop trying after so many failures in a row (in one process; errors that can go away), for so long, then let one try see whether
   * it works again; default 10 and 30,000. While it is open nothing counts as a failed attempt of a dead letter. `false`: never.
   */
  readonly breaker?: { readonly failures?: number; readonly pauseMs?: number } | false;
  /** Default false: events that it had handled before a reset to the past are passed over. */
  readonly replays?: boolean;
}

export interface ObserverSpec<A extends readonly Contract[]> extends ConsumerOptions, ObserverOptions {
  readonly name: string;
  /** Default 1. A higher one is a new consumer. */
  readonly version?: number;
  readonly description?: string;
  readonly from: A;
  /** What is kept in order, undefined for events that are none of its business; default: the id of the event's aggregate. */
  readonly key?: (event: Recorded<EventsFrom<A>>) => string | undefined;
  readonly on: {
    readonly [K in EventsFrom<A>['type']]?: (
      event: Recorded<EventNamed<EventsFrom<A>, K>>,
      ctx: ObserveContext,
    ) => Promise<void> | void;
  };
}

type Handler = (event: never, ctx: ObserveContext) => unknown;
const isHandler = (value: unknown): value is Handler => typeof value === 'function';

/** Declares an observer. Its handlers run at least once an event, in order for each key unless `ordered: false`. */
export function observer<const A extends readonly Contract[]>(spec: ObserverSpec<A>): Observer<A> {
  const on = handlerMap(spec.on, isHandler);
  const {
    name: _name,
    version: _version,
    description: _description,
    from: _from,
    key: _key,
    on: _on,
    ...options
  } = spec;
  return {
    kind: 'observer',
    name: spec.name,
    version: spec.version ?? 1,
    description: spec.description,
    from: spec.from,
    options,
    routesById: spec.key === undefined,
    keysOf: keysFunction(spec.key),
    handles: handlerNames(spec.on),
    observe: async (event, ctx) => on.get(event.type)?.(event as never, ctx),
  };
}
