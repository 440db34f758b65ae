import type { AnyRecorded } from '../../define/event.ts';
import type { LogDocument } from '../../store/documents.ts';

/** An event of one key that waits, runs, or is done with and not yet written. */
export interface WindowTask {
  readonly document: LogDocument;
  /** Undefined when it cannot be read: `error` says why. */
  readonly event: AnyRecorded | undefined;
  readonly error?: unknown;
  readonly key: string;
}
/** What is to be written for a task, in order of position. */
export type TaskOutcome =
  | { readonly kind: 'done'; readonly task: WindowTask }
  | { readonly kind: 'failed'; readonly task: WindowTask; readonly error: unknown }
  /** Its key has a dead letter: it waits behind it. */
  | { readonly kind: 'parked'; readonly task: WindowTask };

interface Entry {
  readonly task: WindowTask;
  /** `begun`: it waits for a place, or its handler runs (`running`). */
  state: 'waiting' | 'begun' | 'running' | 'done' | 'failed';
  error: unknown;
  /** It was taken before, and the transaction that it was taken for was lost. */
  readonly restored: boolean;
}

/**
 * The events of one partition that are in hand, in order of position. Those of one key run one after the other, those of different
 * keys side by side. What is written is always the longest run from the start that is settled: the checkpoint never passes an event
 * that was neither done nor written down as failed or parked.
 */
export class TaskWindow {
  readonly #maxCount: number;
  #entries: Entry[] = [];

  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  get size(): number {
    return this.#entries.length;
  }
  /** How many more events it takes. */
  get room(): number {
    return Math.max(0, this.#maxCount - this.#entries.length);
  }
  /** Begun and not settled. */
  get begunCount(): number {
    return this.#entries.filter(isBegun).length;
  }
  /** Position of the oldest event in hand. */
  get firstPosition(): number | undefined {
    return this.#entries[0]?.task.document._id;
  }

  add(task: WindowTask): void {
    this.#entries.push({ task, state: 'waiting', error: undefined, restored: false });
  }

  /** Tasks that may begin now, marked as begun. `blocked`: keys with a dead letter. */
  begin(blocked: (key: string) => boolean): readonly WindowTask[] {
    const held = new Set<string>();
    const begun: WindowTask[] = [];
    for (const entry of this.#entries) {
      const { key } = entry.task;
      if (entry.state === 'waiting' && !held.has(key) && !blocked(key)) {
        entry.state = 'begun';
        begun.push(entry.task);
      }
      if (entry.state !== 'done') held.add(key);
    }
    return begun;
  }

  /** Its handler runs. */
  running(task: WindowTask): void {
    const entry = this.#entries.find((one) => one.task === task);
    if (entry?.state === 'begun') entry.state = 'running';
  }
  done(task: WindowTask): void {
    this.#settle(task, 'done', undefined);
  }
  failed(task: WindowTask, error: unknown): void {
    this.#settle(task, 'failed', error);
  }
  /** It was not tried after all: it may begin again. */
  again(task: WindowTask): void {
    this.#settle(task, 'waiting', undefined);
  }

  /** Takes what can be written now; `blocked` as of the revision that it is written on. */
  takeSettled(blocked: (key: string) => boolean): readonly TaskOutcome[] {
    const failing = new Set<string>();
    const outcomes: TaskOutcome[] = [];
    for (const { task, state, error } of this.#entries) {
      const isBlocked = failing.has(task.key) || blocked(task.key);
      if (state === 'done') outcomes.push({ kind: 'done', task });
      else if (state === 'waiting' && isBlocked) outcomes.push({ kind: 'parked', task });
      else if (state === 'failed') {
        failing.add(task.key);
        outcomes.push({ kind: 'failed', task, error });
      } else break;
    }
    this.#entries = this.#entries.slice(outcomes.length);
    return outcomes;
  }

  /** Whether `takeSettled` would take anything. */
  hasSettled(blocked: (key: string) => boolean): boolean {
    const [first] = this.#entries;
    if (first === undefined || isBegun(first)) return false;
    return first.state !== 'waiting' || blocked(first.task.key);
  }

  /** Puts back what was taken, oldest first: it was not written. */
  restore(outcomes: readonly TaskOutcome[]): void {
    const entries = outcomes.map((outcome): Entry => {
      const state = outcome.kind === 'parked' ? 'waiting' : outcome.kind;
      return {
        task: outcome.task,
        state,
        error: outcome.kind === 'failed' ? outcome.error : undefined,
        restored: true,
      };
    });
    this.#entries = [...entries, ...this.#entries];
  }

  /** Others wrote up to here. False when that concerns events that this process had not handed over to be written. */
  dropUpTo(position: number): boolean {
    const dropped = this.#entries.filter(({ task }) => task.document._id <= position);
    this.#entries = this.#entries.slice(dropped.length);
    return dropped.every(({ restored }) => restored);
  }

  /** Drops what comes after everything that runs or is settled: others may have it. Returns the last position that is kept. */
  dropTrailing(): number | undefined {
    const last = this.#entries.findLastIndex(({ state }) => state !== 'waiting' && state !== 'begun');
    this.#entries = this.#entries.slice(0, last + 1);
    return this.#entries.at(-1)?.task.document._id;
  }

  /** Forgets everything; late results of what runs are ignored. */
  clear(): void {
    this.#entries = [];
  }

  #settle(task: WindowTask, state: Entry['state'], error: unknown): void {
    const entry = this.#entries.find((one) => one.task === task);
    if (entry === undefined || !isBegun(entry)) return;
    entry.state = state;
    entry.error = error;
  }
}

const isBegun = ({ state }: Entry): boolean => state === 'begun' || state === 'running';
