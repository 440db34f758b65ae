import type { Model } from '../../define/model.ts';
import { mayRetry, type RetryPolicy, retryPolicy } from '../../define/retry-policy.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import type { QueuedCommandDocument, StoredError } from '../../store/documents.ts';
import { isMongoError } from '../../store/mongo-errors.ts';
import type { CommandOutcome, CommandRequest } from '../contract/runtime.ts';

/** How one try of a queued command ended. */
export type TryEnd =
  | { readonly kind: 'accepted'; readonly error?: StoredError }
  | { readonly kind: 'rejected'; readonly code: string; readonly reason: string }
  /** Counted; another try may help. */
  | { readonly kind: 'failed'; readonly error: unknown }
  /** No other try can help. */
  | { readonly kind: 'hopeless'; readonly error: unknown }
  /** Not counted: the surroundings, or code that is older than the command. */
  | { readonly kind: 'postponed'; readonly delayMs: number; readonly error?: unknown }
  /** Another process runs it, or it is settled. */
  | { readonly kind: 'elsewhere' };

/** Aggregates have no policy of their own. */
const AGGREGATE_POLICY = retryPolicy({}, 'queued commands of aggregates');
/** MongoDB or the aggregate is busy. */
const TROUBLE_MS = 500;
/** Newer code knows it: a process that has it will take it. */
const UNKNOWN_MS = 5_000;

/** Tries whose process died under them: then it is the handler that kills it. */
export const CRASHED_COUNT = 10;

const TROUBLE: ReadonlySet<string> = new Set(['TOO_BUSY', 'OUTCOME_UNKNOWN', 'MONGODB_UNREACHABLE', 'FENCED']);
const UNKNOWN: ReadonlySet<string> = new Set(['UNKNOWN_AGGREGATE', 'UNKNOWN_COMMAND', 'UNKNOWN_EVENT']);
const HOPELESS: ReadonlySet<string> = new Set(['EVENT_INVALID', 'DECISION_INVALID', 'COMMIT_TOO_LARGE']);

export function policyOf(
  model: Pick<Model, 'services'>,
  { targetKind, target }: Pick<QueuedCommandDocument, 'targetKind' | 'target'>,
): RetryPolicy {
  return (targetKind === 'service' ? model.services.get(target)?.retry : undefined) ?? AGGREGATE_POLICY;
}

/** Tries that a command may have. What a schema refuses was not tried at all: code of another version may take it. */
export const triesOf = ({ attempts }: RetryPolicy): number => Math.max(attempts, AGGREGATE_POLICY.attempts);

/** No other try follows the nth failed one (from 1). The author's policy is about handlers: a refused schema never called one. */
export function isLastTry(policy: RetryPolicy, attempts: number, error: unknown): boolean {
  if (isMillraceError(error, 'COMMAND_DATA_INVALID')) return attempts >= triesOf(policy);
  return attempts >= policy.attempts || !mayRetry(policy, error);
}

/** What an error that no handler of a service threw means. */
export function endOfError(error: unknown): TryEnd {
  const code = isMillraceError(error) ? error.code : undefined;
  // The next process takes it at once.
  if (code === 'SHUTTING_DOWN') return { kind: 'postponed', delayMs: 0, error };
  if (isMongoError(error) || (code !== undefined && TROUBLE.has(code))) {
    return { kind: 'postponed', delayMs: TROUBLE_MS, error };
  }
  if (code !== undefined && UNKNOWN.has(code)) return { kind: 'postponed', delayMs: UNKNOWN_MS, error };
  return { kind: code !== undefined && HOPELESS.has(code) ? 'hopeless' : 'failed', error };
}

/** One try of a command of an aggregate: the same commandId gives the same receipt, however often it is tried. */
export async function tryAggregate(
  handle: (request: CommandRequest) => Promise<CommandOutcome>,
  command: QueuedCommandDocument,
): Promise<TryEnd> {
  const { target, id, type, data, commandId, expectedVersion, meta } = command;
  try {
    const outcome = await handle({ aggregate: target, id, type, data, commandId, expectedVersion, meta });
    switch (outcome.kind) {
      case 'accepted':
        return { kind: 'accepted' };
      case 'rejected':
        return { kind: 'rejected', code: outcome.code, reason: outcome.reason };
      case 'conflict': {
        const reason = `the stream is at version ${outcome.actual}, not at ${outcome.expected}`;
        return { kind: 'rejected', code: 'VERSION_CONFLICT', reason };
      }
      case 'invalid':
        return { kind: 'failed', error: dataInvalid(command, outcome.issues) };
      case 'queued':
        return { kind: 'elsewhere' };
    }
  } catch (error) {
    return endOfError(error);
  }
}

/** It was checked when it was received: by code of another version, older or newer. A process that runs that code may take it yet. */
export function dataInvalid({ target, type }: QueuedCommandDocument, issues: readonly unknown[]): MillraceError {
  return new MillraceError(
    'COMMAND_DATA_INVALID',
    `Command "${type}" of "${target}" was received by code of another version, and its data does not fit the schema of this process. Once no process takes it: mend the schema and retry it, or cancel it.`,
    { details: { issues } },
  );
}

export const crashed = ({ target, targetKind, type, interruptions }: QueuedCommandDocument): MillraceError =>
  new MillraceError(
    'CRASHED',
    `The process that ran command "${type}" of ${targetKind} "${target}" died ${interruptions} times under it. Mend the handler (look for exit, abort, endless loops and memory without end), then retry the command.`,
  );
