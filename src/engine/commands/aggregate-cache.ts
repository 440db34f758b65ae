import { LRUCache } from 'lru-cache';

/** The newest state of an aggregate instance that this process knows; others may have gone on since. */
export interface LoadedAggregate {
  readonly state: unknown;
  /** Version of the last event folded in; 0 when there is none. */
  readonly version: number;
  readonly closed: boolean;
}

/**
 * States by stream key, least recently used out first. A hint, not a truth: an acceptance decided on it is checked by
 * the insert, everything else is checked by a majority read before it is answered.
 */
export class AggregateCache {
  readonly #entries: LRUCache<string, LoadedAggregate> | undefined;

  /** `maxCount` 0 turns the cache off. */
  constructor(maxCount: number) {
    this.#entries = maxCount === 0 ? undefined : new LRUCache({ max: maxCount });
  }
  get(stream: string): LoadedAggregate | undefined {
    return this.#entries?.get(stream);
  }
  /** Keeps the newer one: a slow reader must not put an old state over a new one. */
  offer(stream: string, loaded: LoadedAggregate): void {
    const known = this.#entries?.peek(stream);
    if (known === undefined || known.version < loaded.version) this.#entries?.set(stream, loaded);
  }
  forget(stream: string): void {
    this.#entries?.delete(stream);
  }
}
