import { setTimeout as pause } from 'node:timers/promises';
import { MillraceError } from '../../errors.ts';
import type { TransactionEnd } from '../../store/transactions.ts';
import { isSuspect } from './careful.ts';
import type { WrittenStep } from './commit-pipeline.ts';
import type { Errand } from './errand.ts';
import { type ErrandRunOptions, type ErrandsEnd, type PendingErrand, runErrands, takeErrands } from './errand-run.ts';
import type { PartitionHead } from './partition-head.ts';

export interface ErrandQueueOptions extends ErrandRunOptions {
  /** Told once their transaction is committed, before those who wait are. */
  readonly onWritten: (written: WrittenStep, time: string | undefined, released: ErrandsEnd['released']) => void;
  /** The partition may go on. */
  readonly onDone: () => void;
  readonly onTrouble: (error: unknown) => void;
}

/** Transactions that one errand may lose, to other processes or to trouble, before who asked is told. */
const LOST_MAX_COUNT = 12;
const PAUSE_MAX_MS = 40;
/** So long after crashes each errand goes alone: it may be what kills processes. */
const RECENT_MS = 60_000;

/** The errands of one consumer in this process: who waits, and one transaction after the other for each partition. */
export class ErrandQueue {
  readonly #options: ErrandQueueOptions;
  readonly #underWay = new Set<Promise<void>>();
  /** Partitions where several errands together could not be stored: one at a time. */
  readonly #alone = new Map<PartitionHead, number>();
  #stopped = false;

  constructor(options: ErrandQueueOptions) {
    this.#options = options;
  }

  /**
   * Resolves with what the errand's `run` returned when that is written. Rejects with what it threw, with SHUTTING_DOWN, and with
   * FENCED or the trouble itself when its transaction was lost again and again: then nothing is written, or nobody knows, and it
   * may be done again.
   */
  add<R>(head: PartitionHead | undefined, errand: Errand<R>, dry: boolean): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      if (this.#stopped) return reject(stopping());
      if (head === undefined) return reject(new MillraceError('INTERNAL', 'There is no such partition.'));
      const pending = { errand, resolve: resolve as (result: unknown) => void, reject, dry };
      head.errands.push({ ...pending, lostCount: 0, poison: undefined });
    });
  }

  /** Does what waits for a partition that is known and has nothing on its way. */
  begin(head: PartitionHead): void {
    head.busy = true;
    const done = this.#run(head)
      .catch(this.#options.onTrouble)
      .finally(() => {
        this.#underWay.delete(done);
        head.busy = false;
        head.settle();
        this.#options.onDone();
      });
    this.#underWay.add(done);
  }

  async stop(heads: readonly PartitionHead[]): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#underWay);
    for (const head of heads) for (const pending of head.errands.splice(0)) pending.reject(stopping());
  }

  async #run(head: PartitionHead): Promise<void> {
    const alone = this.#alone.get(head) ?? 0;
    const { crashes, logId, handler } = this.#options;
    const suspect = crashes !== undefined && isSuspect(crashes(), RECENT_MS);
    const errands = takeErrands(head, logId, alone > 0 || suspect || handler.writesAny === true);
    if (alone > 0) this.#alone.set(head, alone - 1);
    let done: ErrandsEnd;
    try {
      done = await runErrands(this.#options, head, errands);
    } catch (error) {
      return this.#lost(head, errands, { kind: 'failed', error });
    }
    const { end } = done;
    if (end.kind !== 'committed' && end.kind !== 'nothing') return this.#lost(head, errands, end);
    if (done.written !== undefined && end.kind === 'committed') {
      this.#options.onWritten(done.written, end.time, done.released);
    }
    for (const answer of done.answers) answer();
  }

  /** Again, from what the database says, a little later. */
  async #lost(head: PartitionHead, errands: readonly PendingErrand[], end: TransactionEnd): Promise<void> {
    head.forget();
    const error = 'error' in end ? end.error : undefined;
    if (end.kind === 'unstorable') {
      if (errands.length > 1) this.#alone.set(head, errands.length);
      else for (const pending of errands) pending.poison ??= end.error;
    } else if (error !== undefined) this.#options.onTrouble(error);
    const again: PendingErrand[] = [];
    for (const pending of errands) {
      if (++pending.lostCount <= LOST_MAX_COUNT && !this.#stopped) again.push(pending);
      else pending.reject(error ?? fenced(head));
    }
    head.errands.unshift(...again);
    await pause(Math.random() * PAUSE_MAX_MS);
  }
}

const stopping = (): MillraceError => new MillraceError('SHUTTING_DOWN', 'This process is stopping. Ask again.');

const fenced = ({ ref }: PartitionHead): MillraceError =>
  new MillraceError(
    'FENCED',
    `Partition ${ref.partition} of consumer "${ref.consumer}" was moved by other processes each time before this could be written. Try again.`,
  );
