import type { ViewDocument } from '../store/documents.ts';
import type { ViewChange } from './contract.ts';
import { encodeViewCursor } from './cursor.ts';
import type { PullSource } from './pull-stream.ts';
import type { FeedLease } from './view-feed.ts';
import { type CheckedFilter, matches } from './view-filter.ts';
import type { ViewPlan } from './view-plan.ts';
import { type ListKey, listKey } from './view-scan.ts';
import { type CursorKeeper, changeOf, createCursorKeeper, type WatchDeps } from './watch-document.ts';

const SNAPSHOT_PAGE_COUNT = 200;
/** Beyond so many changed documents a slow subscriber keeps only their ids, and reads them when it gets there. */
const KEPT_MAX_COUNT = 1_000;
const REREAD_COUNT = 100;

/** A document that changed and was not sent yet; its state in between is gone. */
interface Pending {
  readonly revision: number;
  readonly partition: number;
  readonly document: ViewDocument | undefined;
}

/**
 * A SNAPSHOT for each matching document, CAUGHT_UP, then UPDATE and REMOVED (removed, or no longer matching). It listens
 * first and reads the snapshot then, by pages of `plan`. What changes meanwhile waits, by document, and comes after
 * CAUGHT_UP. Holds one page, the ids that were sent, and the newest state of documents that changed and were not sent.
 */
export class ListSource implements PullSource<ViewChange> {
  readonly #deps: WatchDeps;
  readonly #plan: ViewPlan;
  readonly #filter: CheckedFilter;
  readonly #wake: () => void;
  /** Revision of each document that the subscriber has. */
  readonly #sent = new Map<string, number>();
  readonly #pending = new Map<string, Pending>();
  #keptCount = 0;
  #phase: 'new' | 'snapshot' | 'live' = 'new';
  #stopped = false;
  #lease: FeedLease | undefined;
  #unlisten: (() => void) | undefined;
  #begun: readonly number[] = [];
  #cursor: CursorKeeper | undefined;
  /** Cursor of what was sent completely. */
  #safe: string;
  #page: ViewDocument[] = [];
  #after: ListKey | undefined;
  #lastPage = false;

  constructor(deps: WatchDeps, plan: ViewPlan, wake: () => void) {
    this.#deps = deps;
    this.#plan = plan;
    this.#filter = plan.filter;
    this.#wake = wake;
    // Until CAUGHT_UP nothing can be relied on: who comes back with this cursor starts from the beginning.
    this.#safe = encodeViewCursor({ logId: deps.logId, ...deps.view.build, revisions: [] });
  }

