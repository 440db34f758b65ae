import type { Model } from '../define/model.ts';
import { DEFAULT_TENANT, parseStreamKey, streamKey } from '../define/stream-key.ts';
import { MillraceError } from '../errors.ts';
import type { CommitStore } from '../store/commits.ts';
import { type RejectionStore, rejectionId } from '../store/rejections.ts';
import type { CommandStatus, Runtime } from './contract.ts';
import { acceptedReceipt } from './receipts.ts';
import { decodeToken } from './token.ts';

interface CommandStatusDeps {
  readonly model: Model;
  readonly commits: CommitStore;
  readonly rejections: RejectionStore;
  readonly logId: string;
}

/** What became of a command, from the truth (majority reads). Undefined when nothing is known of it. */
export function createCommandStatus(deps: CommandStatusDeps): Pick<Runtime, 'commandByToken' | 'findCommand'> {
  const find = async (stream: string, commandId: string): Promise<CommandStatus | undefined> => {
    const { aggregate: name } = parseStreamKey(stream);
    const aggregate = deps.model.aggregates.get(name);
    if (aggregate === undefined) throw new MillraceError('UNKNOWN_AGGREGATE', `There is no aggregate "${name}".`);
    const commit = await deps.commits.byCommand(stream, commandId);
    if (commit !== undefined) {
      const receipt = acceptedReceipt(deps.logId, aggregate, commit, { duplicate: false, written: true });
      return { commandId, status: 'ACCEPTED', receipt, updatedAt: commit.at };
    }
    const [rejection] = await deps.rejections.find([rejectionId(stream, commandId)]);
    if (rejection === undefined) return undefined;
    const { code, reason, at } = rejection;
    return { commandId, status: 'REJECTED', receipt: { kind: 'rejected', commandId, code, reason }, updatedAt: at };
  };
  return {
    async commandByToken(token) {
      const { stream, commandId } = decodeToken(token, deps.logId);
      return find(stream, commandId);
    },
    findCommand: async (aggregate, id, commandId) =>
      find(streamKey({ tenant: DEFAULT_TENANT, aggregate, id }), commandId),
  };
}
