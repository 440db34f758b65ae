import type { ViewDocument } from '../../store/documents.ts';
import type { GapReason, ViewChange } from '../contract/runtime.ts';
import { listScope, type ViewCursor } from '../views/cursor.ts';
import { type CheckedFilter, matches } from '../views/view-filter.ts';
import { eachMatching, MissedPages, SnapshotPages } from './list-pages.ts';
import { holds } from './resume.ts';
import { changeOf, type Opened, openWatch, signalOf, type WatchDeps, type WatchSource } from './watch-view.ts';

/** Beyond so many changed documents a slow subscriber keeps only their ids, and reads them when it gets there. */
const KEPT_MAX_COUNT = 1_000;
const REREAD_COUNT = 100;

/** A document that changed and was not sent yet; its state in between is gone. */
interface Pending {
  readonly revision: number;
  readonly partition: number;
  readonly document: ViewDocument | undefined;
  /** The subscriber may have it from before, though it was not sent here. */
  readonly mayHave: boolean;
}

/**
 * A SNAPSHOT for each matching document, CAUGHT_UP, then UPDATE and REMOVED (removed, or no longer matching). After a
 * cursor: UPDATE and REMOVED for what was missed, CAUGHT_UP, and so on; if it does not fit, GAP first and then as if
 * without. It listens first and reads then, by pages. What changes meanwhile waits, by document, and comes after
 * CAUGHT_UP. Holds one page (two of what was missed), the ids that were sent, and the newest state of documents that changed and were not sent.
 */
export class ListSource implements WatchSource {
  readonly #deps: WatchDeps;
  readonly #filter: CheckedFilter;
  readonly #wake: () => void;
  readonly #scope: string;
  #after: ViewCursor | undefined;
  #restart: GapReason | undefined;
  #stopped = false;
  #opened: Opened | undefined;
  #phase: 'new' | 'snapshot' | 'missed' | 'live' = 'new';
  /** Revision of each document that the subscriber has. */
  readonly #sent = new Map<string, number>();
  readonly #pending = new Map<string, Pending>();
  #keptCount = 0;
  #pages: SnapshotPages | MissedPages | undefined;
  #page: ViewDocument[] = [];
  /** The page after it, of what was missed: read while this one is sent. */
  #ahead: Promise<readonly ViewDocument[]> | undefined;
  /** After a cursor, of a filtered list: the ids that match are being read. */
  #matching: Promise<void> | undefined;
  /** Cursor of what was sent completely. */
  #safe = '';
  /** After a cursor: once the feed has told these, `#sent` has all that the subscriber has. */
  #knownFrom: readonly number[] | undefined;
  #allKnown = true;

  constructor(deps: WatchDeps, filter: CheckedFilter, after: ViewCursor | undefined, wake: () => void) {
    this.#deps = deps;
    this.#filter = filter;
    this.#scope = listScope(filter);
    this.#after = after;
    this.#wake = wake;
  }

