import type { AnyRecorded } from '../../define/event.ts';
import type { StartFrom } from '../../define/start-from.ts';
import type { DeadLetterCount as StoredCount, DeadLetterGroup as StoredGroup } from '../../store/dead-letter-reads.ts';
import type { AuditDocument, DeadLetterDocument, OperationDocument, StoredError } from '../../store/documents.ts';
import type { Rebuilds } from './rebuild.ts';
import type { Page, PageInput } from './runtime.ts';

/** What operators see and do. Every action needs a reason and is written to the audit, together with what it did. */

/** Who acts, and why. */
export interface OperatorCall {
  /** Null until access rules know who asks. */
  readonly actor: string | null;
  /** 1 to 1,000 characters; REASON_MISSING without one. */
  readonly reason: string;
}

/** A key of a consumer whose event failed. */
export interface DeadLetter extends Omit<DeadLetterDocument, '_id' | 'logId' | 'operation'> {
  readonly id: string;
}
export type { StoredError };

/** An event that waits behind a dead letter. */
export interface ParkedEvent {
  readonly position: number;
}

/** All that is given must hold. */
export interface DeadLetterFilter {
  /** At most 1,000. */
  readonly ids?: readonly string[] | null | undefined;
  readonly consumer?: string | null | undefined;
  readonly key?: string | null | undefined;
  readonly state?: 'RETRYING' | 'DEAD' | null | undefined;
  readonly fingerprint?: string | null | undefined;
  /** Type of the event that failed (of a saga also: name of the timer, type of the command). */
  readonly eventType?: string | null | undefined;
  readonly correlationId?: string | null | undefined;
  /** Failed first at or after this. */
  readonly since?: Date | null | undefined;
  /** Failed first before this. */
  readonly until?: Date | null | undefined;
}

/** Dead letters with the same error. */
export interface DeadLetterGroup extends Omit<StoredGroup, 'sample'> {
  /** The one that failed last. */
  readonly sample: DeadLetter;
}

export type DeadLetterCount = Omit<StoredCount, 'generation' | 'since'>;

/** What a retry would set in motion. */
export interface RetryPreview {
  /** Keys that would be tried again. */
  readonly keyCount: number;
  /** Their events: those that failed and those that wait behind them. */
  readonly eventCount: number;
  readonly oldest: Date | null;
  readonly consumers: readonly { readonly name: string; readonly keyCount: number; readonly eventCount: number }[];
  /** For a single dead letter: what its handler would do now, tried without writing. */
  readonly dryRun: DryRun | null;
}
export interface DryRun {
  /** NOT_TRIED: this handler has effects outside (observers), or its input cannot be tried here; `reason` says why. */
  readonly result: 'WOULD_SUCCEED' | 'WOULD_FAIL' | 'NOT_TRIED';
  readonly error: StoredError | null;
  readonly reason: string | null;
}

/** Long work that an operator started. */
export interface Operation
  extends Omit<OperationDocument, '_id' | 'logId' | 'filter' | 'rest' | 'after' | 'left' | 'position'> {
  readonly id: string;
  readonly filter: DeadLetterFilter;
}

export interface AuditEntry extends Omit<AuditDocument, '_id' | 'logId'> {
  readonly id: string;
}
export interface AuditFilter {
  readonly action?: string | null | undefined;
  readonly actor?: string | null | undefined;
  /** A consumer, dead letter or operation. */
  readonly target?: string | null | undefined;
  readonly since?: Date | null | undefined;
  readonly until?: Date | null | undefined;
}

/** What a reset would do. */
export interface ResetPreview {
  /** Everything up to here counts as handled after it; handling begins with the next event. */
  readonly position: number;
  readonly logEnd: number;
  /** Events of the log that would be looked at again or for the first time. */
  readonly eventCount: number;
  /** Events between where it is and `position` that would never be handled (a reset forward). */
  readonly skippedCount: number;
  /** View documents or saga instances that would be removed. */
  readonly documentCount: number;
  /** Dead letters that would be removed. */
  readonly deadLetterCount: number;
  /** In words, what happens. */
  readonly effects: readonly string[];
}
export interface ResetOptions {
  /** Sagas, to the past: remove all instances. Without it such a reset is refused. */
  readonly dropInstances?: boolean | undefined;
  /**
   * Observers, to the past: run the side effects again, and remove the dead letters after the position, whose events come again.
   * Default: events that were handled before are skipped; with `replays` they are always run again.
   */
  readonly repeatEffects?: boolean | undefined;
}

