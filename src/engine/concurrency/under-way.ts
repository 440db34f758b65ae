import { atMost } from '../../queue/at-most.ts';

/** Work that a stop waits for, whoever else does. */
export class UnderWay {
  readonly #work = new Set<Promise<void>>();
  readonly #onTrouble: (error: unknown) => void;

  /** `onTrouble`: for work whose failure nobody else is told. */
  constructor(onTrouble: (error: unknown) => void = () => undefined) {
    this.#onTrouble = onTrouble;
  }

  /** Answers the work itself. */
  follow<T>(work: Promise<T>): Promise<T> {
    const done = work.then(() => undefined, this.#onTrouble);
    this.#work.add(done);
    void done.finally(() => this.#work.delete(done));
    return work;
  }

  /** Resolves when all has ended, or after `ms` if given. */
  async ended(ms?: number): Promise<void> {
    const all = Promise.all(this.#work);
    await (ms === undefined ? all : atMost(ms, all));
  }
}
