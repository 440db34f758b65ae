import { setTimeout as pause } from 'node:timers/promises';
import type { AnyRecorded } from '../../define/event.ts';
import type { ObserverModel } from '../../define/model.ts';
import { mayRetry } from '../../define/retry-policy.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import type { DeliveryStore } from '../../store/delivery-store.ts';
import { type DeadlineEnd, inDeadline } from '../concurrency/in-deadline.ts';
import { onceOf } from '../concurrency/once.ts';
import { Slots } from '../concurrency/slots.ts';
import { type BreakerState, ObserverBreaker } from './observer-breaker.ts';

/** How a try ended. Only `failed` counts as an attempt. */
export type TryEnd =
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly error: unknown }
  /** Not for now: the breaker is open, the rate is used up, or the surroundings are disturbed. */
  | { readonly kind: 'postponed'; readonly againInMs: number }
  /** The process stops, or the partition was lost. */
  | { readonly kind: 'stopped' };

export interface TriesOptions {
  readonly consumer: ObserverModel;
  readonly logId: string;
  readonly store: Pick<DeliveryStore, 'journal' | 'rateLimits'>;
  /** Undefined: closed again. `error`: the last one that was counted. */
  readonly onBreaker: (state: (BreakerState & { readonly error: unknown }) | undefined) => void;
  readonly onTrouble: (error: unknown) => void;
}

/** One wish to run the handler. */
export interface Try {
  readonly event: AnyRecorded;
  /** 1 for the first. */
  readonly attempt: number;
  readonly partition: number;
  /** A first try waits for its turn as long as it takes; a retry comes back later by itself. */
  readonly patient: boolean;
  /** The handler begins now. */
  readonly onBegin?: () => void;
  /** Ends waiting for a place, for the rate or for the breaker. */
  readonly wait: AbortSignal;
  /** Aborts the handler. */
  readonly stop: AbortSignal;
}

/** A retry waits so long for the rate; a first try comes back to the line after it. */
const RETRY_WAIT_MAX_MS = 2_000;
const FIRST_WAIT_MAX_MS = 60_000;
const TROUBLE_PAUSE_MS = 1_000;

/** Same for every try, restart, process and version of the observer: the outside world knows the event again by it. */
export const idempotencyKeyOf = (logId: string, observer: string, eventId: string): string =>
  `${logId}/${observer}/${eventId}`;

/** Runs the handler of one observer in this process: so many at once, within the rate, with a deadline, unless the breaker is open. */
export class ObserverTries {
  readonly #options: TriesOptions;
  readonly #slots: Slots;
  readonly #breaker: ObserverBreaker<DeadlineEnd<unknown>> | undefined;
  #lastError: unknown;

  constructor(options: TriesOptions) {
    this.#options = options;
    const { run } = options.consumer;
    this.#slots = new Slots(run.concurrency);
    this.#breaker = run.breaker && this.#makeBreaker(run.breaker);
  }

  async try(one: Try): Promise<TryEnd> {
    for (;;) {
      const giveBack = await this.#slots.take(one.partition, one.wait);
      if (giveBack === undefined) return { kind: 'stopped' };
      let end: TryEnd;
      try {
        end = await this.#tryNow(one);
      } finally {
        giveBack();
      }
      if (end.kind !== 'postponed' || !one.patient) return end;
      if (!(await slept(end.againInMs, one.wait))) return { kind: 'stopped' };
    }
  }

