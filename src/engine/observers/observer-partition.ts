import { setMaxListeners } from 'node:events';
import type { Learned } from '../partitions/learn-partitions.ts';
import type { PartitionHead } from '../partitions/partition-head.ts';
import type { Stuck } from '../partitions/stretch.ts';
import { type TaskOutcome, TaskWindow } from './task-window.ts';

/** Events of one partition that are in hand: what a killed process does again, at most. */
const WINDOW_MAX_COUNT = 32;

/** A partition of an observer in this process: its events in hand, and what was handed over to be written. */
export class ObserverPartition {
  readonly head: PartitionHead;
  readonly window = new TaskWindow(WINDOW_MAX_COUNT);
  /** The log was looked through up to here: its events are in hand or written. */
  scanned = 0;
  /** Where reading stopped: the keys of an event cannot be told. */
  stuck: Stuck | undefined;
  /** The database was at least here. */
  #floor = 0;
  /** Taken from the window, and not known to be written. */
  #handedOver: { readonly revision: number; readonly outcomes: readonly TaskOutcome[] }[] = [];
  #abort = newAbort();
  #wait = newAbort();

  constructor(head: PartitionHead) {
    this.head = head;
  }

  get ref(): PartitionHead['ref'] {
    return this.head.ref;
  }
  /** Aborts what runs when the partition is lost to others or the process stops. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }
  /** Aborts what only waits for its turn. */
  get waitSignal(): AbortSignal {
    return this.#wait.signal;
  }
  readonly isBlocked = (key: string): boolean => this.head.blocked.has(key);

  /** Nothing is in hand and there is nothing more to read. */
  isLevel(end: number): boolean {
    return this.window.size === 0 && this.scanned >= end;
  }

  /** Processes died at what is in hand: one event at a time. */
  get isWatched(): boolean {
    return this.head.watchedUntil > this.reached;
  }
  /** How many more events may be taken in hand. */
  get room(): number {
    return this.isWatched ? Math.min(1, this.window.room) : this.window.room;
  }

  /** More of the log fits. */
  wants(end: number): boolean {
    const { head, window } = this;
    if (!head.dirty || head.released || head.resting || head.tip === undefined || this.stuck !== undefined)
      return false;
    // A reset may be under way: what is to be passed over is known when it is over.
    if (head.paused) return false;
    return this.scanned < end && (this.isWatched ? window.size === 0 : window.room >= WINDOW_MAX_COUNT / 2);
  }

  /** Takes what is settled, to be written with this revision. */
  handOver(revision: number): readonly TaskOutcome[] {
    this.#noteWritten();
    const outcomes = this.window.takeSettled(this.isBlocked);
    this.#handedOver.push({ revision, outcomes });
    return outcomes;
  }

  /** Everything up to here is done, or goes with the next transaction. */
  get reached(): number {
    const first = this.window.firstPosition;
    return first === undefined ? this.scanned : first - 1;
  }

  /** What was handed over was not written, or nobody knows. The head has forgotten what it knew. */
  lost(): void {
    this.window.restore(this.#handedOver.splice(0).flatMap(({ outcomes }) => outcomes));
  }

  /** Takes over what the database says, and keeps what it did itself wherever nobody else moved the partition. */
  learn({ head, reading, blocked }: Learned): void {
    const { checkpoint } = reading;
    this.#noteWritten();
    head.learn(reading, blocked);
    const isBehind = checkpoint < this.#floor;
    if (isBehind || !this.window.dropUpTo(checkpoint) || checkpoint > this.scanned) {
      this.window.clear();
      this.abort();
      this.scanned = checkpoint;
      this.stuck = undefined;
    }
    this.#floor = checkpoint;
    head.scanned = Math.max(checkpoint, this.reached);
  }

  /** Others have it from now on: what has not begun is left to them; the rest is brought to its end. */
  release(): void {
    this.head.released = true;
    const first = this.window.firstPosition;
    if (first === undefined) return;
    this.scanned = this.window.dropTrailing() ?? first - 1;
    this.stuck = undefined;
    this.#wait.abort();
    this.#wait = newAbort();
  }

  abort(): void {
    this.#wait.abort();
    this.#wait = newAbort();
    this.#abort.abort();
    this.#abort = newAbort();
  }

  #noteWritten(): void {
    const { tip, queuedCount, committedRevision } = this.head;
    this.#handedOver = this.#handedOver.filter(({ revision }) => revision > committedRevision);
    if (tip !== undefined && queuedCount === 0) this.#floor = tip.checkpoint;
  }
}

function newAbort(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}
