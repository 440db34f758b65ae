import type { ConsumerModel } from '../define/model.ts';
import type { Logger } from '../logger.ts';
import type { SeenDeadLetter } from '../store/dead-letter-reads.ts';
import type { AuditDocument, DeadLetterDocument, OperationDocument } from '../store/documents.ts';
import type { OperatorStore } from '../store/operator-store.ts';
import type { GenerationRef } from '../store/partitions.ts';
import { auditEntry } from './audit-entry.ts';
import type { Errand, ErrandDesk } from './errand.ts';
import { EVENTS_MAX_COUNT } from './errand-run.ts';
import { type OperatorEnd, releaseErrand, retryNowErrand, skipErrand } from './operator-errands.ts';
import { operationMatch } from './operator-input.ts';
import { deadLetterOf, filterOf } from './operator-reads.ts';
import { type Repeating, repeat } from './repeat.ts';
import { logFailure } from './retry-work.ts';

/** How often something is done for an operation; how much follows from its rate. */
const TICK_MS = 250;
/** Dead letters in one look. */
const BATCH_MAX_COUNT = 1_000;
/** Events that are handled between two looks at the operation: whoever stops it does not wait for long. */
const BATCH_MAX_EVENTS = 3_000;

export interface OperationRunnerOptions {
  readonly store: Pick<OperatorStore, 'operations' | 'deadLetters'>;
  /** Whether this process is the one that does them. */
  readonly leads: () => boolean;
  /** A consumer that this process runs. */
  readonly consumer: (name: string) => Pick<ConsumerModel, 'kind' | 'generation'> | undefined;
  readonly errand: <R>(ref: GenerationRef & { readonly partition: number }, errand: Errand<R>) => Promise<R>;
  readonly logger: Logger;
}

interface Pace {
  /** Dead letters whose turn has come; grows with time. */
  credit: number;
  lastMs: number;
}

/**
 * Does the operations of operators, at their rate. What it knows is in MongoDB: when its process dies the next one goes on, and
 * no dead letter is released twice by one operation, since the record that is released says by which.
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
      if (this.#options.leads()) return (await this.#round()) ? 0 : TICK_MS;
      this.#paces.clear();
      return TICK_MS;
    };
    this.#rounds = repeat(round, { firstMs: 0 });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#rounds?.stop();
  }

  /** True when more may be done at once. */
  async #round(): Promise<boolean> {
    try {
      const { operations } = this.#options.store;
      // Of a process that died before it was counted, or of one that was stopped meanwhile.
      await operations.countParts(new Date());
      const running = await operations.running();
      let more = false;
      for (const operation of running) if (!this.#stopped) more = (await this.#advance(operation)) || more;
      return more;
    } catch (error) {
      if (this.#stopped) return false;
      this.#options.logger.warn({ error: String(error) }, 'an operation is disturbed; it goes on by itself');
      return false;
    }
  }

  async #advance(operation: OperationDocument): Promise<boolean> {
    const { store } = this.#options;
    const limit = this.#allowance(operation);
    if (limit === 0) return false;
    const match = operationMatch(filterOf(operation.filter));
    const count = Math.min(limit, BATCH_MAX_COUNT);
    const letters = await store.deadLetters.inOrderOfId(match, operation.after, count + 1);
    const some = batchOf(letters.slice(0, count));
    await this.#act(operation, some);
    await store.operations.countParts(new Date());
    const pace = this.#paces.get(operation._id);
    if (letters.length > some.length) {
      await store.operations.reached(operation._id, some.at(-1)?._id ?? '', new Date());
      if (pace !== undefined) pace.credit -= some.length;
      return limit > some.length;
    }
    await store.operations.finish(operation._id, new Date());
    this.#paces.delete(operation._id);
    return false;
  }

  async #act(operation: OperationDocument, letters: readonly SeenDeadLetter[]): Promise<void> {
    const { consumer, errand, logger } = this.#options;
    const act = async (letter: SeenDeadLetter): Promise<void> => {
      const model = consumer(letter.consumer);
      // Of a consumer that nobody runs any more: nothing to do but to retire it.
      if (model === undefined || model.generation !== letter.generation) return;
      const end = await errand(letter, errandOf(operation, letter, model.kind));
      const tried = end?.kind === 'done' ? end.tried : undefined;
      const failed = tried?.kind === 'retrying' || tried?.kind === 'dead' ? tried : undefined;
      if (failed !== undefined) logFailure(logger, failed.record);
    };
    await Promise.all(letters.map(act));
  }

  #allowance({ _id, ratePerSecond }: OperationDocument): number {
    const nowMs = performance.now();
    const pace = this.#paces.get(_id) ?? { credit: 1, lastMs: nowMs };
    const earned = ((nowMs - pace.lastMs) * ratePerSecond) / 1_000;
    // What could not be done in half a second is not made up for.
    pace.credit = Math.min(pace.credit + earned, Math.max(1, ratePerSecond / 2));
    pace.lastMs = nowMs;
    this.#paces.set(_id, pace);
    return Math.floor(pace.credit);
  }
}