  async #tryNow(one: Try): Promise<TryEnd> {
    const closedIn = this.#breaker?.againInMs ?? 0;
    if (closedIn > 0) return { kind: 'postponed', againInMs: closedIn };
    const delayed = await this.#inRate(one);
    if (delayed !== undefined) return delayed;
    const run = (): Promise<DeadlineEnd<unknown>> => this.#run(one);
    if (this.#breaker === undefined) return this.#ended(await run());
    const guarded = await this.#breaker.run(run);
    if (guarded.kind === 'refused') return { kind: 'postponed', againInMs: guarded.againInMs };
    // What was dead-lettered before does not use up its attempts while the other side is away.
    if (guarded.probe && !one.patient && this.#isFailure(guarded.result)) {
      return { kind: 'postponed', againInMs: Math.max(TROUBLE_PAUSE_MS, this.#breaker.againInMs) };
    }
    return this.#ended(guarded.result);
  }

  /** Undefined when it is this try's turn. */
  async #inRate({ patient, wait }: Try): Promise<TryEnd | undefined> {
    const { consumer, logId, store } = this.#options;
    const { rateLimit } = consumer.run;
    if (rateLimit === undefined) return undefined;
    const maxWaitMs = patient ? FIRST_WAIT_MAX_MS : RETRY_WAIT_MAX_MS;
    try {
      const { taken, waitMs } = await store.rateLimits.take(`${logId}/${consumer.name}`, rateLimit, maxWaitMs);
      if (!taken) return { kind: 'postponed', againInMs: Math.max(1, waitMs - maxWaitMs / 2) };
      return (await slept(waitMs, wait)) ? undefined : { kind: 'stopped' };
    } catch (error) {
      this.#options.onTrouble(error);
      return { kind: 'postponed', againInMs: TROUBLE_PAUSE_MS };
    }
  }

  #run({ event, attempt, stop, onBegin }: Try): Promise<DeadlineEnd<unknown>> {
    onBegin?.();
    const { consumer, logId, store } = this.#options;
    const { timeoutMs } = consumer.run;
    const idempotencyKey = idempotencyKeyOf(logId, consumer.name, event.id);
    const once = onceOf(store.journal, idempotencyKey);
    const reason = (): Error => timedOut(consumer.name, timeoutMs);
    return inDeadline((signal) => consumer.observer.observe(event, { idempotencyKey, attempt, signal, once }), {
      timeoutMs,
      stop,
      reason,
    });
  }

  #ended(end: DeadlineEnd<unknown>): TryEnd {
    if (end.kind === 'ok') return { kind: 'done' };
    if (end.kind === 'stopped') return { kind: 'stopped' };
    if (end.kind === 'error' && isSurroundings(end.error)) {
      this.#options.onTrouble(end.error);
      return { kind: 'postponed', againInMs: TROUBLE_PAUSE_MS };
    }
    return { kind: 'failed', error: this.#errorOf(end) };
  }

  #errorOf(end: DeadlineEnd<unknown>): unknown {
    const { name, run } = this.#options.consumer;
    return end.kind === 'error' ? end.error : timedOut(name, run.timeoutMs);
  }

  /** Says something about the other side: an error that will not go away is about the event. */
  #isFailure(end: DeadlineEnd<unknown>): boolean {
    if (end.kind === 'late') return true;
    return end.kind === 'error' && !isSurroundings(end.error) && mayRetry(this.#options.consumer.retry, end.error);
  }

  #makeBreaker(options: { readonly failures: number; readonly pauseMs: number }) {
    return new ObserverBreaker<DeadlineEnd<unknown>>({
      ...options,
      isFailure: (end) => {
        const isFailure = this.#isFailure(end);
        if (isFailure) this.#lastError = this.#errorOf(end);
        return isFailure;
      },
      onState: (state) => this.#options.onBreaker(state && { ...state, error: this.#lastError }),
    });
  }
}

/** MongoDB did not answer `once`: nothing of the handler's, and never counted. */
const isSurroundings = (error: unknown): boolean => isMillraceError(error, 'MONGODB_UNREACHABLE');

const timedOut = (observer: string, timeoutMs: number): MillraceError =>
  new MillraceError(
    'OBSERVER_TIMED_OUT',
    `Observer "${observer}" had not settled after ${timeoutMs} ms. Pass \`signal\` to what it waits for, or raise \`timeoutMs\`.`,
  );

/** False when the signal ended it. */
function slept(ms: number, signal: AbortSignal): Promise<boolean> {
  return pause(ms, true, { signal }).catch(() => false);
}
