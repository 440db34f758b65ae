import { crashPoint } from '../../crash-points.ts';
import type { Model } from '../../define/model.ts';
import { MillraceError } from '../../errors.ts';
import type { CommitStore } from '../../store/commits.ts';
import type { QueuedCommandDocument } from '../../store/documents.ts';
import { inTime } from '../../store/in-time.ts';
import type { QueuedCommandStore } from '../../store/queued-commands.ts';
import { type RejectionStore, rejectionId } from '../../store/rejections.ts';
import { batchWhileBusy } from '../concurrency/batch-while-busy.ts';
import type { CommandInvalid, CommandOutcome, CommandRequest } from '../contract/runtime.ts';
import type { CommandLimits } from './arrive-command.ts';
import { queuedCommand } from './queued-command.ts';
import { idempotencyConflict, queuedReceipt, repeatedReceipt, repeatedRefusal } from './receipts.ts';

export interface CommandReceiverDeps {
  readonly model: Model;
  readonly logId: string;
  readonly limits: CommandLimits;
  /** Decides at once. */
  readonly handle: (request: CommandRequest) => Promise<CommandOutcome>;
  readonly store: Pick<QueuedCommandStore, 'insert'>;
  readonly commits: Pick<CommitStore, 'byCommand'>;
  readonly rejections: Pick<RejectionStore, 'find'>;
  /** A command was stored (majority). `direct`: this process carries it out itself. */
  readonly onQueued: (command: QueuedCommandDocument) => void;
  readonly direct: boolean;
}
export interface CommandReceiver {
  /** Decides a command now or stores it for a worker, as it asks for; those of services are always stored. */
  handle(request: CommandRequest): Promise<CommandOutcome>;
  /** Stores it, whatever its mode; undefined when that is done, also before. */
  queue(request: CommandRequest): Promise<CommandInvalid | undefined>;
}

const INSERTS_MAX_COUNT = 500;

/**
 * Where commands come in. A queued one is answered after a majority has it: it is then carried out, whatever is killed. A repeat gets
 * the receipt of the first, also when that was sent in the other mode. Errors: those of the command handler.
 */
export function createCommandReceiver(deps: CommandReceiverDeps): CommandReceiver {
  const { model, logId, limits, direct } = deps;
  const insert = batchWhileBusy(
    async (commands: readonly QueuedCommandDocument[]) => {
      // Of one command that came twice at once the first is stored: it has an owner, and the others are told of it.
      const firsts = new Map<string, QueuedCommandDocument>();
      for (const command of commands) if (!firsts.has(command._id)) firsts.set(command._id, command);
      const stored = await deps.store.insert([...firsts.values()]);
      const known = new Map(stored.map((command) => [command._id, command]));
      crashPoint('after-receive');
      return commands.map((command) => {
        const first = firsts.get(command._id);
        return known.get(command._id) ?? (first === command ? undefined : first);
      });
    },
    { maxCount: INSERTS_MAX_COUNT },
  );

  const store = async (request: CommandRequest): Promise<CommandOutcome> => {
    const command = queuedCommand({ model, logId, dataMaxBytes: limits.dataMaxBytes }, { ...request, direct });
    if ('kind' in command) return command;
    if (request.commandId !== undefined) {
      const earlier = await earlierAnswer(deps, command);
      if (earlier !== undefined) return earlier;
    }
    const known = await insert(command);
    if (known === undefined) deps.onQueued(command);
    else if (known.hash !== command.hash) return idempotencyConflict(command.commandId);
    const { refusal, commandId } = known ?? command;
    if (refusal !== undefined) return { kind: 'rejected', commandId, ...refusal };
    return queuedReceipt(logId, command);
  };
  const inTheirTime = async (request: CommandRequest): Promise<CommandOutcome> => {
    // Chosen here at the latest, so that an error can name what to repeat.
    try {
      return await inTime(store(request), limits.timeoutMs, 'the store of queued commands');
    } catch (cause) {
      if (cause instanceof MillraceError && cause.code !== 'MONGODB_UNREACHABLE') throw cause;
      throw new MillraceError(
        'OUTCOME_UNKNOWN',
        'Whether the command was stored is not known. Repeat it with the same commandId: it takes effect at most once.',
        { cause, details: { commandId: request.commandId ?? null } },
      );
    }
  };
  return {
    async handle(request) {
      const { mode, sendAt } = request;
      if (mode === 'NOW' && sendAt !== undefined) {
        const message = 'a command that is sent later is queued: leave `mode` out';
        return { kind: 'invalid', commandId: request.commandId ?? null, issues: [{ path: ['mode'], message }] };
      }
      const queued = mode === 'QUEUED' || sendAt !== undefined || model.services.has(request.aggregate);
      return queued ? inTheirTime(request) : deps.handle(request);
    },
    async queue(request) {
      const outcome = await inTheirTime(request);
      return outcome.kind === 'invalid' ? outcome : undefined;
    },
  };
}

/** The answer that this commandId has had before, in whatever mode. */
async function earlierAnswer(
  { model, logId, commits, rejections }: CommandReceiverDeps,
  command: QueuedCommandDocument,
): Promise<CommandOutcome | undefined> {
  const { stream, commandId, hash, target } = command;
  const [commit, [refused]] = await Promise.all([
    commits.byCommand(stream, commandId),
    rejections.find([rejectionId(stream, commandId)]),
  ]);
  const emitter = model.aggregates.get(target) ?? model.services.get(target);
  if (commit !== undefined && emitter !== undefined) return repeatedReceipt(logId, emitter, commit, hash);
  return refused && repeatedRefusal(refused, hash);
}
