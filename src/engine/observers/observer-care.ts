import { setMaxListeners } from 'node:events';
import type { DeadLetterStore } from '../../store/dead-letters.ts';
import type { DeadLetterDocument } from '../../store/documents.ts';
import type { PartitionStore } from '../../store/partitions.ts';
import { Turns } from '../concurrency/turns.ts';
import { type Crashes, crashed, isAlone, isCrashed, isSuspect } from '../partitions/careful.ts';
import type { PartitionHead } from '../partitions/partition-head.ts';
import type { TryEnd } from './observer-tries.ts';
import type { WindowTask } from './task-window.ts';

export interface ObserverCareOptions {
  readonly store: Pick<PartitionStore, 'mark'>;
  readonly deadLetters: Pick<DeadLetterStore, 'begin'>;
  readonly crashes: () => Crashes;
  readonly onTrouble: (error: unknown) => void;
}

/** Events that are looked at with care run so many at once. */
const TOGETHER_MAX_COUNT = 32;
const NEVER = new AbortController().signal;
// Every event that waits for its turn listens.
setMaxListeners(0, NEVER);

/**
 * Finds handlers of an observer that kill their process, as `Careful` does for others: of a partition that has not come on since
 * processes died one event runs at a time, marked while it runs; one that was begun twice runs with no other beside it, and after
 * three marks without an end not any more.
 */
export class ObserverCare {
  readonly #options: ObserverCareOptions;
  readonly #turns = new Turns(TOGETHER_MAX_COUNT);

  constructor(options: ObserverCareOptions) {
    this.#options = options;
  }

  /** A first try. In a watched partition it waits for its turn. */
  async first(head: PartitionHead, { document }: WindowTask, run: () => Promise<TryEnd>): Promise<TryEnd> {
    const { _id: position, type } = document;
    if (position > head.watchedUntil) return run();
    const count = head.mark?.position === position ? head.mark.count : 0;
    const turn = await (isAlone(count) ? this.#turns.takeAlone(NEVER) : this.#turns.take(NEVER));
    try {
      head.mark = undefined;
      if (isCrashed(count)) return { kind: 'failed', error: crashed(`${type} at position ${position}`) };
      await this.#options.store.mark([{ ...head.ref, mark: { position, count: count + 1 } }]);
      const end = await run();
      await this.#options.store.mark([{ ...head.ref, mark: undefined }]).catch(this.#options.onTrouble);
      return end;
    } finally {
      turn?.();
    }
  }

  /** A try of a dead letter. */
  async retry(record: DeadLetterDocument, run: () => Promise<TryEnd>): Promise<TryEnd> {
    const { crashes, deadLetters, onTrouble } = this.#options;
    const dueAt = record.nextAttemptAt ?? record.lastFailedAt;
    if (!isSuspect(crashes(), Date.now() - dueAt.getTime())) return run();
    if (isCrashed(record.begun ?? 0)) {
      return { kind: 'failed', error: crashed(`${record.inputType} at position ${record.position}`) };
    }
    await deadLetters.begin(record._id, 1);
    const end = await run();
    await deadLetters.begin(record._id, -1).catch(onTrouble);
    return end;
  }
}
