import type { BlockedKey } from '../../store/dead-letters.ts';
import type { PartitionFailure, PartitionReading, PartitionRef } from '../../store/partitions.ts';
import { DocumentCache } from './document-cache.ts';
import type { PendingErrand } from './errand-run.ts';

/** An event that could not be written, though its handler ran. */
export interface Poison {
  readonly position: number;
  readonly error: unknown;
}

/** One partition as this process knows it, with what it has handled and not yet written. */
export class PartitionHead {
  readonly ref: PartitionRef;
  readonly documents: DocumentCache;
  /** As the database is, or will be once everything handed to the pipeline is written. Undefined: read it first. */
  tip: { readonly checkpoint: number; readonly revision: number } | undefined;
  /** No event of this partition is unhandled up to here; at or after `tip.checkpoint`. */
  scanned = 0;
  committedRevision = 0;
  /** Keys that have a dead letter, as of the tip: their events are parked. */
  readonly blocked = new Map<string, BlockedKey>();
  /** Where there is a route: the document that a key leads to, null for none. As valid as the documents. */
  readonly leads = new Map<string, string | null>();
  /** Documents that a handler asked for and that were not in memory: to be read before it runs again. */
  readonly wanted = new Set<string>();
  /** Wait for their turn. */
  readonly errands: PendingErrand[] = [];
  /** Errands are under way: nobody else moves it here. */
  busy = false;
  /** Its consumer was paused when it was last looked at. */
  paused = false;
  failure: PartitionFailure | undefined;
  /** No attempt at that failure in this process before this time (performance.now()). */
  retryAtMs = 0;
  /** There may be news. */
  dirty = false;
  /** Handlers are at work for it, and have been told nothing of yet. */
  working = false;
  /** Left to others: it does not go on by itself until it is woken again. */
  released = false;
  /** The partition may have been moved by others since it was last looked at. */
  doubted = true;
  /** Batches of the pipeline that it is part of. */
  queuedCount = 0;
  /** When it last handled an event here (performance.now()). */
  handledAtMs = -Infinity;
  /** Not before this time (performance.now()). */
  notBeforeMs = 0;
  /** Transactions in a row that met another one at work on the same documents. */
  conflictCount = 0;
  /** One event a batch up to this position: one of them cannot be written. */
  carefulUntil = 0;
  poison: Poison | undefined;
  /** A few events a batch up to this position, marked before they are handled: one of them may kill its process. */
  watchedUntil = 0;
  /** The last of those that are marked. */
  markedUntil = 0;
  /** As the database has it. */
  mark: PartitionReading['mark'];
  /** Changes whenever what was known is thrown away. */
  epoch = 0;
  readonly waiters: (() => void)[] = [];

  constructor(ref: PartitionRef, cacheMaxBytes: number) {
    this.ref = ref;
    this.documents = new DocumentCache(cacheMaxBytes);
  }

  /** What it knows of its documents and blocked keys goes on from another revision than this. */
  brokenAt(revision: number): boolean {
    return this.tip?.revision !== revision;
  }

  /**
   * Takes over what the database says. Documents and blocked keys stay valid while the revision is unbroken; `blocked` counts
   * only when it is broken.
   */
  learn({ checkpoint, revision, failure, paused }: PartitionReading, blocked: readonly BlockedKey[] = []): void {
    this.doubted = false;
    this.paused = paused;
    if (this.tip?.revision === revision && this.tip.checkpoint === checkpoint) return;
    if (this.tip?.revision !== revision) {
      this.documents.clear();
      this.leads.clear();
      this.blocked.clear();
      for (const key of blocked) this.blocked.set(key.key, key);
      this.epoch++;
      this.scanned = checkpoint;
    }
    this.tip = { checkpoint, revision };
    this.scanned = Math.max(this.scanned, checkpoint);
    this.committedRevision = revision;
    // One that this process has not met is tried at once.
    if (failure?.position !== this.failure?.position) this.retryAtMs = 0;
    this.failure = failure;
  }

  /** What was handled may not have been written: begin again from the database. */
  forget(): void {
    this.tip = undefined;
    this.documents.clear();
    this.leads.clear();
    this.blocked.clear();
    this.epoch++;
    this.doubted = true;
    this.queuedCount = 0;
    this.failure = undefined;
  }

  /** It failed here, and it is too early for the next attempt. */
  get resting(): boolean {
    return this.failure !== undefined && this.retryAtMs > performance.now();
  }

  /** Nothing is to be handled here for now. */
  get idle(): boolean {
    return this.resting || this.paused;
  }

  /** Its next event is handled with care. */
  get isWatched(): boolean {
    return this.watchedUntil > this.scanned;
  }

  /** Errands can begin: nothing is on its way to the database. */
  get canRunErrands(): boolean {
    return this.errands.length > 0 && this.queuedCount === 0;
  }

  /** Answers those who wait for it to be level or at rest. */
  settle(): void {
    if (this.dirty || this.queuedCount > 0 || this.busy) return;
    for (const waiter of this.waiters.splice(0)) waiter();
  }
}
