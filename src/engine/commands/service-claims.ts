import type { Logger } from '../../logger.ts';
import { type Repeating, repeat } from '../concurrency/repeat.ts';

/** How long a killed process keeps a command or a key from the others. */
export const CLAIM_TTL_MS = 5_000;
const RENEW_MS = 1_000;

/** Something that a process holds for a time, by id. */
export interface Renewable {
  /** Returns the ids that `holder` has no more. */
  renew(ids: readonly string[], holder: string, ttlMs: number): Promise<readonly string[]>;
}

/** Renews what this process holds, all together once a second, and says what it lost. */
export class ServiceClaims {
  readonly #store: Renewable;
  readonly #holder: string;
  readonly #logger: Logger;
  readonly #held = new Map<string, AbortController>();
  #renewing: Repeating | undefined;
  #renewedAtMs = 0;

  constructor(store: Renewable, holder: string, logger: Logger) {
    this.#store = store;
    this.#holder = holder;
    this.#logger = logger;
  }

  /** Renewed from now on. The signal aborts when somebody else has it. */
  hold(id: string): AbortSignal {
    const lost = new AbortController();
    if (this.#held.size === 0) this.#renewedAtMs = performance.now();
    this.#held.set(id, lost);
    this.#renewing ??= repeat(() => this.#renew(), { firstMs: RENEW_MS });
    return lost.signal;
  }

  letGo(id: string): void {
    this.#held.delete(id);
  }

  async stop(): Promise<void> {
    await this.#renewing?.stop();
  }

  async #renew(): Promise<number> {
    const ids = [...this.#held.keys()];
    if (ids.length === 0) return RENEW_MS;
    const askedAtMs = performance.now();
    try {
      const lost = await this.#store.renew(ids, this.#holder, CLAIM_TTL_MS);
      for (const id of lost) this.#held.get(id)?.abort(new Error('another process has taken this over'));
      this.#renewedAtMs = askedAtMs;
    } catch (error) {
      this.#logger.debug({ error: String(error) }, 'claims of service commands could not be renewed');
      if (performance.now() - this.#renewedAtMs < CLAIM_TTL_MS) return RENEW_MS;
      for (const lost of this.#held.values()) lost.abort(new Error('another process may have taken this over'));
    }
    return RENEW_MS;
  }
}
