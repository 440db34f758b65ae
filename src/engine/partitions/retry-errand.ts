import { DocumentMissing } from '../../define/write-documents.ts';
import type { DeadLetterDocument } from '../../store/documents.ts';
import { withAttempt } from '../commands/intercept.ts';
import { deadLetterOf, type FailedInput } from './dead-letter.ts';
import type { Errand, ErrandDesk, WaitingEvent } from './errand.ts';

/** What became of a try. */
export type RetryEnd =
  /** No such dead letter (any more). */
  | { readonly kind: 'gone' }
  /** It was retried anew meanwhile: another job has it. */
  | { readonly kind: 'superseded' }
  /** The key flows. */
  | { readonly kind: 'healed'; readonly handledCount: number }
  /** Some were handled, more wait: try again at once. */
  | { readonly kind: 'more'; readonly handledCount: number }
  /** It failed; the next try is due at `record.nextAttemptAt`. `anew`: at a later event, with a job of its own. */
  | { readonly kind: 'retrying'; readonly record: DeadLetterDocument; readonly anew: boolean; readonly error: unknown }
  | { readonly kind: 'dead'; readonly record: DeadLetterDocument; readonly anew: boolean; readonly error: unknown }
  /** Its time has not come. */
  | { readonly kind: 'early'; readonly at: Date };

export interface RetryErrandOptions {
  readonly logId: string;
  readonly deadLetter: string;
  /** Of the job that tries; left out: whatever the record's is, due or not. */
  readonly delivery?: number | undefined;
  /** For handlers that are not pure: what came of them before, by position of the event. Others are not run. */
  readonly tried?: ReadonlyMap<number, Tried> | undefined;
}
/** How a handler ended that ran before. */
export type Tried = { readonly kind: 'done' } | { readonly kind: 'failed'; readonly error: unknown };

/** Clocks of processes and timers are not exact. */
const EARLY_MAX_MS = 50;
/** A paused consumer tries nothing; its jobs look again so often. */
const PAUSED_MS = 1_000;

/**
 * A try of a dead letter: the failing event is read from the log again and handled, then the parked ones behind it, in order,
 * until one fails or none is left. A record that is DEAD stays so.
 */
export function retryErrand(options: RetryErrandOptions): Errand<RetryEnd> {
  return { of: { deadLetter: options.deadLetter }, waiting: true, run: (desk) => retry(options, desk) };
}

function retry(options: RetryErrandOptions, desk: ErrandDesk): RetryEnd {
  const { record } = desk;
  const end = retryCheck(options, desk);
  if (end !== undefined || record === undefined) return end ?? { kind: 'gone' };
  return handleItems(options, desk, record, itemsOf(options, desk, record));
}

/** A try, within another errand, of a dead letter that this errand just released; it waits behind no job. */
export const tryReleased = (logId: string, desk: ErrandDesk): RetryEnd =>
  retry({ logId, deadLetter: desk.record?._id ?? '' }, desk);

/** Why there is nothing to try now; undefined: there is. */
export function retryCheck(options: RetryErrandOptions, desk: ErrandDesk): RetryEnd | undefined {
  const { record } = desk;
  if (record === undefined) return { kind: 'gone' };
  if (options.delivery !== undefined && record.delivery !== options.delivery) return { kind: 'superseded' };
  if (record.state === 'DEAD') return { kind: 'dead', record, anew: false, error: undefined };
  if (desk.paused) return { kind: 'early', at: new Date(Date.now() + PAUSED_MS) };
  const due = record.nextAttemptAt ?? new Date(0);
  if (options.delivery !== undefined && due.getTime() > Date.now() + EARLY_MAX_MS) return { kind: 'early', at: due };
  return undefined;
}

/** The failing input, or an event parked behind it. */
interface Item {
  readonly says: Omit<FailedInput, 'error'>;
  /** Throws what the handler throws. */
  readonly run: () => void;
  /** A handler that is not pure has not been tried with it. */
  readonly untried: boolean;
}

function itemsOf({ tried }: RetryErrandOptions, desk: ErrandDesk, record: DeadLetterDocument): readonly Item[] {
  const events = desk.waiting.map((event) => ({
    says: inputOf(event),
    run: tried === undefined ? () => desk.handle(event.decode()) : () => asTried(tried.get(event.position)),
    untried: tried?.has(event.position) === false,
  }));
  if (record.input === 'event') return events;
  const { input, position, eventId, inputType, correlationId } = record;
  const says = { input, position, eventId, inputType, correlationId };
  return [{ says, run: () => desk.retryInput(), untried: false }, ...events];
}

function asTried(end: Tried | undefined): void {
  if (end?.kind === 'failed') throw end.error;
}

/** Handles what waits, oldest first. */
function handleItems(
  { logId }: RetryErrandOptions,
  desk: ErrandDesk,
  record: DeadLetterDocument,
  items: readonly Item[],
): RetryEnd {
  const isComplete = items.length === record.parkedCount + 1;
  // The last one that was read takes the place of the failing one when there are more behind it.
  const readable = isComplete || items.length < 2 ? items : items.slice(0, -1);
  const untried = readable.findIndex((item) => item.untried);
  const handled = untried < 0 ? readable : readable.slice(0, untried);
  if (handled.length === 0) return { kind: 'more', handledCount: 0 };
  for (const [index, { says, run }] of handled.entries()) {
    try {
      withAttempt(index === 0 ? record.attempts + 1 : 1, run);
    } catch (error) {
      if (error instanceof DocumentMissing) throw error;
      unpark(desk, handled.slice(1, index + 1));
      return failedAt(logId, desk, record, { ...says, error }, index);
    }
  }
  unpark(desk, items.slice(1, handled.length + 1));
  const next = items[handled.length];
  if (next === undefined) {
    desk.unblock();
    return { kind: 'healed', handledCount: handled.length };
  }
  const parkedCount = record.parkedCount - handled.length;
  desk.block({ ...record, ...next.says, attempts: 0, parkedCount, nextAttemptAt: new Date() });
  return { kind: 'more', handledCount: handled.length };
}

const unpark = (desk: ErrandDesk, items: readonly Item[]): void => desk.unpark(items.map(({ says }) => says.position));

/** `handledCount`: how many were handled before it; with any, a later event fails, for the first time. */
function failedAt(
  logId: string,
  desk: ErrandDesk,
  record: DeadLetterDocument,
  failed: FailedInput,
  handledCount: number,
): RetryEnd {
  const { consumer, ref, key } = desk;
  const anew = handledCount > 0;
  const parkedCount = record.parkedCount - handledCount;
  const { attempts, delivery, firstFailedAt } = record;
  // Its tries have a job of their own.
  const before = anew
    ? { attempts: 0, delivery: delivery + 1, parkedCount, firstFailedAt: new Date() }
    : { attempts, delivery, parkedCount, firstFailedAt };
  const next = deadLetterOf({ logId, consumer, partition: ref.partition, key }, failed, before);
  desk.block(next);
  return { kind: next.state === 'DEAD' ? 'dead' : 'retrying', record: next, anew, error: failed.error };
}

/** What a record says of its failing event. */
export function inputOf({ position, document }: WaitingEvent): Omit<FailedInput, 'error'> {
  return {
    input: 'event',
    position,
    eventId: document?.id ?? null,
    inputType: document?.type ?? '',
    correlationId: document?.meta.correlationId ?? null,
  };
}
