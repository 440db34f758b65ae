import type { AnyRecorded } from '../define/event.ts';

/** An event that waits, runs, or is done with, and not yet written. */
export interface WindowTask {
  readonly event: AnyRecorded;
  readonly key: string;
}
/** What is to be written for a task, in order of position. */
export type TaskOutcome =
  | { readonly kind: 'done'; readonly task: WindowTask }
  | { readonly kind: 'failed'; readonly task: WindowTask; readonly error: unknown }
  /** Its key has a dead letter: it waits behind it. */
  | { readonly kind: 'parked'; readonly task: WindowTask };

interface Entry extends WindowTask {
  state: 'waiting' | 'running' | 'done' | 'failed';
  error: unknown;
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
  get runningCount(): number {
    return this.#entries.filter(({ state }) => state === 'running').length;
  }

  add(task: WindowTask): void {
    this.#entries.push({ ...task, state: 'waiting', error: undefined });
  }

  /** Tasks that may begin now, marked as running. `blocked`: keys with a dead letter. */
  begin(blocked: (key: string) => boolean): readonly WindowTask[] {
    const held = new Set<string>();
    const begun: Entry[] = [];
    for (const entry of this.#entries) {
      if (entry.state === 'waiting' && !held.has(entry.key) && !blocked(entry.key)) {
        entry.state = 'running';
        begun.push(entry);
      }
      if (entry.state !== 'done') held.add(entry.key);
    }
    return begun;
  }

  done(task: WindowTask): void {
    this.#settle(task, 'done', undefined);
  }
  failed(task: WindowTask, error: unknown): void {
    this.#settle(task, 'failed', error);
  }
  /** It was not tried after all, or nobody counts how: it may begin again. */
  again(task: WindowTask): void {
    this.#settle(task, 'waiting', undefined);
  }

  /** Takes what can be written now; `blocked` as of the revision that it is written on. */
  takeSettled(blocked: (key: string) => boolean): readonly TaskOutcome[] {
    const failing = new Set<string>();
    const outcomes: TaskOutcome[] = [];
    for (const entry of this.#entries) {
      const { event, key, state, error } = entry;
      const task = { event, key };
      if (state === 'done') outcomes.push({ kind: 'done', task });
      else if (state === 'failed') {
        failing.add(key);
        outcomes.push({ kind: 'failed', task, error });
      } else if (state === 'waiting' && (failing.has(key) || blocked(key))) outcomes.push({ kind: 'parked', task });
      else break;
    }
    this.#entries = this.#entries.slice(outcomes.length);
    return outcomes;
  }

  /** Whether `takeSettled` would take anything. */
  hasSettled(blocked: (key: string) => boolean): boolean {
    const [first] = this.#entries;
    if (first === undefined) return false;
    return first.state === 'done' || first.state === 'failed' || (first.state === 'waiting' && blocked(first.key));
  }

  /** Forgets everything: what was written is read again. Late results of what runs are ignored. */
  clear(): void {
    this.#entries = [];
  }

  #settle({ event, key }: WindowTask, state: Entry['state'], error: unknown): void {
    const entry = this.#entries.find((one) => one.event.position === event.position && one.key === key);
    if (entry?.state !== 'running') return;
    entry.state = state;
    entry.error = error;
  }
}
