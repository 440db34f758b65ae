import { moreBaggage } from '../../define/baggage.ts';
import type { AnyRecorded, EventMeta } from '../../define/event.ts';
import type { HandlerCall, Interceptor } from '../../define/interceptor.ts';
import type { Logger } from '../../logger.ts';

type Kind = HandlerCall['kind'];
/** A hook that must not fail did. */
export type OnHookFailed = (interceptor: string, hook: 'after' | 'onError' | 'before', error: unknown) => void;

export const onHookFailed =
  (logger: Pick<Logger, 'error'>): OnHookFailed =>
  (interceptor, hook, err) =>
    logger.error({ interceptor, hook, err }, 'a hook of an interceptor failed; the handler is not concerned');

/** The interceptors of one kind of handler. */
export interface Intercept {
  sync<T>(call: HandlerCall, run: () => T): T;
  async<T>(call: HandlerCall, run: () => Promise<T>): Promise<T>;
  /** The metadata with what interceptors add to its baggage; the same object when they add nothing. */
  meta(call: HandlerCall & { readonly meta: EventMeta }): EventMeta;
}

/** Undefined when no interceptor is for this kind: then handlers are called directly, and nothing is made for each call. */
export function interceptFor(
  interceptors: readonly Interceptor[],
  kind: Kind,
  onFailed: OnHookFailed,
): Intercept | undefined {
  const own = interceptors.filter(({ kinds }) => kinds?.has(kind) !== false);
  return own.length === 0 ? undefined : new Chain(own, onFailed);
}

class Chain implements Intercept {
  readonly #interceptors: readonly Interceptor[];
  readonly #reverse: readonly Interceptor[];
  readonly #bearers: readonly Interceptor[];
  readonly #onFailed: OnHookFailed;

  constructor(interceptors: readonly Interceptor[], onFailed: OnHookFailed) {
    this.#interceptors = interceptors;
    this.#reverse = [...interceptors].reverse();
    this.#bearers = interceptors.filter(({ baggage }) => baggage !== undefined);
    this.#onFailed = onFailed;
  }

  sync<T>(call: HandlerCall, run: () => T): T {
    const since = performance.now();
    this.#before(call, since);
    let result: T;
    try {
      result = run();
    } catch (error) {
      this.#failed(this.#reverse, call, error, since);
      throw error;
    }
    this.#after(call, result, since);
    return result;
  }

  async async<T>(call: HandlerCall, run: () => Promise<T>): Promise<T> {
    const since = performance.now();
    this.#before(call, since);
    let result: T;
    try {
      result = await run();
    } catch (error) {
      this.#failed(this.#reverse, call, error, since);
      throw error;
    }
    this.#after(call, result, since);
    return result;
  }

  meta(call: HandlerCall & { readonly meta: EventMeta }): EventMeta {
    if (this.#bearers.length === 0) return call.meta;
    const more = this.#bearers.flatMap(({ baggage }) => Object.entries(baggage?.(call) ?? {}));
    const baggage = moreBaggage(call.meta.baggage, more);
    return baggage === call.meta.baggage ? call.meta : { ...call.meta, baggage };
  }

  #before(call: HandlerCall, since: number): void {
    let entered = 0;
    try {
      for (const one of this.#interceptors) {
        this.#settled(one, 'before', one.before?.(call));
        entered++;
      }
    } catch (error) {
      // Those that began are told; the one that threw has spoken.
      this.#failed(this.#reverse.slice(this.#reverse.length - entered), call, error, since);
      throw error;
    }
  }

  #after(call: HandlerCall, result: unknown, since: number): void {
    const durationMs = performance.now() - since;
    for (const one of this.#reverse) {
      try {
        this.#settled(one, 'after', one.after?.(call, result, durationMs));
      } catch (error) {
        this.#onFailed(one.name, 'after', error);
      }
    }
  }

  #failed(told: readonly Interceptor[], call: HandlerCall, cause: unknown, since: number): void {
    const durationMs = performance.now() - since;
    for (const one of told) {
      try {
        this.#settled(one, 'onError', one.onError?.(call, cause, durationMs));
      } catch (error) {
        this.#onFailed(one.name, 'onError', error);
      }
    }
  }

  /** A hook that is an async function all the same: its rejection must not end the process. */
  #settled(one: Interceptor, hook: 'before' | 'after' | 'onError', answer: unknown): void {
    if (answer instanceof Promise) answer.catch((error: unknown) => this.#onFailed(one.name, hook, error));
  }
}

let attempt = 1;
/** Handlers of projectors and sagas that `run` calls (they are synchronous) see this as their attempt. */
export function withAttempt<T>(number: number, run: () => T): T {
  const before = attempt;
  attempt = number;
  try {
    return run();
  } finally {
    attempt = before;
  }
}
/** The attempt that a synchronous handler is in. */
export const currentAttempt = (): number => attempt;

/** The call of a consumer's handler with an event. */
export const eventCall = (kind: Kind, name: string, event: AnyRecorded, tries: number = attempt): HandlerCall => ({
  kind,
  name,
  type: event.type,
  input: event,
  meta: event.meta,
  attempt: tries,
});
