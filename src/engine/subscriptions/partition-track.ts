import type { ViewDocument } from '../../store/documents.ts';

/** What one transaction of a partition changed, as a hint tells it. */
export interface PartitionChange {
  readonly revision: number;
  readonly ids: readonly string[];
  /** As written; only inside the process that wrote them. */
  readonly documents?: readonly ViewDocument[] | undefined;
}

/** The next thing to do for a partition, to bring subscribers to revision `upTo`. */
export type PartitionStep =
  | { readonly kind: 'changes'; readonly upTo: number; readonly changes: readonly PartitionChange[] }
  /** Hints were lost: read what changed after `after`. */
  | { readonly kind: 'range'; readonly after: number };

/** Changes of more documents than these are not kept one by one: the range of revisions is read instead, by pages. */
const WAITING_MAX_COUNT = 2_000;

/**
 * Brings the hints of one partition into the order of revisions. Hints may come late, twice, out of order or not at all;
 * a hole that is not filled after a while is a lost hint.
 */
export class PartitionTrack {
  readonly #waiting = new Map<number, PartitionChange>();
  /** Documents that those changed, and one more for each change. */
  #waitingCount = 0;
  /** Revisions of documents that were handed out before their turn, because they were read when already newer. */
  readonly #ahead = new Map<string, number>();
  #delivered: number;
  #heard: number;
  #holeSinceMs: number | undefined;

  constructor(delivered: number) {
    this.#delivered = delivered;
    this.#heard = delivered;
  }

  /** Every change up to this revision was handed to those who listen. */
  get delivered(): number {
    return this.#delivered;
  }
  /** Newest revision that is known to be written. */
  get heard(): number {
    return this.#heard;
  }

  hear(change: PartitionChange): void {
    if (change.revision <= this.#delivered) return;
    this.hearRevision(change.revision);
    // The same hint may have come without its documents before.
    if (this.#waiting.get(change.revision)?.documents !== undefined) return;
    this.#drop(change.revision);
    this.#waiting.set(change.revision, change);
    this.#waitingCount += sizeOf(change);
    if (this.#waitingCount > WAITING_MAX_COUNT) {
      this.#waiting.clear();
      this.#waitingCount = 0;
    }
  }

  /** The partition has this revision: a hint of it came, or should have. */
  hearRevision(revision: number): void {
    this.#heard = Math.max(this.#heard, revision);
  }

  /** What to do now; undefined when there is nothing, or when a hole may still fill by itself. */
  step(nowMs: number, holeWaitMs: number): PartitionStep | undefined {
    const changes: PartitionChange[] = [];
    for (let next = this.#waiting.get(this.#delivered + 1); next !== undefined; ) {
      changes.push(next);
      next = this.#waiting.get(next.revision + 1);
    }
    const last = changes.at(-1);
    if (last !== undefined) return { kind: 'changes', upTo: last.revision, changes };
    if (this.#heard === this.#delivered) return undefined;
    this.#holeSinceMs ??= nowMs;
    return nowMs - this.#holeSinceMs >= holeWaitMs ? { kind: 'range', after: this.#delivered } : undefined;
  }

  /** There is a hole that may still fill by itself. */
  get waits(): boolean {
    return this.#heard > this.#delivered;
  }

  /** False for a state of a document that was handed out already, or a newer one of it was. */
  admits(document: ViewDocument): boolean {
    const { _id: id, _revision: revision } = document;
    if (revision <= (this.#ahead.get(id) ?? this.#delivered)) return false;
    this.#ahead.set(id, revision);
    return true;
  }

  deliver(upTo: number): void {
    if (upTo <= this.#delivered) return;
    this.#delivered = upTo;
    this.#heard = Math.max(this.#heard, upTo);
    this.#holeSinceMs = undefined;
    for (const revision of this.#waiting.keys()) if (revision <= upTo) this.#drop(revision);
    for (const [id, revision] of this.#ahead) if (revision <= upTo) this.#ahead.delete(id);
  }

  #drop(revision: number): void {
    const change = this.#waiting.get(revision);
    if (change === undefined) return;
    this.#waiting.delete(revision);
    this.#waitingCount -= sizeOf(change);
  }
}

const sizeOf = ({ ids }: PartitionChange): number => ids.length + 1;
