import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from '../../logger.ts';
import type { ExclusiveKeys } from '../../store/exclusive-keys.ts';
import { batchWhileBusy } from '../concurrency/batch-while-busy.ts';
import { CLAIM_TTL_MS, ServiceClaims } from './service-claims.ts';

/** How often the first of a line asks while another process has the key. */
const ASK_MS = 100;
/** Asked again so often at most, however many keys others have: a thousand lines must not drown the database. */
const ASKS_PER_SECOND = 100;
/** Keys of one question. */
const BATCH_MAX_COUNT = 500;

/**
 * One at a time for each key: in the order they came within this process, and by a lease between processes. Whoever waits holds
 * nothing.
 */
export class KeyLine {
  readonly #logger: Logger;
  readonly #claims: ServiceClaims;
  readonly #tails = new Map<string, Promise<unknown>>();
  readonly #acquire: (key: string) => Promise<boolean>;
  readonly #release: (key: string) => Promise<void>;
  /** Lines whose key another process has. */
  #waitingCount = 0;

  constructor(keys: ExclusiveKeys, holder: string, logger: Logger) {
    this.#logger = logger;
    this.#claims = new ServiceClaims(keys, holder, logger);
    this.#acquire = batchWhileBusy(
      async (asked: readonly string[]) => {
        const mine = await keys.acquire(asked, holder, CLAIM_TTL_MS);
        return asked.map((key) => mine.has(key));
      },
      { maxCount: BATCH_MAX_COUNT },
    );
    this.#release = batchWhileBusy(
      async (done: readonly string[]) => {
        await keys.release(done, holder);
        return done.map(() => undefined);
      },
      { maxCount: BATCH_MAX_COUNT },
    );
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
      if (await this.#acquire(key)) {
        const lost = this.#claims.hold(key);
        try {
          return await work(lost);
        } finally {
          this.#claims.letGo(key);
          await this.#release(key).catch((error: unknown) => {
            this.#logger.debug({ error: String(error) }, 'a key could not be released; it runs out');
          });
        }
      }
      await this.#pause(stop);
    }
    return undefined;
  }

  async #pause(stop: AbortSignal): Promise<void> {
    this.#waitingCount++;
    const ms = Math.max(ASK_MS, (this.#waitingCount * 1_000) / ASKS_PER_SECOND);
    await pause(ms * (0.75 + Math.random() / 2), undefined, { signal: stop }).catch(() => undefined);
    this.#waitingCount--;
  }
}
