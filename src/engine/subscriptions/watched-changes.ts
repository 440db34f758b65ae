import type { GapReason, Signal, ViewChange } from '../contract/runtime.ts';

/** One change of a view document. */
export interface WatchedChange<D> {
  readonly signal: Signal;
  /** Undefined when there is no such document (any more). */
  readonly document: D | undefined;
  /** Only rises. */
  readonly version: number | undefined;
  /** `watch` with this as `after` goes on from here, in any process. */
  readonly cursor: string;
  /** Set when `signal` is GAP: a snapshot follows. */
  readonly gap: GapReason | null;
  readonly origins: readonly string[];
}

export interface WatchOptions {
  /** Cursor of the last change that came of the same document. */
  readonly after?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Not a generator: one that waits for its next change cannot be returned. */
export function watchedChanges<D>(
  changes: AsyncIterable<ViewChange>,
): AsyncIterableIterator<WatchedChange<D>, undefined> {
  const inner = changes[Symbol.asyncIterator]();
  const end = { done: true, value: undefined } as const;
  return {
    async next() {
      const result = await inner.next();
      if (result.done === true) return end;
      const { signal, node, origins, cursor, gap } = result.value;
      const document = node?.document as D | undefined;
      return { done: false, value: { signal, document, version: node?.version, origins, cursor, gap } };
    },
    async return() {
      await inner.return?.();
      return end;
    },
    async throw(error: unknown) {
      await inner.return?.();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
