/** Lets so many run at once, the others wait in the order they came. */
export class Turns {
  readonly #count: number;
  #freeCount: number;
  readonly #waiting = new Set<{ readonly share: number; readonly go: () => void }>();

  constructor(count: number) {
    this.#count = count;
    this.#freeCount = count;
  }

  /** Resolves with the function that gives the turn back; undefined when the signal aborted first. */
  take(signal: AbortSignal): Promise<(() => void) | undefined> {
    return this.#take(signal, 1);
  }

  /** The same, but when nobody else runs; nobody else begins before it is given back. */
  takeAlone(signal: AbortSignal): Promise<(() => void) | undefined> {
    return this.#take(signal, this.#count);
  }

  #take(signal: AbortSignal, share: number): Promise<(() => void) | undefined> {
    if (signal.aborted) return Promise.resolve(undefined);
    if (this.#waiting.size === 0 && this.#freeCount >= share) return Promise.resolve(this.#begin(share));
    return new Promise((resolve) => {
      const one = {
        share,
        go: () => {
          signal.removeEventListener('abort', leave);
          this.#waiting.delete(one);
          resolve(this.#begin(share));
        },
      };
      const leave = (): void => {
        this.#waiting.delete(one);
        resolve(undefined);
        this.#next();
      };
      this.#waiting.add(one);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #begin(share: number): () => void {
    this.#freeCount -= share;
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#freeCount += share;
      this.#next();
    };
  }

  #next(): void {
    for (const one of this.#waiting) {
      if (one.share > this.#freeCount) return;
      one.go();
    }
  }
}
