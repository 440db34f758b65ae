import { delayAfterMs, type RetryPolicy } from '../../define/retry-policy.ts';
import type { Logger } from '../../logger.ts';
import type { QueuedCommandDocument } from '../../store/documents.ts';
import type { Settlement } from '../../store/queued-commands.ts';
import { storedError } from '../log/error-record.ts';
import { isLastTry, type TryEnd } from './command-try.ts';

/** After a time for a next try has passed by so much, the sweep takes the command up. */
export const OVERDUE_MS = 2_000;

/** What is written of a try that ended; undefined: nothing, others see to it. Failures are logged. */
export function settlementOf(
  command: QueuedCommandDocument,
  end: TryEnd,
  { policy, startedAt, logger }: { readonly policy: RetryPolicy; readonly startedAt: Date; readonly logger: Logger },
): Settlement | undefined {
  const { _id: id, attempts, claim } = command;
  const own = { id, ...(claim === undefined ? {} : { holder: claim.holder }) };
  switch (end.kind) {
    case 'accepted':
      return { ...own, kind: 'accepted', attempts: attempts + 1, startedAt, ...(end.error && { error: end.error }) };
    case 'rejected': {
      const { code, reason } = end;
      const tell = command.sender !== undefined;
      return { ...own, kind: 'rejected', attempts: attempts + 1, startedAt, refusal: { code, reason }, tell };
    }
    case 'failed':
    case 'hopeless':
      return { ...own, ...failure(command, end, policy, logger) };
    case 'postponed':
      return {
        ...own,
        kind: 'postponed',
        dueMs: end.delayMs + (end.delayMs > 0 ? OVERDUE_MS : 0),
      };
    case 'elsewhere':
      return undefined;
  }
}

function failure(
  command: QueuedCommandDocument,
  end: TryEnd & { readonly kind: 'failed' | 'hopeless' },
  policy: RetryPolicy,
  logger: Logger,
) {
  const attempts = command.attempts + 1;
  const error = storedError(end.error);
  const over = end.kind === 'hopeless' || isLastTry(policy, attempts, end.error);
  const { target, type, commandId, meta } = command;
  const fields = {
    target,
    command: type,
    commandId,
    correlationId: meta.correlationId,
    attempts,
    code: error.code,
    err: end.error,
  };
  if (over) {
    logger.error(fields, 'a queued command is dead: retry or cancel it when its cause is mended');
    return { kind: 'dead', attempts, error } as const;
  }
  logger.warn(fields, 'a queued command failed and is tried again');
  const delayMs = delayAfterMs(policy, attempts, end.error);
  return { kind: 'retry', attempts, error, delayMs, dueMs: delayMs + OVERDUE_MS } as const;
}
