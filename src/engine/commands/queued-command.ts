import type { Model } from '../../define/model.ts';
import type { Issue } from '../../define/schema.ts';
import { MillraceError } from '../../errors.ts';
import type { QueuedCommandDocument } from '../../store/documents.ts';
import { newId } from '../concurrency/new-id.ts';
import type { CommandInvalid, CommandRequest } from '../contract/runtime.ts';
import { arriveAt } from './arrive-command.ts';

/** Time that a process has before others take a command up: its writer, who carries it out at once; or whoever gets the job. */
const DIRECT_MS = 4_000;
const JOB_MS = 2_000;
/** Clocks of processes differ by less. */
const SURELY_PAST_MS = 2 * 3_600_000;
/** The last moment that a DateTime can name. */
const LATEST_MS = Date.UTC(9_999, 11, 31, 23, 59, 59, 999);

export interface QueueingDeps {
  readonly model: Pick<Model, 'aggregates' | 'services'>;
  readonly logId: string;
  readonly dataMaxBytes: number;
}
export interface QueueingRequest extends CommandRequest {
  /** The saga instance that sends it: it is told when the command is refused. */
  readonly sender?: QueuedCommandDocument['sender'];
  /** This process hands the document to its CommandWorker as soon as it is written. */
  readonly direct?: boolean;
}

export const queuedCommandId = (stream: string, commandId: string): string => `${stream}\u0000${commandId}`;

/**
 * The document of a command that waits for a worker, checked as any command is; written by whoever calls. A command of a
 * service has a stream of its own, named by its commandId. Throws UNKNOWN_AGGREGATE or UNKNOWN_COMMAND; bad data is a value.
 */
export function queuedCommand(
  deps: QueueingDeps,
  request: QueueingRequest,
  now = new Date(),
): QueuedCommandDocument | CommandInvalid {
  const target = deps.model.aggregates.get(request.aggregate) ?? deps.model.services.get(request.aggregate);
  if (target === undefined) {
    const name = request.aggregate.slice(0, 80);
    throw new MillraceError('UNKNOWN_AGGREGATE', `There is no aggregate or service "${name}".`);
  }
  const targetKind = target.definition.kind;
  const named = targetKind === 'service' ? ownStream(request) : request;
  const arrived = arriveAt(target, { dataMaxBytes: deps.dataMaxBytes, timeoutMs: 0 }, named);
  if ('kind' in arrived) return arrived;
  const refused = refusal(request, targetKind, arrived.command.unstored);
  if (refused !== undefined) return { kind: 'invalid', commandId: arrived.commandId, issues: [refused] };

  const { stream, commandId, expectedVersion, meta } = arrived;
  // MongoDB's clock decides what is past; only a time that is past by any clock needs no timer.
  const delayed = request.sendAt !== undefined && request.sendAt.getTime() > now.getTime() - SURELY_PAST_MS;
  const direct = request.direct === true && !delayed && targetKind === 'aggregate';
  const dueAt = new Date(now.getTime() + (request.direct === true ? DIRECT_MS : JOB_MS));
  return {
    _id: queuedCommandId(stream, commandId),
    logId: deps.logId,
    stream,
    target: target.name,
    targetKind,
    id: arrived.id,
    commandId,
    type: arrived.command.type,
    data: arrived.stored,
    hash: arrived.hash,
    ...(expectedVersion === undefined ? {} : { expectedVersion }),
    meta,
    state: direct ? 'RUNNING' : 'RECEIVED',
    attempts: 0,
    delivery: 1,
    receivedAt: now,
    // Timers see to those that wait for their time.
    ...(delayed && request.sendAt !== undefined ? { notBefore: request.sendAt } : { dueAt }),
    ...(direct ? { startedAt: now } : {}),
    updatedAt: now,
    ...(request.sender === undefined ? {} : { sender: request.sender }),
  };
}

/** An id that is given without a commandId is the commandId. Senders that choose both (sagas) mean the commandId. */
function ownStream(request: QueueingRequest): QueueingRequest {
  const commandId = request.commandId ?? request.id ?? newId();
  return { ...request, commandId, id: commandId };
}

function refusal(
  { sendAt, dryRun, expectedVersion, data }: QueueingRequest,
  targetKind: 'aggregate' | 'service',
  unstored: readonly string[],
): Issue | undefined {
  if (targetKind === 'service' && expectedVersion !== undefined) {
    return { path: ['expectedVersion'], message: 'a service has a stream for each command: leave it out' };
  }
  if (dryRun === true) return { path: ['dryRun'], message: 'a command that goes to a queue cannot be tried' };
  if (sendAt !== undefined && !(sendAt.getTime() <= LATEST_MS)) {
    return { path: ['sendAt'], message: 'must be a point in time with a zone, not later than the year 9999' };
  }
  const lost = unstored.find((field) => typeof data === 'object' && data !== null && Object.hasOwn(data, field));
  if (lost === undefined) return undefined;
  return { path: [lost], message: 'is never stored, so this command cannot wait in a queue: send it with mode NOW' };
}
