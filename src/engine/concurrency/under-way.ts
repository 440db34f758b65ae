import { atMost } from '../../queue/at-most.ts';

/** Work that nobody waits for but a stop. */
export class UnderWay {
  readonly #work = new Set<Promise<void>>();
  readonly #onTrouble: (error: unknown) => void;

  constructor(onTrouble: (error: unknown) => void) {
    this.#onTrouble = onTrouble;
  }

  /** Answers the work itself. */
  follow<T>(work: Promise<T>): Promise<T> {
    const done = work.then(() => undefined, this.#onTrouble);
    this.#work.add(done);
    void done.finally(() => this.#work.delete(done));
    return work;
  }

  /** Resolves when all has ended, or after `ms`. */
  async ended(ms: number): Promise<void> {
    await atMost(ms, Promise.all(this.#work));
  }
}
