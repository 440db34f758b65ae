import type { AggregateModel, PlainEvent } from '../../define/model.ts';
import { parseStreamKey } from '../../define/stream-key.ts';
import { MillraceError } from '../../errors.ts';
import type { CommitDocument, QueuedCommandDocument, RejectionDocument } from '../../store/documents.ts';
import type {
  CommandAccepted,
  CommandConflict,
  CommandQueued,
  CommandRejected,
  ReceiptEvent,
} from '../contract/runtime.ts';
import { encodeToken, UNDECIDED } from '../log/token.ts';

/** Most events that a conflict names. */
export const MISSED_EVENTS_CAP = 100;

/** An aggregate or service, as the events of its streams know it. */
type Emitter = Pick<AggregateModel, 'name' | 'events'>;

const NONE: readonly string[] = [];

interface ReceiptOptions {
  /** True when this is the receipt of an earlier try. */
  readonly duplicate: boolean;
  /** False for a dry run: its token waits for nothing. */
  readonly written: boolean;
}

/** The receipt of a commit; the same for every try of its command but for `duplicate`. */
export function acceptedReceipt(
  logId: string,
  aggregate: Emitter,
  commit: CommitDocument,
  { duplicate, written }: ReceiptOptions,
): CommandAccepted {
  const { stream, command, meta } = commit;
  const firstVersion = commit.version ?? null;
  const eventCount = commit.events.length;
  const waitsFor = written ? { firstVersion, eventCount } : { firstVersion: null, eventCount: 0 };
  return {
    kind: 'accepted',
    commandId: command.id,
    correlationId: meta.correlationId,
    streamId: stream,
    id: parseStreamKey(stream).id,
    version: firstVersion === null ? null : firstVersion + eventCount - 1,
    duplicate,
    ...(!written && { dryRun: true as const }),
    token: encodeToken({ logId, stream, commandId: command.id, ...waitsFor }),
    events: receiptEvents(aggregate, commit),
    behind: NONE,
  };
}

/** The events of a commit as today's code sees them. Throws UNKNOWN_EVENT. */
export function receiptEvents(aggregate: Emitter, commit: CommitDocument): readonly ReceiptEvent[] {
  const { tenant, aggregate: name, id } = parseStreamKey(commit.stream);
  return decodedEvents(aggregate, commit).map((event, index) => ({
    id: event.id,
    type: event.type,
    schemaVersion: event.schemaVersion,
    data: event.data,
    stream: { tenant, aggregate: name, id, version: (commit.version ?? 0) + index },
    position: null,
    commandId: commit.command.id,
    at: commit.at,
    meta: commit.meta,
  }));
}

/** What a repeat of a command meets: the first receipt, or IDEMPOTENCY_CONFLICT when the input differs. */
export function repeatedReceipt(
  logId: string,
  aggregate: Emitter,
  commit: CommitDocument,
  hash: string,
): CommandAccepted | CommandRejected {
  if (commit.command.hash !== hash) return idempotencyConflict(commit.command.id);
  return acceptedReceipt(logId, aggregate, commit, { duplicate: true, written: true });
}

export function repeatedRefusal(rejection: RejectionDocument, hash: string): CommandRejected {
  if (rejection.command.hash !== hash) return idempotencyConflict(rejection.command.id);
  return { kind: 'rejected', commandId: rejection.command.id, code: rejection.code, reason: rejection.reason };
}

/** What the sender of a queued command gets; the same for every try of it. */
export function queuedReceipt(logId: string, command: QueuedCommandDocument): CommandQueued {
  const { commandId, id, stream, meta } = command;
  const token = encodeToken({ logId, stream, commandId, ...UNDECIDED });
  return { kind: 'queued', commandId, correlationId: meta.correlationId, id, token };
}

export function idempotencyConflict(commandId: string): CommandRejected {
  return {
    kind: 'rejected',
    commandId,
    code: 'IDEMPOTENCY_CONFLICT',
    reason: 'this commandId was used before with other data; choose a new one for a new command',
  };
}

/** `expected` is not what the stream is at; names what happened since, oldest first, capped. */
export function conflictReceipt(
  aggregate: Emitter,
  commandId: string,
  versions: { readonly expected: number; readonly actual: number },
  missed: readonly CommitDocument[],
): CommandConflict {
  const events = missed
    .flatMap((commit) => receiptEvents(aggregate, commit))
    .filter((event) => event.stream.version > versions.expected);
  return { kind: 'conflict', commandId, ...versions, missedEvents: events.slice(0, MISSED_EVENTS_CAP) };
}

/** Stored events in today's version. Throws UNKNOWN_EVENT when this process does not know one. */
export function decodedEvents(
  aggregate: Emitter,
  commit: CommitDocument,
): readonly (PlainEvent & { readonly id: string; readonly schemaVersion: number })[] {
  return commit.events.map((event) => {
    const model = aggregate.events.get(event.type);
    if (model === undefined) {
      throw new MillraceError(
        'UNKNOWN_EVENT',
        `Stream "${commit.stream}" holds event "${event.type}", which aggregate "${aggregate.name}" of this process does not declare. Deploy the code that does.`,
      );
    }
    const data = model.decode(event.schemaVersion, event.data);
    return { id: event.id, type: event.type, schemaVersion: model.version, data };
  });
}
