import { MillraceError } from '../../errors.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { PartitionReading, PartitionStore } from '../../store/partitions.ts';
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
/** Events of a partition that are marked together, by how often they were begun. */
const MARKED_MAX_COUNTS = [64, 8, 1] as const;

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
/** The next time tells whether it was this one. */
export const isAlone = (begunCount: number): boolean => begunCount === MARKS_MAX_COUNT - 1;

/**
 * Finds handlers that kill their process. Partitions that have not come on since processes died are run a few events a batch, and
 * these are marked before their handlers begin; the mark goes when they have returned. Events that are found under a mark run
 * fewer a batch; those that were begun twice one by one and with no other beside them, and after three times not at all: a dead
 * letter.
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
    if (checkpoint >= end || !isSuspect(this.#crashes(), idleMs)) return;
    // What came after the crash did not kill.
    head.watchedUntil = Math.min(end, checkpoint + WATCHED_POSITIONS);
  }

  /** Runs the next few events of each. `runHead` handles the marked events of a watched partition. */
  async run(
    heads: readonly PartitionHead[],
    tasks: ReadonlyMap<PartitionHead, readonly Task[]>,
    runHead: (head: PartitionHead) => void,
  ): Promise<void> {
    const together: Batch[] = [];
    const suspects: Batch[] = [];
    for (const head of heads) {
      const batch = batchOf(head, tasks.get(head) ?? []);
      if (batch === undefined) runHead(head);
      else if (isCrashed(batch.count)) this.#bury(batch, runHead);
      else (isAlone(batch.count) ? suspects : together).push(batch);
    }
    await this.#marked(together, runHead);
    // One after the other: whoever dies now leaves no doubt at which event.
    for (const suspect of suspects) await this.#alone(suspect, tasks, runHead);
  }

  /** All suspects of a partition that come now, each under a mark of its own. */
  async #alone(
    first: Batch,
    tasks: ReadonlyMap<PartitionHead, readonly Task[]>,
    runHead: (head: PartitionHead) => void,
  ): Promise<void> {
    const { head } = first;
    const { epoch } = head;
    let suspect: Batch | undefined = first;
    while (suspect !== undefined && isAlone(suspect.count)) {
      await this.#mark([suspect]);
      head.mark = restOf(head.mark, suspect.until);
      head.markedUntil = suspect.until;
      if (head.epoch !== epoch || head.tip === undefined) break;
      runHead(head);
      if (head.scanned < suspect.until) break;
      suspect = batchOf(head, leftOf(head, tasks.get(head) ?? []));
    }
    await this.#unmark([first]);
  }

  #bury({ head, first }: Batch, runHead: (head: PartitionHead) => void): void {
    const position = first._id;
    head.poison = { position, error: crashed(`${first.type} at position ${position}`) };
    head.markedUntil = position;
    head.mark = restOf(head.mark, position);
    runHead(head);
  }

  async #marked(batches: readonly Batch[], runHead: (head: PartitionHead) => void): Promise<void> {
    if (batches.length === 0) return;
    const epochs = batches.map(({ head }) => head.epoch);
    await this.#mark(batches);
    batches.forEach(({ head, until }, index) => {
      head.mark = restOf(head.mark, until);
      head.markedUntil = until;
      if (head.epoch === epochs[index] && head.tip !== undefined) runHead(head);
    });
    await this.#unmark(batches);
  }

  async #mark(batches: readonly Batch[]): Promise<void> {
    const marked = this.#store.mark(
      batches.map(({ head, first, until, count }) => {
        return { ...head.ref, mark: { position: first._id, ...(until > first._id && { until }), count: count + 1 } };
      }),
    );
    await marked.catch(async (error: unknown) => {
      // Some may be marked now, and none has begun.
      await this.#unmark(batches).catch(() => undefined);
      throw error;
    });
  }

  /** What was in doubt before, and still is, stays marked. */
  async #unmark(batches: readonly Batch[]): Promise<void> {
    await this.#store.mark(batches.map(({ head }) => ({ ...head.ref, mark: head.mark })));
  }
}

/** Events that are marked together. */
interface Batch {
  readonly head: PartitionHead;
  readonly first: LogDocument;
  readonly until: number;
  /** How often the first was begun. */
  readonly count: number;
}

function batchOf(head: PartitionHead, tasks: readonly Task[]): Batch | undefined {
  const [task] = tasks;
  if (task === undefined) return undefined;
  const first = task.document;
  const count = countOf(head, first._id);
  const most = tasks.slice(0, MARKED_MAX_COUNTS[count]);
  // One that is in more doubt ends the batch.
  const end = most.findIndex(({ document }) => countOf(head, document._id) !== count);
  const last = most.at(end < 0 ? -1 : end - 1);
  return { head, first, until: last?.document._id ?? first._id, count };
}

/** Tasks that the partition has not come to. */
export const leftOf = ({ scanned }: PartitionHead, tasks: readonly Task[]): readonly Task[] => {
  const [first] = tasks;
  return first === undefined || first.document._id > scanned
    ? tasks
    : tasks.filter(({ document }) => document._id > scanned);
};

const countOf = ({ mark }: PartitionHead, position: number): number =>
  mark !== undefined && position >= mark.position && position <= (mark.until ?? mark.position) ? mark.count : 0;

/** What is still in doubt after this position. */
function restOf(mark: PartitionHead['mark'], position: number): PartitionHead['mark'] {
  if (mark === undefined || (mark.until ?? mark.position) <= position) return undefined;
  return { ...mark, position: Math.max(mark.position, position + 1) };
}
