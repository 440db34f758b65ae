import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from '../logger.ts';
import type { DeadLetterDocument, OperationDocument } from '../store/documents.ts';
import type { OperatorStore } from '../store/operator-store.ts';
import { retryMatch } from './dead-letter-operations.ts';
import { filterOf } from './operator-reads.ts';
import { type Repeating, repeat } from './repeat.ts';

/** How often dead letters are released; their number follows from the rate. */
const TICK_MS = 250;
const IDLE_MS = 250;
/** Dead letters in one look. */
const BATCH_MAX_COUNT = 500;
const CONFLICT_TRIES = 100;
const CONFLICT_PAUSE_MS = 25;

export interface OperationRunnerOptions {
  readonly store: Pick<OperatorStore, 'operations' | 'deadLetters'>;
  /** Whether this process is the one that does them. */
  readonly leads: () => boolean;
  /** These may be tried now. */
  readonly onReleased: (letters: readonly DeadLetterDocument[]) => void;
  readonly logger: Logger;
}

interface Pace {
  /** Dead letters that may be released now; grows with time. */
  credit: number;
  lastMs: number;
}

/**
 * Does the operations of operators, at their rate. Everything it knows is in MongoDB: when its process dies the next one goes
 * on, and no dead letter is released twice by one operation.
 */
export class OperationRunner {
  readonly #options: OperationRunnerOptions;
  readonly #paces = new Map<string, Pace>();
  #rounds: Repeating | undefined;
  #stopped = false;

  constructor(options: OperationRunnerOptions) {
    this.#options = options;
  }

  start(): void {
    const round = async (): Promise<number> => {
      if (!this.#options.leads()) {
        this.#paces.clear();
        return IDLE_MS;
      }
      try {
        const running = await this.#options.store.operations.running();
        for (const operation of running) await this.#advance(operation);
        return running.length === 0 ? IDLE_MS : TICK_MS;
      } catch (error) {
        this.#options.logger.warn({ error: String(error) }, 'an operation is disturbed; it goes on by itself');
        return 4 * TICK_MS;
      }
    };
    this.#rounds = repeat(round, { firstMs: IDLE_MS });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#rounds?.stop();
  }

  async #advance(operation: OperationDocument): Promise<void> {
    const { store } = this.#options;
    const limit = this.#allowance(operation);
    if (limit === 0) return;
    const match = retryMatch(filterOf(operation.filter));
    const letters = await store.deadLetters.inOrderOfId(match, operation.after, Math.min(limit, BATCH_MAX_COUNT));
    const last = letters.at(-1);
    if (last === undefined) {
      await store.operations.finish(operation._id, new Date());
      this.#paces.delete(operation._id);
      return;
    }
    for (const group of byPartition(letters)) {
      if (this.#stopped || !(await this.#release(operation, group))) return;
    }
    if (await store.operations.reached(operation._id, last._id, new Date())) this.#spend(operation, letters.length);
  }

  /** False when the operation runs no more, or this has to be tried again. */
  async #release({ _id: operation }: OperationDocument, letters: readonly DeadLetterDocument[]): Promise<boolean> {
    const { store, onReleased } = this.#options;
    const [first] = letters;
    if (first === undefined) return true;
    const { consumer, generation, partition, state } = first;
    const ids = letters.map(({ _id }) => _id);
    for (let attempt = 0; attempt < CONFLICT_TRIES && !this.#stopped; attempt++) {
      const of = { consumer, generation, partition };
      const { end, outcome } = await store.operations.release({
        operation,
        partition: of,
        ids,
        state,
        now: new Date(),
      });
      if (end.kind === 'committed') {
        onReleased(letters);
        return true;
      }
      if (end.kind === 'refused') return outcome === 'nothing';
      if (end.kind !== 'conflict') throw end.error;
      // A worker is at the partition.
      await pause(CONFLICT_PAUSE_MS * Math.random());
    }
    return false;
  }

  #allowance({ _id, ratePerSecond }: OperationDocument): number {
    const nowMs = performance.now();
    const pace = this.#paces.get(_id) ?? { credit: 0, lastMs: nowMs - TICK_MS };
    const earned = ((nowMs - pace.lastMs) * ratePerSecond) / 1_000;
    // What could not be done in a second is not made up for.
    pace.credit = Math.min(pace.credit + earned, Math.max(1, ratePerSecond));
    pace.lastMs = nowMs;
    this.#paces.set(_id, pace);
    return Math.floor(pace.credit);
  }

  #spend({ _id }: OperationDocument, count: number): void {
    const pace = this.#paces.get(_id);
    if (pace !== undefined) pace.credit -= count;
  }
}

/** Of one partition and state each. */
function byPartition(letters: readonly DeadLetterDocument[]): Iterable<readonly DeadLetterDocument[]> {
  const groups = new Map<string, DeadLetterDocument[]>();
  for (const letter of letters) {
    const { consumer, generation, partition, state } = letter;
    const name = `${consumer}/${generation}/${partition}/${state}`;
    const known = groups.get(name);
    if (known === undefined) groups.set(name, [letter]);
    else known.push(letter);
  }
  return groups.values();
}
