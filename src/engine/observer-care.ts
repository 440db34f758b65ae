import type { DeadLetterStore } from '../store/dead-letters.ts';
import type { DeadLetterDocument } from '../store/documents.ts';
import type { PartitionStore } from '../store/partitions.ts';
import { type Crashes, crashed, isCrashed, isSuspect } from './careful.ts';
import type { TryEnd } from './observer-tries.ts';
import type { PartitionHead } from './partition-head.ts';
import type { WindowTask } from './task-window.ts';

export interface ObserverCareOptions {
  readonly store: Pick<PartitionStore, 'mark'>;
  readonly deadLetters: Pick<DeadLetterStore, 'begin'>;
  readonly crashes: () => Crashes;
  readonly onTrouble: (error: unknown) => void;
}

/**
 * Finds handlers of an observer that kill their process, as `Careful` does for others: events of partitions that have not come on
 * since processes died run one at a time, each marked while it runs; three marks without an end, and it is not run any more.
 */
export class ObserverCare {
  readonly #options: ObserverCareOptions;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: ObserverCareOptions) {
    this.#options = options;
  }

  /** A first try. In a watched partition it waits for its turn. */
  first(head: PartitionHead, { document }: WindowTask, run: () => Promise<TryEnd>): Promise<TryEnd> {
    const { _id: position, type } = document;
    if (position > head.watchedUntil) return run();
    const mark = async (count: number | undefined): Promise<void> => {
      const marked = count === undefined ? undefined : { position, count };
      await this.#options.store.mark([{ ...head.ref, mark: marked }]);
    };
    const turn = this.#turn.then(async (): Promise<TryEnd> => {
      const count = head.mark?.position === position ? head.mark.count : 0;
      head.mark = undefined;
      if (isCrashed(count)) return { kind: 'failed', error: crashed(`${type} at position ${position}`) };
      await mark(count + 1);
      const end = await run();
      await mark(undefined).catch(this.#options.onTrouble);
      return end;
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
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
