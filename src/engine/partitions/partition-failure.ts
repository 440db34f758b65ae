import { type ErrorCode, MillraceError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import type { PartitionFailure } from '../../store/partitions.ts';
import { storedError } from '../log/error-record.ts';

const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 30_000;
const MESSAGE_MAX_LENGTH = 300;

/** How long a failing partition rests after its nth attempt (from 1). */
export const standStillMs = (attempts: number): number =>
  Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(attempts - 1, 10));

/** Why a partition cannot go past an event. */
export interface FailureCause {
  readonly position: number;
  readonly key: string;
  readonly eventType: string;
  readonly correlationId: string;
  readonly error: unknown;
}

/** The record of a failed attempt; counts on from `before` while it is the same event and key. */
export function failureOf(
  cause: Omit<FailureCause, 'correlationId'>,
  before: PartitionFailure | undefined,
): PartitionFailure {
  const { position, key, eventType, error } = cause;
  const again = before?.position === position && before.key === key ? before : undefined;
  const code: ErrorCode = error instanceof MillraceError ? error.code : 'HANDLER_FAILED';
  return {
    key,
    position,
    eventType,
    code,
    message: describe(error),
    attempts: (again?.attempts ?? 0) + 1,
    since: again?.since ?? new Date(),
  };
}

/** One short line: errors of handlers may carry whatever the handler had in hand. */
function describe(error: unknown): string {
  const { type, message } = storedError(error);
  const text = error instanceof Error ? `${type}: ${message}` : `thrown: ${typeof error}`;
  const [line = ''] = text.split(/[\r\n]/, 1);
  return line.length > MESSAGE_MAX_LENGTH ? `${line.slice(0, MESSAGE_MAX_LENGTH)}…` : line;
}

export function logStandStill(
  logger: Logger,
  consumer: string,
  { key, attempts, code }: PartitionFailure,
  { position, eventType, correlationId, error }: FailureCause,
): void {
  // Whatever was thrown may be of any size, or throw when it is looked at.
  const { type, message, stack } = storedError(error);
  const err = { type, message, stack };
  const fields = { consumer, position, eventType, key, correlationId, attempts, code, err };
  logger.error(fields, 'the keys of an event cannot be told; its partitions stand still before it');
}
