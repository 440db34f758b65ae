import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from '../logger.ts';
import type { ExclusiveKeys } from '../store/exclusive-keys.ts';
import { CLAIM_TTL_MS, ServiceClaims } from './service-claims.ts';
import { Turns } from './turns.ts';

/** How often the first of a line asks while another process has the key. */
const ASK_MS = 100;
/** Asked again so often at most, however many keys others have: a thousand lines must not drown the database. */
const ASKS_PER_SECOND = 100;
/** Questions under way at once: heartbeats, leases and transactions of this process need connections too. */
const ASKING_MAX_COUNT = 8;

/**
 * One at a time for each key: in the order they came within this process, and by a lease between processes. Whoever waits holds
 * nothing.
 */
export class KeyLine {
  readonly #keys: ExclusiveKeys;
  readonly #holder: string;
  readonly #logger: Logger;
  readonly #claims: ServiceClaims;
  readonly #tails = new Map<string, Promise<unknown>>();
  readonly #asking = new Turns(ASKING_MAX_COUNT);
  /** Lines whose key another process has. */
  #waitingCount = 0;

  constructor(keys: ExclusiveKeys, holder: string, logger: Logger) {
    this.#keys = keys;
    this.#holder = holder;
    this.#logger = logger;
    this.#claims = new ServiceClaims(keys, holder, logger);
  }

  /** Undefined when `stop` aborted before its turn. `lost` aborts when another process has taken the key. */
  async run<T>(key: string, stop: AbortSignal, work: (lost: AbortSignal) => Promise<T>): Promise<T | undefined> {
    const before = this.#tails.get(key);
    const current = (before ?? Promise.resolve()).then(() => this.#own(key, stop, work));
    const tail = current.catch(() => undefined);
    this.#tails.set(key, tail);
    try {
      return await current;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }

  async stop(): Promise<void> {
    await this.#claims.stop();
  }

  async #own<T>(key: string, stop: AbortSignal, work: (lost: AbortSignal) => Promise<T>): Promise<T | undefined> {
    while (!stop.aborted) {
      if (await this.#ask(key, stop)) {
        const lost = this.#claims.hold(key);
        try {
          return await work(lost);
        } finally {
          this.#claims.letGo(key);
          await this.#keys.release(key, this.#holder).catch((error: unknown) => {
            this.#logger.debug({ error: String(error) }, 'a key could not be released; it runs out');
          });
        }
      }
      await this.#pause(stop);
    }
    return undefined;
  }

  async #ask(key: string, stop: AbortSignal): Promise<boolean> {
    const turn = await this.#asking.take(stop);
    if (turn === undefined) return false;
    try {
      return await this.#keys.acquire(key, this.#holder, CLAIM_TTL_MS);
    } finally {
      turn();
    }
  }

  async #pause(stop: AbortSignal): Promise<void> {
    this.#waitingCount++;
    const ms = Math.max(ASK_MS, (this.#waitingCount * 1_000) / ASKS_PER_SECOND);
    await pause(ms * (0.75 + Math.random() / 2), undefined, { signal: stop }).catch(() => undefined);
    this.#waitingCount--;
  }
}
