/** Lets so many run at once, the others wait in the order they came. */
export class Turns {
  #freeCount: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#freeCount = count;
  }

  /** Resolves with the function that gives the turn back; undefined when the signal aborted first. */
  take(signal: AbortSignal): Promise<(() => void) | undefined> {
    if (signal.aborted) return Promise.resolve(undefined);
    if (this.#freeCount > 0) return Promise.resolve(this.#begin());
    return new Promise((resolve) => {
      const leave = (): void => {
        this.#waiting.delete(go);
        resolve(undefined);
      };
      const go = (): void => {
        signal.removeEventListener('abort', leave);
        this.#waiting.delete(go);
        resolve(this.#begin());
      };
      this.#waiting.add(go);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  #begin(): () => void {
    this.#freeCount--;
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#freeCount++;
      const [next] = this.#waiting;
      next?.();
    };
  }
}
