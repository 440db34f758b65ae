import type { Model } from '../../define/model.ts';
import { DEFAULT_TENANT, parseStreamKey, streamKey } from '../../define/stream-key.ts';
import { MillraceError } from '../../errors.ts';
import type { CommitStore } from '../../store/commits.ts';
import type { CommitDocument, QueuedCommandDocument, RejectionDocument } from '../../store/documents.ts';
import type { QueuedCommandStore } from '../../store/queued-commands.ts';
import { type RejectionStore, rejectionId } from '../../store/rejections.ts';
import type { CommandStatus, Runtime } from '../contract/runtime.ts';
import { decodeToken, encodeToken, type Token, UNDECIDED } from '../log/token.ts';
import type { FindDecided } from '../views/wait-at-least.ts';
import { queuedCommandId } from './queued-command.ts';
import { acceptedReceipt, queuedReceipt } from './receipts.ts';

export interface CommandStatusDeps {
  readonly model: Model;
  readonly commits: Pick<CommitStore, 'byCommand'>;
  readonly rejections: Pick<RejectionStore, 'find'>;
  readonly queued: Pick<QueuedCommandStore, 'find'>;
  readonly logId: string;
}
/** What is on record of a command. */
interface CommandRecords {
  readonly commit: CommitDocument | undefined;
  readonly rejection: RejectionDocument | undefined;
  readonly queued: QueuedCommandDocument | undefined;
}

async function readCommand(
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

/** What is on record of the command that a token names: a queued one, or what was decided at once. */
export async function readByToken(deps: Omit<CommandStatusDeps, 'model'>, token: Token): Promise<CommandRecords> {
  const records = await readCommand(deps, token.stream, token.commandId);
  return token.firstVersion === UNDECIDED.firstVersion ? ofQueued(records) : ofDecided(records);
}

/** Of a queued command, and not of another that took its commandId before its time, with other data. */
function ofQueued({ commit, rejection, queued }: CommandRecords): CommandRecords {
  const own = <R extends Decided>(record: R | undefined): R | undefined =>
    queued === undefined || record?.command.hash === queued.hash ? record : undefined;
  return { commit: own(commit), rejection: own(rejection), queued };
}

/** The other way round: what was decided is the truth, and a queued one with other data has no part in it. */
function ofDecided({ commit, rejection, queued }: CommandRecords): CommandRecords {
  const decided: Decided | undefined = commit ?? rejection;
  const isOwn = decided === undefined || decided.command.hash === queued?.hash;
  return { commit, rejection, queued: isOwn ? queued : undefined };
}

type Decided = Pick<CommitDocument | RejectionDocument, 'command'>;

/** What became of a command, from the truth (majority reads). Undefined when nothing is known of it. */
export function createCommandStatus(deps: CommandStatusDeps): Pick<Runtime, 'commandByToken' | 'findCommand'> {
  return {
    async commandByToken(token) {
      const named = decodeToken(token, deps.logId);
      return statusOf(deps, named.stream, named.commandId, await readByToken(deps, named));
    },
    async findCommand(aggregate, id, commandId) {
      const stream = streamKey({ tenant: DEFAULT_TENANT, aggregate, id });
      return statusOf(deps, stream, commandId, ofDecided(await readCommand(deps, stream, commandId)));
    },
  };
}

/** Which events a queued command caused; asked for tokens of such ones only. */
export function createFindDecided(deps: Omit<CommandStatusDeps, 'model' | 'logId'>): FindDecided {
  return async (stream, commandId) => {
    const { commit, rejection, queued } = ofQueued(await readCommand(deps, stream, commandId));
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
    error: null,
    sendAt: queued?.notBefore ?? null,
    nextAttemptAt: null,
  };
  if (commit !== undefined) {
    const receipt = acceptedReceipt(logId, target, commit, { duplicate: false, written: true });
    // Until its end is written its record has the error of an earlier try.
    const error = errorOf(queued?.state === 'ACCEPTED' ? queued.error : queued?.claim?.error);
    return { ...common, error, token: receipt.token, status: 'ACCEPTED', receipt, updatedAt: commit.at };
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
    error: errorOf(queued.error),
    sendAt: notBefore ?? null,
    nextAttemptAt: nextAttemptAt ?? null,
    updatedAt,
  };
}

function errorOf(error: QueuedCommandDocument['error']): CommandStatus['error'] {
  if (error === undefined) return null;
  const { code, type, message, fingerprint, issues = [] } = error;
  return { code, type, message, fingerprint, issues };
}
