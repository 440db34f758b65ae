import type { ViewDocument } from '../../store/documents.ts';
import { type CheckedFilter, filterKey, matches } from '../views/view-filter.ts';

/** Takes a newer state of a document (tombstones too) and whether it matches the list's filter. Must not throw. */
export type DocumentListener = (document: ViewDocument, matched: boolean) => void;

/** Who wants to hear of which documents. A filter that several lists have is evaluated once a document. */
export class ViewAudience {
  readonly #byId = new Map<string, Set<DocumentListener>>();
  readonly #lists = new Map<string, { readonly filter: CheckedFilter; readonly listeners: Set<DocumentListener> }>();

  addDocument(id: string, listener: DocumentListener): () => void {
    const listeners = this.#byId.get(id) ?? new Set();
    this.#byId.set(id, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#byId.get(id) === listeners) this.#byId.delete(id);
    };
  }

  addList(filter: CheckedFilter, listener: DocumentListener): () => void {
    const key = filterKey(filter);
    const list = this.#lists.get(key) ?? { filter, listeners: new Set() };
    list.listeners.add(listener);
    this.#lists.set(key, list);
    return () => {
      list.listeners.delete(listener);
      if (list.listeners.size === 0 && this.#lists.get(key) === list) this.#lists.delete(key);
    };
  }

  wants(id: string): boolean {
    return this.#lists.size > 0 || this.#byId.has(id);
  }

  /** Ids that are wanted; undefined when all are. */
  wantedIds(): readonly string[] | undefined {
    return this.#lists.size > 0 ? undefined : [...this.#byId.keys()];
  }

  tell(document: ViewDocument): void {
    for (const listener of this.#byId.get(document._id) ?? []) listener(document, true);
    for (const { filter, listeners } of this.#lists.values()) {
      const matched = document._deleted === undefined && matches(filter, document);
      for (const listener of listeners) listener(document, matched);
    }
  }

  /** Number of listeners. */
  get size(): number {
    const sets = [...this.#byId.values(), ...[...this.#lists.values()].map(({ listeners }) => listeners)];
    return sets.reduce((sum, { size }) => sum + size, 0);
  }
}
