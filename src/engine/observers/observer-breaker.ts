import { CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhenResult, isBrokenCircuitError } from 'cockatiel';
import type { BreakerRecord } from '../../store/documents.ts';

/** What became of a call. */
export type Guarded<T> =
  /** `probe`: it was the one call that tried whether the other side is back. */
  | { readonly kind: 'ran'; readonly result: T; readonly probe: boolean }
  /** It was not begun: the breaker is open. */
  | { readonly kind: 'refused'; readonly againInMs: number };

/** A breaker that is not closed. */
export type BreakerState = Pick<BreakerRecord, 'state' | 'since' | 'until' | 'failureCount'>;

export interface BreakerOptions<T> {
  /** Failures in a row that open it. */
  readonly failures: number;
  /** How long it stays open before one call may try again. */
  readonly pauseMs: number;
  /** Whether a result says that the other side fails. Any other ends the row, and closes a half-open breaker. */
  readonly isFailure: (result: T) => boolean;
  /** Undefined: it is closed again. */
  readonly onState: (state: BreakerState | undefined) => void;
}

/** Stops calls after repeated failures of the other side, and tries by itself, one call at a time, whether it is back. */
export class ObserverBreaker<T> {
  readonly #options: BreakerOptions<T>;
  readonly #policy;
  #since: Date | undefined;
  #openedAtMs = 0;
  #failureCount = 0;

  constructor(options: BreakerOptions<T>) {
    this.#options = options;
    const isFailure = (result: unknown): boolean => options.isFailure(result as T);
    this.#policy = circuitBreaker(handleWhenResult(isFailure), {
      halfOpenAfter: options.pauseMs,
      breaker: new ConsecutiveBreaker(options.failures),
    });
    this.#policy.onStateChange((state) => this.#changed(state));
  }

  /** How long no call would be let through; 0: one may try now. */
  get againInMs(): number {
    if (this.#policy.state !== CircuitState.Open) return 0;
    return Math.max(0, this.#openedAtMs + this.#options.pauseMs - Date.now());
  }

  /** Runs the call (which never throws) unless the breaker is open. While one call tries, others wait for how it ends. */
  async run(call: () => Promise<T>): Promise<Guarded<T>> {
    let probe = false;
    const guarded = async (): Promise<T> => {
      probe = this.#policy.state !== CircuitState.Closed;
      const result = await call();
      this.#failureCount = this.#options.isFailure(result) ? this.#failureCount + 1 : 0;
      return result;
    };
    try {
      const result = await this.#policy.execute(guarded);
      return { kind: 'ran', result, probe };
    } catch (error) {
      if (!isBrokenCircuitError(error)) throw error;
      return { kind: 'refused', againInMs: Math.max(1, this.againInMs) };
    }
  }

  #changed(state: CircuitState): void {
    const { onState, pauseMs } = this.#options;
    if (state === CircuitState.Closed) {
      this.#since = undefined;
      onState(undefined);
      return;
    }
    if (state === CircuitState.Open) this.#openedAtMs = Date.now();
    this.#since ??= new Date();
    onState({
      state: state === CircuitState.Open ? 'OPEN' : 'HALF_OPEN',
      since: this.#since,
      until: new Date(Date.now() + pauseMs),
      failureCount: this.#failureCount,
    });
  }
}
