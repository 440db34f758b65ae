import { MillraceError } from '../../errors.ts';
import type { AuditDocument, QueuedCommandDocument } from '../../store/documents.ts';
import type { QueuedCommandStore } from '../../store/queued-commands.ts';
import { auditEntry } from '../audit/audit-entry.ts';
import { checkCall } from '../audit/operator-input.ts';
import type { CommandStatus, PageInput, QueuedCommand, Runtime } from '../contract/runtime.ts';
import { decodeToken } from '../log/token.ts';
import { decodeRecordCursor, encodeRecordCursor } from '../views/cursor.ts';
import { readPage, readPageInput } from '../views/page.ts';
import { type CommandStatusDeps, createCommandStatus, statusOfQueued } from './command-status.ts';
import { queuedCommandId } from './queued-command.ts';

export interface CommandOperationsDeps extends CommandStatusDeps {
  readonly queued: QueuedCommandStore;
  /** It waits for a worker again. `before`: as it was. */
  readonly onRetried: (command: QueuedCommandDocument) => void;
  /** It was given up. */
  readonly onCancelled: (command: QueuedCommandDocument) => void;
}
/** A revived command is a job's at first; after this the sweep takes it up. */
const JOB_MS = 2_000;

/** What operators see of queued commands, and do with them. */
export function createCommandOperations(
  deps: CommandOperationsDeps,
): Pick<Runtime, 'queuedCommands' | 'retryCommand' | 'cancelCommand'> {
  const { logId, queued } = deps;
  const { commandByToken } = createCommandStatus(deps);
  const idOf = (token: string): string => {
    const { stream, commandId } = decodeToken(token, logId);
    return queuedCommandId(stream, commandId);
  };
  const seen = async (token: string): Promise<CommandStatus> => {
    const status = await commandByToken(token);
    if (status !== undefined) return status;
    throw new MillraceError('BAD_TOKEN', 'Nothing is known of the command of this token.');
  };
  return {
    async queuedCommands({ state, target }, page: PageInput) {
      if (state !== 'RECEIVED' && state !== 'RUNNING' && state !== 'DEAD') {
        throw new MillraceError(
          'BAD_INPUT',
          '`state` must be RECEIVED, RUNNING or DEAD: settled commands are not listed.',
        );
      }
      const request = readPageInput(page, (cursor) => {
        const [at, id] = decodeRecordCursor(cursor, logId, 'queuedCommands', ['number', 'string']);
        return { dueAt: new Date(Number(at)), id: String(id) };
      });
      const placeMs = ({ finishedAt, dueAt }: QueuedCommandDocument): number =>
        Number(state === 'DEAD' ? finishedAt : dueAt);
      return readPage(
        request,
        (slice) => queued.list({ state, target: target ?? undefined }, slice),
        (command) => ({
          cursor: encodeRecordCursor(logId, 'queuedCommands', [placeMs(command), command._id]),
          node: shown(logId, command),
        }),
      );
    },
    async retryCommand(token, options) {
      const { actor, reason } = checkCall({ actor: options.actor ?? null, reason: options.reason });
      const after = await queued.revive(idOf(token), JOB_MS, (before) =>
        auditOf(logId, 'command.retry', before, { actor, reason, state: 'RECEIVED' }),
      );
      if (after !== undefined) {
        deps.onRetried(after);
        return statusOfQueued(logId, after);
      }
      const { status } = await seen(token);
      throw new MillraceError('COMMAND_NOT_DEAD', `This command is ${status}; only a DEAD one can be retried.`, {
        details: { status },
      });
    },
    async cancelCommand(token, options) {
      const { actor, reason } = checkCall({ actor: options.actor ?? null, reason: options.reason });
      const after = await queued.cancel(idOf(token), reason, (before) =>
        auditOf(logId, 'command.cancel', before, { actor, reason, state: 'CANCELLED' }),
      );
      if (after !== undefined) {
        deps.onCancelled(after);
        return statusOfQueued(logId, after);
      }
      const { status } = await seen(token);
      throw new MillraceError(
        'COMMAND_NOT_WAITING',
        `This command is ${status}; only one that has not begun (RECEIVED) or is DEAD can be cancelled.`,
        { details: { status } },
      );
    },
  };
}

function auditOf(
  logId: string,
  action: string,
  { stream, commandId, state, attempts, delivery, error }: QueuedCommandDocument,
  call: { readonly actor: string | null; readonly reason: string; readonly state: string },
): AuditDocument {
  const before = { state, attempts, delivery, error: error?.code ?? null };
  return auditEntry(logId, call, { action, target: `${stream}/${commandId}`, before, after: { state: call.state } });
}

function shown(logId: string, command: QueuedCommandDocument): QueuedCommand {
  const { target, id, type, meta, receivedAt } = command;
  const { correlationId, actor } = meta;
  return { status: statusOfQueued(logId, command), target, id, type, correlationId, actor, receivedAt };
}
