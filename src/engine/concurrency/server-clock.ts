/**
 * MongoDB's clock, as far as a process can know it without asking each time. What is due is due by this clock, in every
 * process: a worker whose own clock is off fires nothing early and nothing late. It never runs ahead of the server's, and
 * trails it by the time that one answer takes to come.
 */
export class ServerClock {
  readonly #read: () => Promise<number>;
  #offsetMs: number | undefined;
  #readAtMs = -Infinity;

  constructor(read: () => Promise<number>) {
    this.#read = read;
  }

  /** Asks the server, unless it did so within `maxAgeMs`. Rejects when the server does not answer. */
  async sync(maxAgeMs = 0): Promise<void> {
    if (performance.now() - this.#readAtMs < maxAgeMs) return;
    const serverMs = await this.#read();
    // By the monotonic clock: nobody sets it.
    this.#readAtMs = performance.now();
    this.#offsetMs = serverMs - this.#readAtMs;
  }

  /** In ms since 1970; before the first answer that of this process. */
  now(): number {
    return this.#offsetMs === undefined ? Date.now() : Math.floor(performance.now() + this.#offsetMs);
  }
}