  async take(): Promise<ViewChange | undefined> {
    for (;;) {
      if (this.#restart !== undefined) this.#close();
      try {
        if (this.#phase === 'new') {
          const gap = await this.#begin();
          if (gap !== undefined) return gap;
        }
        if (this.#phase === 'snapshot' || this.#phase === 'missed') return await this.#takePaged();
        return this.#phase === 'live' ? await this.#takeChange() : undefined;
      } catch (error) {
        // What it was reading is not served any more.
        if (this.#restart === undefined || this.#stopped) throw error;
      }
    }
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
    this.#phase = 'new';
    this.#sent.clear();
    this.#pending.clear();
    this.#keptCount = 0;
    this.#page = [];
    this.#pages = undefined;
    this.#ahead = undefined;
    this.#matching = undefined;
    this.#knownFrom = undefined;
    this.#allKnown = true;
  }

  /** Gives GAP where the subscriber has to drop what it has. */
  async #begin(): Promise<ViewChange | undefined> {
    const reason = this.#restart;
    this.#restart = undefined;
    const asked = { scope: this.#scope, after: reason === undefined ? this.#after : undefined, gap: reason };
    // What is heard from here on may be of documents that it has from before its cursor.
    this.#allKnown = asked.after === undefined;
    const listen: Parameters<typeof openWatch>[2] = ({ audience }) =>
      audience.addList(this.#filter, (document, matched) => this.#note(document, matched));
    const opened = await openWatch(this.#deps, asked, listen, () => this.#stopped);
    if (opened === undefined) return undefined;
    if (this.#stopped) {
      opened.close();
      return undefined;
    }
    this.#opened = opened;
    const { view, cursors, from, gap, begun } = opened;
    // Another build may have other indexes.
    const plan = view.plan(this.#filter);
    for (const [id, { revision, partition }] of this.#pending) {
      if (revision <= (begun[partition] ?? 0)) this.#forget(id);
    }
    if (from === undefined) {
      this.#allKnown = true;
      this.#pages = new SnapshotPages(view, plan);
      this.#safe = cursors.incomplete();
      this.#phase = 'snapshot';
    } else {
      if (this.#filter.length > 0) {
        const isOver = (): boolean => this.#opened !== opened;
        this.#matching = eachMatching(view, plan, (one) => isOver() || this.#has(one, from), isOver);
        this.#matching.catch(() => undefined);
      }
      this.#pages = new MissedPages(view, from, begun);
      this.#safe = cursors.underWay(from.revisions, from.issuedAtS);
      this.#phase = 'missed';
    }
    this.#after = undefined;
    return gap === undefined ? undefined : signalOf('GAP', this.#safe, gap);
  }

  /** It matches now: the subscriber has it as it was at its cursor, or gets it as missed. */
  #has({ _id, _partition }: ViewDocument, from: ViewCursor): void {
    if (!this.#sent.has(_id)) this.#sent.set(_id, from.revisions[_partition] ?? 0);
  }

  /** Whether the subscriber may have documents that are not in `#sent`. */
  #mayHaveOthers(): boolean {
    if (this.#allKnown) return false;
    if (this.#filter.length > 0 && this.#knownFrom !== undefined && this.#opened !== undefined) {
      this.#allKnown = holds(this.#opened.run.revisions(), this.#knownFrom);
    }
    return !this.#allKnown;
  }

  #note(document: ViewDocument, matched: boolean): void {
    const { _id: id, _revision: revision, _partition: partition } = document;
    // What is read has it, or something newer.
    if (revision <= (this.#opened?.begun[partition] ?? 0)) return;
    const mayHave = (this.#pending.get(id)?.mayHave ?? false) || this.#mayHaveOthers();
    // While pages are read, an older state may still be on its way: only then others have to be remembered.
    if (matched || mayHave || this.#sent.has(id) || this.#phase !== 'live') {
      if (this.#pending.get(id)?.document !== undefined) this.#keptCount--;
      const keep = this.#keptCount < KEPT_MAX_COUNT;
      if (keep) this.#keptCount++;
      // It keeps its place: one that changes all the time is sent to a slow subscriber too.
      this.#pending.set(id, { revision, partition, document: keep ? document : undefined, mayHave });
    } else this.#forget(id);
    if (this.#phase === 'live') this.#wake();
  }

  #forget(id: string): void {
    if (this.#pending.get(id)?.document !== undefined) this.#keptCount--;
    this.#pending.delete(id);
  }

  async #takePaged(): Promise<ViewChange | undefined> {
    const [opened, pages] = [this.#opened, this.#pages];
    while (!this.#stopped && opened !== undefined && pages !== undefined) {
      const document = this.#page.shift();
      if (document === undefined) {
        pages.sent();
        this.#page = [...(await (this.#ahead ?? pages.read()))];
        if (this.#page.length === 0) return this.#caughtUp(opened);
        const { cursors, from } = opened;
        if (pages instanceof MissedPages && from !== undefined) {
          this.#safe = cursors.underWay(pages.revisions, from.issuedAtS);
          this.#ahead = pages.read();
          this.#ahead.catch(() => undefined);
        }
        continue;
      }
      const change = this.#phase === 'snapshot' ? this.#snapshotOf(document) : this.#missedOf(document);
      if (change !== undefined) return change;
    }
    return undefined;
  }

  /** Undefined when it was sent, or does not match any more. */
  #snapshotOf(document: ViewDocument): ViewChange | undefined {
    // A document that moves in the index while it is walked may be met twice.
    if ((this.#sent.get(document._id) ?? 0) >= document._revision) return undefined;
    const newest = this.#newestOf(document);
    if (newest._deleted !== undefined || !matches(this.#filter, newest)) return undefined;
    if (newest !== document) this.#forget(newest._id);
    this.#sent.set(newest._id, newest._revision);
    return changeOf('SNAPSHOT', newest, 0, this.#safe);
  }

  /** Undefined when it was sent. One that does not match is told as removed: the subscriber may have had it. */
  #missedOf(document: ViewDocument): ViewChange | undefined {
    const newest = this.#newestOf(document);
    if (newest !== document) this.#forget(newest._id);
    return this.#changeOf(newest, true);
  }

  #newestOf(document: ViewDocument): ViewDocument {
    const changed = this.#pending.get(document._id)?.document;
    return changed === undefined || changed._revision <= document._revision ? document : changed;
  }

  async #caughtUp({ run, cursors }: Opened): Promise<ViewChange | undefined> {
    // Documents that moved on while pages and ids were read are on none of them: they are heard of until then.
    await this.#matching;
    if (!this.#allKnown && this.#filter.length > 0) this.#knownFrom = await run.confirm();
    if (this.#stopped) return undefined;
    this.#phase = 'live';
    this.#pages = undefined;
    this.#safe = cursors.begin();
    return signalOf('CAUGHT_UP', this.#safe);
  }

  async #takeChange(): Promise<ViewChange | undefined> {
    while (!this.#stopped && this.#opened !== undefined) {
      const [entry] = this.#pending;
      if (entry === undefined) return undefined;
      const [id, pending] = entry;
      if (pending.document === undefined) {
        await this.#reread(this.#opened);
        continue;
      }
      this.#forget(id);
      if (this.#pending.size === 0) this.#safe = this.#opened.cursors.current();
      const change = this.#changeOf(pending.document, pending.mayHave);
      if (change !== undefined) return change;
    }
    return undefined;
  }

  #changeOf(document: ViewDocument, mayHave: boolean): ViewChange | undefined {
    const { _id: id, _revision: revision, _partition: partition } = document;
    const sent = this.#sent.get(id);
    if (revision <= (sent ?? 0)) return undefined;
    const { from, begun } = this.#opened ?? {};
    const seen = sent ?? (from?.revisions ?? begun)?.[partition] ?? 0;
    if (document._deleted === undefined && matches(this.#filter, document)) {
      this.#sent.set(id, revision);
      return changeOf('UPDATE', document, seen, this.#safe);
    }
    return this.#sent.delete(id) || mayHave ? changeOf('REMOVED', document, seen, this.#safe) : undefined;
  }

  /** Reads documents whose ids only were kept. One that was removed and forgotten since counts as removed. */
  async #reread({ run }: Opened): Promise<void> {
    const asked = [...this.#pending].filter(([, { document }]) => document === undefined).slice(0, REREAD_COUNT);
    const wanted = new Map(asked.map(([id, { revision }]) => [id, revision]));
    const read = await run.readAtLeast(wanted);
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
