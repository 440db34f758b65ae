import type { ViewDocument } from '../../store/documents.ts';
import type { ChangePlace } from '../../store/view-documents.ts';
import type { ViewCursor } from '../views/cursor.ts';
import { FIRST_PAGE_COUNT, nextPageCount } from '../views/page-size.ts';
import type { ViewHandle } from '../views/view-handles.ts';
import type { ViewPlan } from '../views/view-plan.ts';
import { type ListKey, listKey } from '../views/view-scan.ts';
import { movedSince } from './resume.ts';

/** What a subscription to a list begins with, page by page. */
export interface ListPages {
  /** The next documents; none: that was all. */
  read(): Promise<readonly ViewDocument[]>;
  /** The oldest page that was read and not sent is sent now. */
  sent(): void;
}

/** Documents that match, in the order of `plan`. */
export class SnapshotPages implements ListPages {
  readonly #view: ViewHandle;
  readonly #plan: ViewPlan;
  #count = FIRST_PAGE_COUNT;
  #after: ListKey | undefined;
  #done = false;

  constructor(view: ViewHandle, plan: ViewPlan) {
    this.#view = view;
    this.#plan = plan;
  }

  async read(): Promise<readonly ViewDocument[]> {
    if (this.#done) return [];
    const page = await this.#view.readSlice(this.#plan, { after: this.#after, turned: false, limit: this.#count });
    this.#done = page.length < this.#count;
    const last = page.at(-1);
    if (last !== undefined) this.#after = listKey(this.#plan.order, last);
    this.#count = nextPageCount(page, this.#count);
    return page;
  }

  /** Who is cut off in a snapshot begins anew, so nobody asks how far it was. */
  sent(): void {}
}

/** Documents and tombstones that changed after a cursor, whether they match or not, one partition after the other. */
export class MissedPages implements ListPages {
  readonly #view: ViewHandle;
  readonly #begun: readonly number[];
  readonly #revisions: number[];
  /** Where to read on in each partition that is not read to its end, in their order. */
  #places: readonly ChangePlace[];
  #count = FIRST_PAGE_COUNT;
  /** By page: what is sent once it is. */
  readonly #passing: (readonly ChangePlace[])[] = [];

  constructor(view: ViewHandle, from: ViewCursor, begun: readonly number[]) {
    this.#view = view;
    this.#begun = begun;
    this.#revisions = Array.from(begun, (_, partition) => from.revisions[partition] ?? 0);
    this.#places = movedSince(from.revisions, begun).map((partition) => ({
      partition,
      revision: this.#revisions[partition] ?? 0,
    }));
  }

  /** By partition: every change up to these was sent. */
  get revisions(): readonly number[] {
    return this.#revisions;
  }

  async read(): Promise<readonly ViewDocument[]> {
    if (this.#places.length === 0) return [];
    const page = await this.#view.readChanges(this.#places, this.#count);
    const last = page.length < this.#count ? undefined : page.at(-1);
    const at = this.#places.findIndex(({ partition }) => partition === last?._partition);
    const ended = at === -1 ? this.#places : this.#places.slice(0, at);
    const passing = ended.map(({ partition }) => ({ partition, revision: this.#upTo(partition) }));
    this.#places = at === -1 ? [] : this.#places.slice(at);
    if (last !== undefined) {
      const { _partition: partition, _revision: revision, _id: id } = last;
      // What is newer than `begun` is heard of. Others of the same revision may come on the next page.
      const over = revision > this.#upTo(partition);
      passing.push({ partition, revision: over ? this.#upTo(partition) : revision - 1 });
      const others = this.#places.slice(1);
      this.#places = over ? others : [{ partition, revision, id }, ...others];
    }
    this.#count = nextPageCount(page, this.#count);
    this.#passing.push(passing);
    return page;
  }

  sent(): void {
    for (const { partition, revision } of this.#passing.shift() ?? []) {
      this.#revisions[partition] = Math.max(this.#revisions[partition] ?? 0, revision);
    }
  }

  #upTo(partition: number): number {
    return this.#begun[partition] ?? 0;
  }
}

const IDS_PER_READ = 1_000;

/** Ids and marks of all documents that match. */
export async function eachMatching(
  view: ViewHandle,
  plan: ViewPlan,
  tell: (document: ViewDocument) => void,
  isStopped: () => boolean,
): Promise<void> {
  let after: ListKey | undefined;
  for (let full = true; full && !isStopped(); ) {
    const page = await view.readSlice(plan, { after, turned: false, limit: IDS_PER_READ, keysOnly: true });
    for (const document of page) tell(document);
    const last = page.at(-1);
    if (last !== undefined) after = listKey(plan.order, last);
    full = page.length === IDS_PER_READ;
  }
}
