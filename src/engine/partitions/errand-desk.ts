import type { AnyRecorded } from '../../define/event.ts';
import type { ConsumerModel } from '../../define/model.ts';
import { MillraceError } from '../../errors.ts';
import { parkedEventId } from '../../store/dead-letters.ts';
import type { DeadLetterDocument } from '../../store/documents.ts';
import type { PartitionRef } from '../../store/partitions.ts';
import { SideWrites } from '../../store/side-writes.ts';
import { deadLetterOf, type FailedInput } from './dead-letter.ts';
import { ABSENT, changed, type DocumentState } from './document-cache.ts';
import type { ErrandDesk, WaitingEvent } from './errand.ts';
import type { Effect, Handler, OtherInput } from './handler.ts';

export interface DeskInput {
  readonly logId: string;
  readonly consumer: ConsumerModel;
  readonly handler: Handler;
  readonly ref: PartitionRef;
  readonly key: string;
  readonly checkpoint: number;
  readonly paused: boolean;
  /** Of the transaction that it is to be written with. */
  readonly revision: number;
  readonly record: DeadLetterDocument | undefined;
  readonly waiting: readonly WaitingEvent[];
  readonly document: DocumentState;
  /** Other documents of the partition, as far as they are in memory. */
  readonly read: (id: string) => DocumentState | undefined;
  /** The failing input when it is no event. */
  readonly otherInput: Pick<OtherInput, 'run' | 'skip'> | undefined;
  /** Thrown instead of running a handler: what it did before cannot be written. */
  readonly poison: unknown;
}

/** One errand's own draft: nothing of it is anywhere before it is written. */
export class Desk implements ErrandDesk {
  readonly consumer: ConsumerModel;
  readonly ref: PartitionRef;
  readonly key: string;
  readonly checkpoint: number;
  readonly paused: boolean;
  readonly waiting: readonly WaitingEvent[];
  readonly side = new SideWrites();
  record: DeadLetterDocument | undefined;
  document: DocumentState;
  /** The document is to be written. */
  documentChanged = false;
  /** Others that are to be written. */
  readonly others = new Map<string, DocumentState>();
  readonly #input: DeskInput;

  constructor(input: DeskInput) {
    this.#input = input;
    this.consumer = input.consumer;
    this.ref = input.ref;
    this.key = input.key;
    this.checkpoint = input.checkpoint;
    this.paused = input.paused;
    this.waiting = input.waiting;
    this.record = input.record;
    this.document = input.document;
  }

  /** The record when the errand began. */
  get before(): DeadLetterDocument | undefined {
    return this.#input.record;
  }

  get isEmpty(): boolean {
    return !this.documentChanged && this.others.size === 0 && this.side.isEmpty;
  }

  handle(event: AnyRecorded): void {
    const { handler, ref } = this.#input;
    this.refusePoison();
    // What newer code no longer handles does nothing.
    if (!this.consumer.handles.has(event.type)) return;
    const read = (id: string) => this.others.get(id) ?? this.#input.read(id);
    const input = { key: this.key, state: this.document, partition: ref.partition, read };
    const effect = handler.handle(event, input);
    if (effect !== undefined) this.apply(effect, event);
  }

  retryInput(): void {
    const { otherInput } = this.#input;
    if (otherInput === undefined) {
      const what = `${this.record?.input ?? 'input'} "${this.record?.inputType ?? ''}"`;
      throw new MillraceError(
        'INTERNAL',
        `Consumer "${this.consumer.name}" cannot try a ${what} again: it has no way to.`,
      );
    }
    otherInput.run(this);
  }

  skipInput(): void {
    this.#input.otherInput?.skip(this);
  }

  apply(
    { next, documents, side }: Effect,
    { position, commandId }: { readonly position: number; readonly commandId: string },
  ): void {
    this.refusePoison();
    const { revision, read } = this.#input;
    for (const [id, author] of documents ?? []) {
      const before = this.others.get(id) ?? read(id) ?? ABSENT;
      this.others.set(id, changed(before, author ?? undefined, { position, revision, commandId }));
    }
    if (next !== undefined) {
      this.document = changed(this.document, next ?? undefined, { position, revision, commandId });
      this.documentChanged = true;
    }
    if (side !== undefined) this.side.merge(side);
  }

  block({ begun: _ended, ...record }: DeadLetterDocument): void {
    const { record: before } = this;
    this.record = record;
    // Released by the thousand, records keep their long texts: only what changes is written.
    if (before?.error === record.error) {
      // A try that was begun with care is over, counted since it was read.
      this.side.set('dead_letters', record._id, { ...changedFields(before, record), begun: undefined });
    } else this.side.put('dead_letters', record);
  }

  fail(failed: FailedInput): DeadLetterDocument {
    const { logId, consumer, ref, key } = this.#input;
    const { record } = this;
    const before = record && { ...record, attempts: 0, delivery: record.delivery + 1 };
    const blocked = deadLetterOf({ logId, consumer, partition: ref.partition, key }, failed, before);
    this.block(blocked);
    return blocked;
  }

  unpark(positions: readonly number[]): void {
    const { record } = this;
    if (record === undefined) return;
    for (const position of positions) this.side.remove('parked_events', parkedEventId(record._id, position));
  }

  unblock(): void {
    if (this.record !== undefined) this.side.remove('dead_letters', this.record._id);
    this.record = undefined;
    this.#input.handler.released?.(this);
  }

  refusePoison(): void {
    if (this.#input.poison !== undefined) throw this.#input.poison;
  }
}

/** What is other in `after`; undefined for what is there no more. */
function changedFields(before: DeadLetterDocument, after: DeadLetterDocument): Readonly<Record<string, unknown>> {
  const [old, now] = [new Map(Object.entries(before)), new Map(Object.entries(after))];
  const names = [...new Set([...old.keys(), ...now.keys()])];
  return Object.fromEntries(names.flatMap((name) => (old.get(name) === now.get(name) ? [] : [[name, now.get(name)]])));
}
