import type { ConsumerModel } from '../../define/model.ts';
import { delayAfterMs, mayRetry } from '../../define/retry-policy.ts';
import { isMillraceError } from '../../errors.ts';
import { type BlockedKey, deadLetterId, parkedEventId } from '../../store/dead-letters.ts';
import type { DeadLetterDocument, LogDocument, ParkedEventDocument } from '../../store/documents.ts';
import type { PartitionRef } from '../../store/partitions.ts';
import { storedError } from '../log/error-record.ts';

/** An input that a handler failed at. */
export interface FailedInput {
  readonly input: DeadLetterDocument['input'];
  /** Of the event; the partition's checkpoint for other inputs. */
  readonly position: number;
  readonly eventId: string | null;
  /** Event type, timer name or command type. */
  readonly inputType: string;
  readonly correlationId: string | null;
  readonly error: unknown;
}

export const failedEvent = ({ _id, id, type, meta }: LogDocument, error: unknown): FailedInput => ({
  input: 'event',
  position: _id,
  eventId: id,
  inputType: type,
  correlationId: meta.correlationId,
  error,
});

/** What a record goes on from. */
export interface FailedBefore {
  /** The same input failed so often already. */
  readonly attempts: number;
  readonly delivery: number;
  readonly parkedCount: number;
  readonly firstFailedAt: Date;
}

/**
 * The record of a try that failed. RETRYING while the consumer's policy allows another try; an event that newer code knows is
 * tried for ever. `before`: of the same key, if it is blocked already.
 */
export function deadLetterOf(
  place: { readonly logId: string; readonly consumer: ConsumerModel; readonly partition: number; readonly key: string },
  failed: FailedInput,
  before?: FailedBefore,
): DeadLetterDocument {
  const { logId, consumer, partition, key } = place;
  const { error, ...input } = failed;
  const now = new Date();
  const { attempts, maxAttempts, delayMs } = nextTry(consumer, error, before?.attempts ?? 0);
  return {
    _id: deadLetterId(logId, { consumer: consumer.name, generation: consumer.generation }, key),
    logId,
    consumer: consumer.name,
    consumerKind: consumer.kind,
    generation: consumer.generation,
    version: consumer.version,
    partition,
    key,
    state: delayMs === undefined ? 'DEAD' : 'RETRYING',
    ...input,
    attempts,
    maxAttempts,
    // A key that failed before may have left a job behind: the same id would be taken for that one.
    delivery: before?.delivery ?? now.getTime(),
    error: storedError(error),
    parkedCount: before?.parkedCount ?? 0,
    firstFailedAt: before?.firstFailedAt ?? now,
    lastFailedAt: now,
    nextAttemptAt: delayMs === undefined ? null : new Date(now.getTime() + delayMs),
  };
}

/** No delay: there is no next try. */
function nextTry(
  { retry }: ConsumerModel,
  error: unknown,
  failedBefore: number,
): { readonly attempts: number; readonly maxAttempts: number | null; readonly delayMs: number | undefined } {
  const attempts = failedBefore + 1;
  // Newer code may be on its way, or another process has it.
  if (isMillraceError(error, 'UNKNOWN_EVENT')) return { attempts, maxAttempts: null, delayMs: retry.maxDelayMs };
  const maxAttempts = Number.isFinite(retry.attempts) ? retry.attempts : null;
  if (isMillraceError(error, 'CRASHED')) return { attempts, maxAttempts, delayMs: undefined };
  // No handler has seen it.
  if (isMillraceError(error, 'EVENT_INVALID')) return { attempts: failedBefore, maxAttempts, delayMs: undefined };
  if (!mayRetry(retry, error) || attempts >= retry.attempts) return { attempts, maxAttempts, delayMs: undefined };
  return { attempts, maxAttempts, delayMs: delayAfterMs(retry, attempts, error) };
}

export function blockedKeyOf(record: DeadLetterDocument): BlockedKey {
  const { _id, key, partition, state, input, position, attempts, delivery, parkedCount, nextAttemptAt } = record;
  return { _id, key, partition, state, input, position, attempts, delivery, parkedCount, nextAttemptAt };
}

export function parkedEvent(ref: PartitionRef, { _id, key }: BlockedKey, position: number): ParkedEventDocument {
  return { _id: parkedEventId(_id, position), deadLetter: _id, ...ref, key, position };
}
