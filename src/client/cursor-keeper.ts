/** Where cursors outlive a page; `localStorage`, or anything like it, also one that answers later. */
export interface CursorStorage {
  getItem(key: string): string | null | undefined | Promise<string | null | undefined>;
  setItem(key: string, value: string): unknown;
  removeItem(key: string): unknown;
}

/**
 * The newest cursor of a subscription: in memory, and in a storage where it has a key there. A storage that fails
 * (quota, private mode) is passed over: then the cursor lives as long as the page.
 */
export class CursorKeeper {
  readonly #storage: CursorStorage | undefined;
  readonly #key: string | undefined;
  #cursor: string | undefined;
  #writing = false;
  #unwritten = false;

  constructor(storage: CursorStorage | undefined, key: string | undefined) {
    this.#storage = key === undefined ? undefined : storage;
    this.#key = key === undefined ? undefined : `millrace:${key}`;
  }

  get cursor(): string | undefined {
    return this.#cursor;
  }

  /** Takes what an earlier page left. */
  async load(): Promise<void> {
    if (this.#storage === undefined || this.#key === undefined) return;
    try {
      this.#cursor = (await this.#storage.getItem(this.#key)) ?? undefined;
    } catch {
      // As if there were none.
    }
  }

  /** `undefined` forgets. */
  keep(cursor: string | undefined): void {
    if (cursor === this.#cursor) return;
    this.#cursor = cursor;
    this.#unwritten = true;
    if (this.#storage !== undefined && !this.#writing) void this.#write();
  }

  /** One write at a time, and only the newest: a slow storage cannot put an older cursor over a newer one. */
  async #write(): Promise<void> {
    this.#writing = true;
    while (this.#unwritten) {
      this.#unwritten = false;
      try {
        if (this.#cursor === undefined) await this.#storage?.removeItem(this.#key ?? '');
        else await this.#storage?.setItem(this.#key ?? '', this.#cursor);
      } catch {
        // See above.
      }
    }
    this.#writing = false;
  }
}
