import type { ViewDocument } from '../../store/documents.ts';
import type { GapReason, ViewChange } from '../contract/runtime.ts';
import { documentScope, type ViewCursor } from '../views/cursor.ts';
import { changeOf, type Opened, openWatch, signalOf, type WatchDeps, type WatchSource } from './watch-view.ts';

/**
 * SNAPSHOT (node null when the document does not exist), then UPDATE and REMOVED. After a cursor: UPDATE or REMOVED if
 * there was any change, CAUGHT_UP, and so on; GAP, SNAPSHOT and CAUGHT_UP if the cursor does not fit. States that were
 * sent, or that the cursor holds, are dropped. Holds one document at most.
 */
export class DocumentSource implements WatchSource {
  readonly #deps: WatchDeps;
  readonly #id: string;
  readonly #wake: () => void;
  readonly #scope: string;
  #after: ViewCursor | undefined;
  #opened: Opened | undefined;
  #restart: GapReason | undefined;
  #stopped = false;
  /** What it begins with, in order. */
  #first: ViewChange[] = [];
  /** Revision of the state that the subscriber has. */
  #seen = 0;
  #newest: ViewDocument | undefined;

  constructor(deps: WatchDeps, id: string, after: ViewCursor | undefined, wake: () => void) {
    this.#deps = deps;
    this.#id = id;
    this.#scope = documentScope(id);
    this.#after = after;
    this.#wake = wake;
  }

  take(): Promise<ViewChange | undefined> | ViewChange | undefined {
    if (this.#opened === undefined || this.#restart !== undefined) return this.#begin();
    const first = this.#first.shift();
    if (first !== undefined) return first;
    const document = this.#newest;
    this.#newest = undefined;
    if (document === undefined || document._revision <= this.#seen) return undefined;
    const before = this.#seen;
    this.#seen = document._revision;
    const signal = document._deleted === undefined ? 'UPDATE' : 'REMOVED';
    return changeOf(signal, document, before, this.#opened.cursors.current());
  }

  restart(reason: GapReason): void {
    this.#restart = reason;
    this.#wake();
  }

  stop(): void {
    this.#stopped = true;
    this.#close();
  }

  #close(): void {
    this.#opened?.close();
    this.#opened = undefined;
    this.#first = [];
    this.#newest = undefined;
  }

  async #begin(): Promise<ViewChange | undefined> {
    for (;;) {
      const gap = this.#restart;
      this.#restart = undefined;
      this.#close();
      try {
        return await this.#open(gap);
      } catch (error) {
        // What it was reading is not served any more.
        if (this.#restart === undefined || this.#stopped) throw error;
      }
    }
  }

  async #open(reason: GapReason | undefined): Promise<ViewChange | undefined> {
    const after = reason === undefined ? this.#after : undefined;
    const listen: Parameters<typeof openWatch>[2] = ({ audience }) =>
      audience.addDocument(this.#id, (document) => {
        this.#newest = document;
        this.#wake();
      });
    const asked = { scope: this.#scope, after, gap: reason };
    const opened = await openWatch(this.#deps, asked, listen, () => this.#stopped);
    if (opened === undefined) return undefined;
    if (this.#stopped) {
      opened.close();
      return undefined;
    }
    this.#opened = opened;
    const document = await opened.view.read(this.#id);
    this.#after = undefined;
    this.#first = this.#messages(opened, document);
    return this.#first.shift();
  }

  #messages({ cursors, from, gap }: Opened, document: ViewDocument | undefined): ViewChange[] {
    const cursor = cursors.begin();
    const known = document === undefined ? 0 : (from?.revisions[document._partition] ?? 0);
    this.#seen = Math.max(known, document?._revision ?? 0);
    const caughtUp = signalOf('CAUGHT_UP', cursor);
    if (from === undefined) {
      const told = changeOf('SNAPSHOT', document, 0, cursor);
      const snapshot = document === undefined ? { ...told, id: this.#id } : told;
      return gap === undefined ? [snapshot] : [signalOf('GAP', cursors.incomplete(), gap), snapshot, caughtUp];
    }
    if (document === undefined || document._revision <= known) return [caughtUp];
    const signal = document._deleted === undefined ? 'UPDATE' : 'REMOVED';
    return [changeOf(signal, document, known, cursor), caughtUp];
  }
}
