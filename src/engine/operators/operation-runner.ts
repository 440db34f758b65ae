import type { ConsumerModel } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import type { SeenDeadLetter } from '../../store/dead-letter-reads.ts';
import type { AuditDocument, DeadLetterDocument, OperationDocument } from '../../store/documents.ts';
import type { OperatorStore } from '../../store/operator-store.ts';
import { consumerId, type GenerationRef } from '../../store/partitions.ts';
import { auditEntry } from '../audit/audit-entry.ts';
import { operationMatch } from '../audit/operator-input.ts';
import { type Repeating, repeat } from '../concurrency/repeat.ts';
import type { Errand, ErrandDesk } from '../partitions/errand.ts';
import { EVENTS_MAX_COUNT } from '../partitions/errand-run.ts';
import { logFailure } from '../partitions/retry-work.ts';
import type { Membership } from '../processes/membership.ts';
import { type OperatorEnd, releaseErrand, retryNowErrand, skipErrand } from './operator-errands.ts';
import { deadLetterOf, filterOf } from './operator-reads.ts';

/** How often something is done for an operation; how much follows from its rate. */
const TICK_MS = 250;
/** How often a process looks whether an operation has come to generations that it runs. */
const LOOK_MS = 1_000;
/** A generation that nobody runs for so long is passed by: which processes live is known about a second late. */
const LEFT_AFTER_MS = 2_000;
/** Dead letters in one look. */
const BATCH_MAX_COUNT = 1_000;
/** Events that are handled between two looks at the operation: whoever stops it does not wait for long. */
const BATCH_MAX_EVENTS = 3_000;

export interface OperationRunnerOptions {
  readonly store: Pick<OperatorStore, 'operations' | 'deadLetters'>;
  /** Says which of the living processes runs a generation. */
  readonly membership: Pick<Membership, 'eldest' | 'runnerOf'>;
  /** A consumer that this process runs. */
  readonly consumer: (ref: GenerationRef) => Pick<ConsumerModel, 'kind' | 'generation'> | undefined;
  readonly errand: <R>(ref: GenerationRef & { readonly partition: number }, errand: Errand<R>) => Promise<R>;
  readonly logger: Logger;
}

interface Pace {
  /** Dead letters whose turn has come; grows with time. */
  credit: number;
  lastMs: number;
}

/**
 * Does the operations of operators, at their rate: one generation after the other, each by a process that runs it. What it knows is
 * in MongoDB: when its process dies the next one goes on, and no dead letter is released twice by one operation, since the record
 * that is released says by which.
 */
export class OperationRunner {
  readonly #options: OperationRunnerOptions;
  readonly #paces = new Map<string, Pace>();
  /** Generations that no living process runs, by id, and since when (performance.now()). */
  readonly #unrun = new Map<string, number>();
  #rounds: Repeating | undefined;
  #stopped = false;

  constructor(options: OperationRunnerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#rounds = repeat(() => this.#round(), { firstMs: 0 });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#rounds?.stop();
  }

  /** When to look again. */
  async #round(): Promise<number> {
    const { store, membership, logger } = this.#options;
    const { eldest } = membership;
    let waitMs = eldest ? TICK_MS : LOOK_MS;
    try {
      // Of a process that died before it was counted, or of one that was stopped meanwhile.
      if (eldest) await store.operations.countParts(new Date());
      const running = await store.operations.running();
      if (running.length === 0) this.#forget();
      for (const operation of running) if (!this.#stopped) waitMs = Math.min(waitMs, await this.#advance(operation));
    } catch (error) {
      if (!this.#stopped) logger.warn({ error: String(error) }, 'an operation is disturbed; it goes on by itself');
    }
    return waitMs;
  }

  #forget(): void {
    this.#paces.clear();
    this.#unrun.clear();
  }

  async #advance(operation: OperationDocument): Promise<number> {
    const unrunMs = this.#noteUnrun(operation);
    const [ref] = operation.rest;
    if (ref === undefined) {
      await this.#finish(operation, operation.left);
      return TICK_MS;
    }
    const runner = this.#runnerOf(operation, ref);
    if (runner === 'this') return this.#work(operation, ref);
    this.#paces.delete(operation._id);
    if (runner === 'other' || unrunMs < LEFT_AFTER_MS) return LOOK_MS;
    const match = { ...operationMatch(filterOf(operation.filter)), ...ref };
    const { count } = await this.#options.store.deadLetters.totals(match);
    await this.#pass(operation, ref, count);
    return 0;
  }

  async #work(operation: OperationDocument, ref: GenerationRef): Promise<number> {
    const { store } = this.#options;
    const limit = this.#allowance(operation);
    if (limit === 0) return TICK_MS;
    const match = { ...operationMatch(filterOf(operation.filter)), ...ref };
    const count = Math.min(limit, BATCH_MAX_COUNT);
    const letters = await store.deadLetters.inOrderOfId(match, operation.after, count + 1);
    const some = batchOf(letters.slice(0, count));
    await this.#act(operation, some);
    await store.operations.countParts(new Date());
    const pace = this.#paces.get(operation._id);
    if (pace !== undefined) pace.credit -= some.length;
    if (letters.length === some.length) {
      await this.#pass(operation, ref, 0);
      return operation.rest.length > 1 ? 0 : TICK_MS;
    }
    await store.operations.reached(operation._id, ref, some.at(-1)?._id ?? '', new Date());
    return limit > some.length ? 0 : TICK_MS;
  }

  async #pass(operation: OperationDocument, ref: GenerationRef, leftCount: number): Promise<void> {
    const { _id, rest, left } = operation;
    await this.#options.store.operations.pass(_id, ref, leftCount, new Date());
    if (rest.length > 1) return;
    await this.#finish(operation, leftCount === 0 ? left : [...left, { ...ref, count: leftCount }]);
  }

  async #finish({ _id }: OperationDocument, left: OperationDocument['left']): Promise<void> {
    this.#paces.delete(_id);
    await this.#options.store.operations.finish(_id, left.length === 0 ? null : whatWasLeft(left), new Date());
  }

  #runnerOf({ logId }: OperationDocument, ref: GenerationRef): 'this' | 'other' | undefined {
    return this.#options.membership.runnerOf(consumerId(logId, ref));
  }

  /** How long nobody has run the generation in hand. All of them are noted, so that each is not waited for anew. */
  #noteUnrun(operation: OperationDocument): number {
    const nowMs = performance.now();
    for (const ref of operation.rest) {
      const id = consumerId(operation.logId, ref);
      if (this.#runnerOf(operation, ref) !== undefined) this.#unrun.delete(id);
      else if (!this.#unrun.has(id)) this.#unrun.set(id, nowMs);
    }
    const [first] = operation.rest;
    return first === undefined ? 0 : nowMs - (this.#unrun.get(consumerId(operation.logId, first)) ?? nowMs);
  }

  async #act(operation: OperationDocument, letters: readonly SeenDeadLetter[]): Promise<void> {
    const { consumer, errand, logger } = this.#options;
    const act = async (letter: SeenDeadLetter): Promise<void> => {
      const model = consumer(letter);
      // This process is on its way down.
      if (model === undefined || model.generation !== letter.generation)
        throw new Error('the consumer is not run here');
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

const whatWasLeft = (left: OperationDocument['left']): string => {
  const each = left.map(({ consumer, generation, count }) => `${count} of "${consumer}" (generation ${generation})`);
  return `Left as they are, since no process runs their consumer: ${each.join(', ')}. Start a worker with that code and do this again; retire what no code has any more.`;
};

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
