/** How often it looks: what is overdue is told so much later at most. */
const LOOK_EVERY_MS = 100;

interface Watched {
  readonly atMs: number;
  readonly onOverdue: () => void;
}

/**
 * Watches many short pieces of work that nearly always end in time, by one timer for all: a timer and a race each would cost
 * more than the work.
 */
export class Overdue {
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;

  /** Calls `onOverdue` once, when `atMs` (epoch) has passed and nobody has called what this returns. */
  watch(atMs: number, onOverdue: () => void): () => void {
    const watched = { atMs, onOverdue };
    this.#watched.add(watched);
    if (this.#timer === undefined) {
      this.#timer = setInterval(this.#look, LOOK_EVERY_MS);
      this.#timer.unref();
    }
    return () => this.#watched.delete(watched);
  }

  readonly #look = (): void => {
    const nowMs = Date.now();
    for (const watched of this.#watched) {
      if (watched.atMs > nowMs) continue;
      this.#watched.delete(watched);
      watched.onOverdue();
    }
    if (this.#watched.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  };
}
