/** The newest placed version of streams met lately; the longest unused are forgotten. */
export class RecentStreams {
  readonly #versions = new Map<string, number>();
  readonly #maxCount: number;

  constructor(maxCount = 50_000) {
    this.#maxCount = maxCount;
  }

  get(stream: string): number | undefined {
    return this.#versions.get(stream);
  }

  set(stream: string, version: number): void {
    this.#versions.delete(stream);
    this.#versions.set(stream, version);
    if (this.#versions.size <= this.#maxCount) return;
    for (const oldest of this.#versions.keys()) {
      this.#versions.delete(oldest);
      return;
    }
  }

  /** Like `set`, and never back. */
  raise(stream: string, version: number): void {
    this.set(stream, Math.max(version, this.get(stream) ?? 0));
  }

  delete(stream: string): void {
    this.#versions.delete(stream);
  }
}