export interface Operators extends Rebuilds {
  /** The one that failed first comes first. */
  deadLetters(filter: DeadLetterFilter, page: PageInput): Promise<Page<DeadLetter>>;
  deadLetter(id: string): Promise<DeadLetter | undefined>;
  /** Events that wait behind a dead letter, in order. */
  parkedEvents(id: string, page: PageInput): Promise<Page<ParkedEvent>>;
  /** An event of the log by position; as stored where today's code cannot read it. Equal reads of one turn share a round trip. */
  eventAt(position: number): Promise<AnyRecorded | undefined>;
  /** The largest 100. */
  deadLetterGroups(filter: DeadLetterFilter): Promise<readonly DeadLetterGroup[]>;
  deadLetterCounts(): Promise<readonly DeadLetterCount[]>;
  /** Now, and whenever they change (within about a second). */
  watchDeadLetterCounts(signal: AbortSignal): AsyncIterable<readonly DeadLetterCount[]>;
  previewRetry(filter: DeadLetterFilter): Promise<RetryPreview>;
  /**
   * Tries dead letters again, `ratePerSecond` keys a second (default 100); those that are DEAD, unless the filter names
   * another state. Goes on in the workers that run their consumers, whoever dies; FAILED at its end when some were left because no
   * worker runs theirs. Throws OPERATION_RUNNING when one runs that may concern the same dead letters; for a filter of one id
   * UNKNOWN_DEAD_LETTER, DEAD_LETTER_BUSY and, when workers run but none with its consumer, CONSUMER_NOT_RUNNING.
   */
  retryDeadLetters(filter: DeadLetterFilter, ratePerSecond: number | undefined, call: OperatorCall): Promise<Operation>;
  /**
   * Gives up the event that failed; the key goes on with what waits behind it. Answers what is left, if anything. `position`:
   * only if it still is the event at that position, else DEAD_LETTER_BUSY. Throws UNKNOWN_DEAD_LETTER, CONSUMER_NOT_RUNNING, and
   * OPERATION_RUNNING when no worker does it within 10 s.
   */
  skipDeadLetter(id: string, call: OperatorCall, position?: number): Promise<DeadLetter | undefined>;
  /** The same for many, as an operation; each has its entry in the audit. */
  skipDeadLetters(filter: DeadLetterFilter, ratePerSecond: number | undefined, call: OperatorCall): Promise<Operation>;
  operation(id: string): Promise<Operation | undefined>;
  /** Newest first. */
  operations(page: PageInput): Promise<Page<Operation>>;
  /** Now, and whenever it changes, until it is over. Throws UNKNOWN_OPERATION. */
  watchOperation(id: string, signal: AbortSignal): AsyncIterable<Operation>;
  /** What was released stays released. Throws UNKNOWN_OPERATION; one that is over stays as it is. */
  stopOperation(id: string, call: OperatorCall): Promise<Operation>;
  /** Newest first. */
  audit(filter: AuditFilter, page: PageInput): Promise<Page<AuditEntry>>;

  pauseConsumer(name: string, call: OperatorCall): Promise<void>;
  resumeConsumer(name: string, call: OperatorCall): Promise<void>;
  previewReset(name: string, to: StartFrom, options?: ResetOptions): Promise<ResetPreview>;
  /** Only while it is paused, else CONSUMER_RUNNING. It stays paused. */
  resetConsumer(name: string, to: StartFrom, call: OperatorCall, options?: ResetOptions): Promise<ResetPreview>;
  /**
   * Removes what a consumer left behind that is in no module of this process and that no living process runs. Throws
   * CONSUMER_RUNNING otherwise, OPERATION_RUNNING while somebody else does it. A process with that code that starts later begins it
   * anew.
   */
  retireConsumer(name: string, generation: number, call: OperatorCall): Promise<void>;
}