function batchOf(letters: readonly SeenDeadLetter[]): readonly SeenDeadLetter[] {
  let eventCount = 0;
  const end = letters.findIndex(({ parkedCount }, index) => {
    eventCount += 1 + Math.min(parkedCount, EVENTS_MAX_COUNT);
    return index > 0 && eventCount > BATCH_MAX_EVENTS;
  });
  return end < 0 ? letters : letters.slice(0, end);
}

/** What the operation does to one dead letter, counted in the same transaction; nothing when it is not as it was. */
function errandOf(
  operation: OperationDocument,
  seen: SeenDeadLetter,
  kind: ConsumerModel['kind'],
): Errand<OperatorEnd | undefined> {
  const errand = operatorErrand(operation, seen, kind);
  const run = (desk: ErrandDesk): OperatorEnd | undefined => {
    if (!isAsSeen(operation, seen, desk.record)) return undefined;
    const end = errand.run(desk);
    if (end.kind === 'gone') return end;
    if (end.after !== undefined) desk.block({ ...end.after, operation: operation._id });
    if (operation.kind === 'skipDeadLetters') {
      desk.side.add('audit', skipEntry(operation, end.before, end.after));
    }
    const { _id, logId } = operation;
    const part = { _id: `${_id}/${seen.consumer}/${seen.partition}`, logId, operation: _id };
    desk.side.count('operation_parts', part, { doneCount: 1 });
    return end;
  };
  return { ...errand, run };
}

function operatorErrand(
  { kind, logId }: OperationDocument,
  { _id }: SeenDeadLetter,
  consumerKind: ConsumerModel['kind'],
): Errand<OperatorEnd> {
  if (kind === 'skipDeadLetters') return skipErrand(_id);
  // Handlers of observers take their time and have effects: theirs is a job.
  return consumerKind === 'observer' ? releaseErrand(_id) : retryNowErrand(logId, _id);
}

function isAsSeen(operation: OperationDocument, seen: SeenDeadLetter, record: DeadLetterDocument | undefined): boolean {
  if (record === undefined || record.operation === operation._id) return false;
  if (operation.kind === 'skipDeadLetters') return record.position === (operation.position ?? seen.position);
  if (record.state !== seen.state) return false;
  // One that is due is being tried, or about to be.
  const { state, nextAttemptAt } = record;
  return state === 'DEAD' || nextAttemptAt === null || nextAttemptAt.getTime() > Date.now();
}

function skipEntry(
  operation: OperationDocument,
  before: DeadLetterDocument,
  after: DeadLetterDocument | undefined,
): AuditDocument {
  return auditEntry(operation.logId, operation, {
    action: 'deadLetter.skip',
    target: before._id,
    before: entryOf(before),
    after: after === undefined ? null : entryOf(after),
  });
}

/** Without the stack: an entry is kept for ever. */
function entryOf(document: DeadLetterDocument): object {
  const { error, ...rest } = deadLetterOf(document);
  return { ...rest, error: { ...error, stack: null } };
}
