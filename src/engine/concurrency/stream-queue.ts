/**
 * Runs tasks of one stream one after the other and tasks of different streams side by side. The next command of a stream
 * is decided only after the previous one was acknowledged: otherwise the stream may get a hole.
 */
export class StreamQueue {
  readonly #tails = new Map<string, Promise<unknown>>();

  async run<T>(stream: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(stream);
    const current = before === undefined ? task() : before.then(task, task);
    this.#tails.set(stream, current);
    try {
      return await current;
    } finally {
      if (this.#tails.get(stream) === current) this.#tails.delete(stream);
    }
  }
}
