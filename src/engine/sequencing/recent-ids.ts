/** Remembers at least the last `count` ids, at most twice as many. */
export class RecentIds {
  readonly #count: number;
  #young = new Set<string>();
  #old = new Set<string>();

  constructor(count: number) {
    this.#count = count;
  }

  add(id: string): void {
    this.#young.add(id);
    if (this.#young.size < this.#count) return;
    this.#old = this.#young;
    this.#young = new Set();
  }

  has(id: string): boolean {
    return this.#young.has(id) || this.#old.has(id);
  }
}
