import type { Model } from '../define/model.ts';
import { DEFAULT_TENANT, parseStreamKey, streamKey } from '../define/stream-key.ts';
import { MillraceError } from '../errors.ts';
import type { CommitStore } from '../store/commits.ts';
import type { CommitDocument, QueuedCommandDocument, RejectionDocument } from '../store/documents.ts';
import type { QueuedCommandStore } from '../store/queued-commands.ts';
import { type RejectionStore, rejectionId } from '../store/rejections.ts';
import type { CommandStatus, Runtime } from './contract.ts';
import { queuedCommandId } from './queued-command.ts';
import { acceptedReceipt, queuedReceipt } from './receipts.ts';
import { decodeToken, encodeToken } from './token.ts';
import type { FindDecided } from './wait-at-least.ts';

export interface CommandStatusDeps {
  readonly model: Model;
  readonly commits: Pick<CommitStore, 'byCommand'>;
  readonly rejections: Pick<RejectionStore, 'find'>;
  readonly queued: Pick<QueuedCommandStore, 'find'>;
  readonly logId: string;
}
/** What is on record of a command. */
export interface CommandRecords {
  readonly commit: CommitDocument | undefined;
  readonly rejection: RejectionDocument | undefined;
  readonly queued: QueuedCommandDocument | undefined;
}

export async function readCommand(
  { commits, rejections, queued }: Omit<CommandStatusDeps, 'model' | 'logId'>,
  stream: string,
  commandId: string,
): Promise<CommandRecords> {
  const [commit, [rejection], [waiting]] = await Promise.all([
    commits.byCommand(stream, commandId),
    rejections.find([rejectionId(stream, commandId)]),
    queued.find([queuedCommandId(stream, commandId)]),
  ]);
  return { commit, rejection, queued: waiting };
}

/** What became of a command, from the truth (majority reads). Undefined when nothing is known of it. */
export function createCommandStatus(deps: CommandStatusDeps): Pick<Runtime, 'commandByToken' | 'findCommand'> {
  const find = async (stream: string, commandId: string): Promise<CommandStatus | undefined> =>
    statusOf(deps, stream, commandId, await readCommand(deps, stream, commandId));
  return {
    async commandByToken(token) {
      const { stream, commandId } = decodeToken(token, deps.logId);
      return find(stream, commandId);
    },
    findCommand: async (aggregate, id, commandId) =>
      find(streamKey({ tenant: DEFAULT_TENANT, aggregate, id }), commandId),
  };
}

/** Which events a queued command caused. */
export function createFindDecided(deps: Omit<CommandStatusDeps, 'model' | 'logId'>): FindDecided {
  return async (stream, commandId) => {
    const { commit, rejection, queued } = await readCommand(deps, stream, commandId);
    if (commit !== undefined) return { firstVersion: commit.version ?? null, eventCount: commit.events.length };
    const over = rejection !== undefined || queued?.state === 'REJECTED' || queued?.state === 'CANCELLED';
    return over ? { firstVersion: null, eventCount: 0 } : undefined;
  };
}

/** The commit is the truth, whatever else is on record. Throws UNKNOWN_AGGREGATE. */
export function statusOf(
  { model, logId }: Pick<CommandStatusDeps, 'model' | 'logId'>,
  stream: string,
  commandId: string,
  { commit, rejection, queued }: CommandRecords,
): CommandStatus | undefined {
  const { aggregate: name } = parseStreamKey(stream);
  const target = model.aggregates.get(name) ?? model.services.get(name);
  if (target === undefined) throw new MillraceError('UNKNOWN_AGGREGATE', `There is no aggregate or service "${name}".`);
  const common = {
    commandId,
    attempts: Math.max(1, queued?.attempts ?? 1),
    error: errorOf(queued),
    sendAt: queued?.notBefore ?? null,
    nextAttemptAt: null,
  };
  if (commit !== undefined) {
    const receipt = acceptedReceipt(logId, target, commit, { duplicate: false, written: true });
    return { ...common, token: receipt.token, status: 'ACCEPTED', receipt, updatedAt: commit.at };
  }
  if (rejection !== undefined) {
    const { code, reason, at } = rejection;
    const token = encodeToken({ logId, stream, commandId, firstVersion: null, eventCount: 0 });
    const receipt = { kind: 'rejected', commandId, code, reason } as const;
    return { ...common, token, status: 'REJECTED', receipt, updatedAt: at };
  }
  return queued && statusOfQueued(logId, queued);
}

/** As its own record says; an accepted one has a commit, which says more. */
export function statusOfQueued(logId: string, queued: QueuedCommandDocument): CommandStatus {
  const { commandId, state, attempts, refusal, updatedAt, notBefore, nextAttemptAt } = queued;
  return {
    commandId,
    token: queuedReceipt(logId, queued).token,
    status: state,
    receipt: refusal === undefined ? null : { kind: 'rejected', commandId, ...refusal },
    attempts,
    error: errorOf(queued),
    sendAt: notBefore ?? null,
    nextAttemptAt: nextAttemptAt ?? null,
    updatedAt,
  };
}

function errorOf(queued: QueuedCommandDocument | undefined): CommandStatus['error'] {
  if (queued?.error === undefined) return null;
  const { code, type, message, fingerprint, issues = [] } = queued.error;
  return { code, type, message, fingerprint, issues };
}
