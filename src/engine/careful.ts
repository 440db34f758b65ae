import { MillraceError } from '../errors.ts';
import type { PartitionReading, PartitionStore } from '../store/partitions.ts';
import type { PartitionHead } from './partition-head.ts';
import type { Task } from './stretch.ts';

/** What is known of processes that died without leaving. */
export interface Crashes {
  /** In the last ten minutes. */
  readonly crashCount: number;
  /** How long ago the last one was noted; infinite when there was none. */
  readonly lastCrashAgeMs: number;
}

/** So many crashes may be anybody's fault. */
const CRASHES_MIN_COUNT = 2;
/** A process handles so far beyond what it has written, and no further. */
const WATCHED_POSITIONS = 2_000;
/** An event that was begun so often and never ended kills processes. */
const MARKS_MAX_COUNT = 3;

/** Processes die, and what was to be done before the last one died is still not done. */
export const isSuspect = ({ crashCount, lastCrashAgeMs }: Crashes, sinceMs: number): boolean =>
  crashCount >= CRASHES_MIN_COUNT && sinceMs >= lastCrashAgeMs;

/** Thrown instead of running a handler that killed its process each time. Dead at once. */
export const crashed = (what: string): MillraceError =>
  new MillraceError(
    'CRASHED',
    `The process died each of the ${MARKS_MAX_COUNT} times that ${what} was handled. Mend the handler (look for exit, abort, endless loops and memory without end), then retry it.`,
  );
export const isCrashed = (begunCount: number): boolean => begunCount >= MARKS_MAX_COUNT;

/**
 * Finds handlers that kill their process. A partition that has not come on since processes died is run one event a batch, and
 * each event is marked before its handler begins; the mark goes when the handler has returned. Who finds a mark runs that
 * event alone, and after three marks does not run it at all: it becomes a dead letter.
 */
export class Careful {
  readonly #store: Pick<PartitionStore, 'mark'>;
  readonly #crashes: () => Crashes;

  constructor(store: Pick<PartitionStore, 'mark'>, crashes: () => Crashes) {
    this.#store = store;
    this.#crashes = crashes;
  }

  /** After the partition was looked at. */
  watch(head: PartitionHead, { checkpoint, mark, idleMs }: PartitionReading, end: number): void {
    head.mark = mark;
    if (checkpoint < end && isSuspect(this.#crashes(), idleMs)) head.watchedUntil = checkpoint + WATCHED_POSITIONS;
  }

  /** Runs the next event of each, or of one of them. `runHead` handles one event of a watched partition. */
  async run(
    heads: readonly PartitionHead[],
    tasks: ReadonlyMap<PartitionHead, readonly Task[]>,
    runHead: (head: PartitionHead) => void,
  ): Promise<void> {
    const next = heads.flatMap((head) => {
      const [task] = tasks.get(head) ?? [];
      if (task === undefined) runHead(head);
      return task === undefined ? [] : [{ head, position: task.document._id, type: task.document.type }];
    });
    const marked = next.map((one) => ({ ...one, count: countOf(one.head, one.position) }));
    for (const { head, position, type, count } of marked) {
      if (!isCrashed(count)) continue;
      head.poison = { position, error: crashed(`${type} at position ${position}`) };
      runHead(head);
    }
    const left = marked.filter(({ count }) => !isCrashed(count)).sort((a, b) => a.count - b.count);
    const [first] = left.filter(({ count }) => count > 0);
    // Whoever dies now leaves no doubt at which event.
    const group = first === undefined ? left : [first];
    if (group.length === 0) return;
    const epochs = group.map(({ head }) => head.epoch);
    await this.#store.mark(
      group.map(({ head, position, count }) => ({ ...head.ref, mark: { position, count: count + 1 } })),
    );
    group.forEach(({ head }, index) => {
      head.mark = undefined;
      if (head.epoch === epochs[index] && head.tip !== undefined) runHead(head);
    });
    await this.#store.mark(group.map(({ head }) => ({ ...head.ref, mark: undefined })));
  }
}

const countOf = ({ mark }: PartitionHead, position: number): number => (mark?.position === position ? mark.count : 0);
