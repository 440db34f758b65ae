import type { AnyRecorded } from '../../define/event.ts';
import type { ConsumerModel } from '../../define/model.ts';
import type { DeadLetterDocument, LogDocument } from '../../store/documents.ts';
import type { PartitionRef } from '../../store/partitions.ts';
import type { SideWrites } from '../../store/side-writes.ts';
import type { FailedInput } from './dead-letter.ts';
import type { DocumentState } from './document-cache.ts';
import type { Effect } from './handler.ts';

/**
 * Work of a partition that is not in the log: a retry, a timer, what an operator does. It runs between stretches of events, on
 * everything handled so far, and is written like them: effects and revision in one transaction, on condition that nobody else
 * moved the partition. Errands of one partition are written together.
 */
export interface Errand<R = unknown> {
  /** The key that it concerns, or its dead letter. Errands of one key run one after the other. */
  readonly of: { readonly key: string } | { readonly deadLetter: string };
  /** True: `desk.waiting` holds the failing event and those parked behind it. */
  readonly waiting?: boolean;
  /** Reads of its own before `run`; in this process nobody moves the partition meanwhile. What it throws ends the errand. */
  readonly load?: (() => Promise<void>) | undefined;
  /** Since when it waits, known after `load`: one that waits since before processes died may be what killed them. */
  readonly dueAt?: () => Date | undefined;
  /**
   * Decides and says what is to be written, at once. May run again on other grounds when the transaction was lost. What it
   * throws goes to who asked, and nothing of this errand is written.
   */
  readonly run: (desk: ErrandDesk) => R;
}

/** An event that waits behind a dead letter (the failing one first), read anew: today's upcasters. */
export interface WaitingEvent {
  readonly position: number;
  readonly document: LogDocument | undefined;
  /** Throws what decoding it throws. */
  readonly decode: () => AnyRecorded;
}

/** What an errand sees of its key and what it may do. Everything it does is undone when it throws. */
export interface ErrandDesk {
  readonly consumer: ConsumerModel;
  readonly ref: PartitionRef;
  /** Empty when the errand named a dead letter that is not there. */
  readonly key: string;
  /** The partition has handled or parked everything up to here. */
  readonly checkpoint: number;
  /** The consumer is paused: no handler is to run for it. */
  readonly paused: boolean;
  /** The key's dead letter as it will be; undefined: the key flows. */
  readonly record: DeadLetterDocument | undefined;
  /** The failing event, unless the input that failed is none, and those parked behind it: oldest first, at most 500. */
  readonly waiting: readonly WaitingEvent[];
  /** The key's document, with what this errand did. */
  readonly document: DocumentState;
  /** Other documents that this errand changed. */
  readonly others: ReadonlyMap<string, DocumentState>;
  /** Writes besides documents. */
  readonly side: SideWrites;
  /** Runs the consumer's handler for an event and this key. Throws what the handler throws, and then did nothing. */
  handle(event: AnyRecorded): void;
  /** Throws when the errand must not run its handler: that killed the process each time, or could not be stored. */
  refusePoison(): void;
  /** Runs the failing input again that is no event. Throws what it throws. */
  retryInput(): void;
  /** Gives up the failing input, unless it is an event. */
  skipInput(): void;
  /** Does what a handler said; `cause` is noted in the document's marks. Throws when an earlier try could not be stored. */
  apply(effect: Effect, cause: { readonly position: number; readonly commandId: string }): void;
  /** Blocks the key, or writes its record anew. `parkedCount` is the caller's to keep right. */
  block(record: DeadLetterDocument): void;
  /** Blocks the key at an input that failed now (its first try), by the consumer's policy. Returns the record. */
  fail(failed: FailedInput): DeadLetterDocument;
  /** These no longer wait: handled, skipped, or the record's own failing event now. */
  unpark(positions: readonly number[]): void;
  /** The key flows again. Nothing may be parked any more. */
  unblock(): void;
}
