/**
 * Places for handlers at once, shared by partitions. A partition may take all but a quarter of them; that quarter is for partitions
 * that have less than their share, so that slow handlers of one never stop the others. First come, first served beyond that.
 */
export class Slots {
  readonly #count: number;
  readonly #share: number;
  readonly #heldBy = new Map<number, number>();
  readonly #waiting: { readonly partition: number; readonly go: () => void }[] = [];
  #free: number;

  constructor(count: number) {
    this.#count = count;
    this.#share = Math.ceil(count / 4);
    this.#free = count;
  }

  get heldCount(): number {
    return this.#count - this.#free;
  }

  /** Resolves with the function that gives the place back; undefined when the signal aborted first. */
  take(partition: number, signal: AbortSignal): Promise<(() => void) | undefined> {
    if (signal.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const entry = {
        partition,
        go: (): void => {
          signal.removeEventListener('abort', leave);
          resolve(this.#hold(partition));
        },
      };
      const leave = (): void => {
        const index = this.#waiting.indexOf(entry);
        if (index >= 0) this.#waiting.splice(index, 1);
        resolve(undefined);
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#waiting.push(entry);
      this.#serve();
    });
  }

  #hold(partition: number): () => void {
    this.#free--;
    this.#heldBy.set(partition, (this.#heldBy.get(partition) ?? 0) + 1);
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#free++;
      const left = (this.#heldBy.get(partition) ?? 1) - 1;
      if (left === 0) this.#heldBy.delete(partition);
      else this.#heldBy.set(partition, left);
      this.#serve();
    };
  }

  #serve(): void {
    while (this.#free > 0) {
      const index = this.#waiting.findIndex(({ partition }) => this.#mayTake(partition));
      if (index < 0) return;
      this.#waiting.splice(index, 1)[0]?.go();
    }
  }

  #mayTake(partition: number): boolean {
    return (this.#heldBy.get(partition) ?? 0) < this.#share || this.#free > this.#share;
  }
}
