import type { ConsumerModel } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import type { Retries, RetryJob, RetryOutcome, RetryTask } from '../../queue/retries.ts';
import type { DeadLetterRef } from '../../store/dead-letters.ts';
import type { DeadLetterDocument } from '../../store/documents.ts';
import type { Errand } from './errand.ts';
import { type RetryEnd, retryErrand } from './retry-errand.ts';

/** Runs an errand of a partition; the promise is ErrandQueue's. */
export type DoErrand = <R>(partition: number, errand: Errand<R>) => Promise<R>;

/** After trouble with the surroundings. */
export const DISTURBED_MS = 1_000;
/** Jobs of one consumer that one process has in hand: errands of a partition are written together. */
export const RETRIES_AT_ONCE = 500;

/**
 * One job: a try of its dead letter, in the partition's transaction. Trouble of MongoDB or of the process is no try: the job
 * comes again. Never throws.
 */
export async function runRetry(
  errand: DoErrand,
  logId: string,
  { deadLetter, partition, delivery }: RetryJob,
  onFailed: (end: RetryFailed) => void,
): Promise<RetryOutcome> {
  try {
    for (;;) {
      const end = await errand(partition, retryErrand({ logId, deadLetter, delivery }));
      if (end.kind === 'more') continue;
      return outcomeOfEnd(end, onFailed);
    }
  } catch {
    return { kind: 'later', delayMs: DISTURBED_MS };
  }
}

export type RetryFailed = Extract<RetryEnd, { kind: 'retrying' | 'dead' }>;

/** What a try means for its job. */
export function outcomeOfEnd(end: RetryEnd, onFailed: (end: RetryFailed) => void): RetryOutcome {
  if (end.kind === 'early') return { kind: 'later', delayMs: Math.max(1, end.at.getTime() - Date.now()) };
  if (end.kind !== 'retrying' && end.kind !== 'dead') return { kind: 'done' };
  if (end.error !== undefined) onFailed(end);
  // A later event failed: its tries have a job of their own.
  return end.anew ? { kind: 'done' } : outcomeOf(end.record);
}

function outcomeOf({ state, nextAttemptAt, error }: DeadLetterDocument): RetryOutcome {
  // Texts of errors may hold payloads: those stay in MongoDB.
  const says = `${error.code} ${error.fingerprint}`;
  if (state === 'DEAD' || nextAttemptAt === null) return { kind: 'dead', says };
  return { kind: 'failed', says, delayMs: Math.max(0, nextAttemptAt.getTime() - Date.now()) };
}

/** The job of a record. A dead one has a job too: it fails at once and rests where tools look. */
export const taskOf = (record: Omit<DeadLetterRef, 'consumer' | 'generation' | 'version' | 'state'>): RetryTask => ({
  deadLetter: record._id,
  partition: record.partition,
  delivery: record.delivery,
  dueAtMs: record.nextAttemptAt?.getTime() ?? 0,
  maxAttempts: record.maxAttempts,
});

/** Jobs for what a partition just wrote. Lost ones are found by the sweep. */
export function scheduleRetries(
  retries: Retries | undefined,
  { name, version }: ConsumerModel,
  records: readonly DeadLetterDocument[],
): void {
  if (retries === undefined || records.length === 0) return;
  void retries.schedule({ consumer: name, version }, records.map(taskOf));
}

/** One line a try, with as much of the error as its record keeps: what was thrown may be of any size, or throw when looked at. */
export function logFailure(logger: Logger, record: DeadLetterDocument): void {
  const { consumer, key, position, inputType, correlationId, attempts, state, nextAttemptAt } = record;
  const { code, fingerprint, type, message, stack } = record.error;
  const fields = { consumer, key, position, inputType, correlationId, attempts, code, fingerprint, nextAttemptAt };
  const what = state === 'DEAD' ? 'a handler failed for good; its key waits for somebody to act' : 'a handler failed';
  logger.error({ ...fields, deadLetter: record._id, err: { type, message, stack } }, what);
}