  async take(): Promise<ViewChange | undefined> {
    if (this.#phase === 'new') await this.#open();
    if (this.#phase === 'snapshot') return this.#takeSnapshot();
    return this.#phase === 'live' ? this.#takeChange() : undefined;
  }

  stop(): void {
    this.#stopped = true;
    this.#unlisten?.();
    this.#lease?.release();
    this.#sent.clear();
    this.#pending.clear();
  }

  async #open(): Promise<void> {
    this.#lease = await this.#deps.feed.acquire();
    if (this.#stopped) {
      this.#lease.release();
      return;
    }
    const { run } = this.#lease;
    this.#unlisten = run.audience.addList(this.#filter, (document, matched) => this.#note(document, matched));
    this.#begun = await run.confirm();
    this.#cursor = createCursorKeeper(this.#deps, run, this.#begun);
    this.#phase = 'snapshot';
  }

  #note(document: ViewDocument, matched: boolean): void {
    const { _id: id, _revision: revision, _partition: partition } = document;
    // While the snapshot is read, an older state may still be on its way: only then others have to be remembered.
    if (matched || this.#sent.has(id) || this.#phase !== 'live') {
      this.#forget(id);
      const keep = this.#keptCount < KEPT_MAX_COUNT;
      if (keep) this.#keptCount++;
      this.#pending.set(id, { revision, partition, document: keep ? document : undefined });
    } else this.#forget(id);
    if (this.#phase === 'live') this.#wake();
  }

  #forget(id: string): void {
    if (this.#pending.get(id)?.document !== undefined) this.#keptCount--;
    this.#pending.delete(id);
  }

  async #takeSnapshot(): Promise<ViewChange | undefined> {
    while (!this.#stopped) {
      const document = this.#page.shift();
      if (document === undefined) {
        if (this.#lastPage) return this.#caughtUp();
        await this.#readPage();
        continue;
      }
      const newest = this.#newestOf(document);
      if (newest === undefined) continue;
      this.#sent.set(newest._id, newest._revision);
      return changeOf('SNAPSHOT', newest, 0, this.#safe);
    }
    return undefined;
  }

  /** What to send for a document of the snapshot; undefined when it was sent or does not match any more. */
  #newestOf(document: ViewDocument): ViewDocument | undefined {
    // A document that moves in the index while it is walked may be met twice.
    if ((this.#sent.get(document._id) ?? 0) >= document._revision) return undefined;
    const changed = this.#pending.get(document._id)?.document;
    if (changed === undefined || changed._revision <= document._revision) return document;
    if (changed._deleted !== undefined || !matches(this.#filter, changed)) return undefined;
    this.#forget(document._id);
    return changed;
  }

  async #readPage(): Promise<void> {
    const slice = { after: this.#after, turned: false, limit: SNAPSHOT_PAGE_COUNT };
    const page = await this.#deps.view.readSlice(this.#plan, slice);
    const last = page.at(-1);
    if (last !== undefined) this.#after = listKey(this.#plan.order, last);
    this.#lastPage = page.length < SNAPSHOT_PAGE_COUNT;
    this.#page = [...page];
  }

  #caughtUp(): ViewChange {
    this.#phase = 'live';
    this.#safe = this.#cursor?.begin() ?? this.#safe;
    return { signal: 'CAUGHT_UP', cursor: this.#safe, id: null, node: null, origins: [] };
  }

  async #takeChange(): Promise<ViewChange | undefined> {
    while (!this.#stopped) {
      const [entry] = this.#pending;
      if (entry === undefined) return undefined;
      const [id, pending] = entry;
      if (pending.document === undefined) {
        await this.#reread();
        continue;
      }
      this.#forget(id);
      const change = this.#changeOf(pending.document);
      if (this.#pending.size === 0) this.#safe = this.#cursor?.current() ?? this.#safe;
      if (change !== undefined) return { ...change, cursor: this.#safe };
    }
    return undefined;
  }

  #changeOf(document: ViewDocument): ViewChange | undefined {
    const { _id: id, _revision: revision } = document;
    const sent = this.#sent.get(id);
    if (revision <= (sent ?? 0)) return undefined;
    const matched = document._deleted === undefined && matches(this.#filter, document);
    const seen = sent ?? this.#begun[document._partition] ?? 0;
    if (matched) {
      this.#sent.set(id, revision);
      return changeOf('UPDATE', document, seen, this.#safe);
    }
    return this.#sent.delete(id) ? changeOf('REMOVED', document, seen, this.#safe) : undefined;
  }

  /** Reads documents whose ids only were kept. One that was removed and forgotten since counts as removed. */
  async #reread(): Promise<void> {
    if (this.#lease === undefined) return;
    const asked = [...this.#pending].filter(([, { document }]) => document === undefined).slice(0, REREAD_COUNT);
    const wanted = new Map(asked.map(([id, { revision }]) => [id, revision]));
    const read = await this.#lease.run.readAtLeast(wanted);
    const found = new Map(read.map((document) => [document._id, document]));
    for (const [id, { revision, partition }] of asked) {
      const now = this.#pending.get(id);
      if (now === undefined || now.document !== undefined) continue;
      const gone = { _id: id, _partition: partition, _revision: revision, _deleted: new Date(), _origins: [] };
      const document = found.get(id) ?? { ...gone, _position: 0, _version: 0 };
      // It changed once more while it was read.
      if (document._revision < now.revision) continue;
      this.#pending.set(id, { ...now, document });
      this.#keptCount++;
    }
  }
}
