import type { QueuedCommandDocument } from '../store/documents.ts';
import type { QueuedCommandStore } from '../store/queued-commands.ts';
import { createCommandOperations } from './command-operations.ts';
import { createCommandStatus } from './command-status.ts';
import type { Runtime } from './contract.ts';
import { createOpenStreams } from './open-streams.ts';
import { type CommandWatchDeps, createCommandWatch } from './watch-command.ts';

export interface CommandDeskDeps extends Omit<CommandWatchDeps, 'streams'> {
  readonly queued: QueuedCommandStore;
  readonly onRetried: (command: QueuedCommandDocument) => void;
}
/** What there is to know of commands, and to do with queued ones. */
export type CommandDesk = Pick<
  Runtime,
  'commandByToken' | 'findCommand' | 'watchCommand' | 'queuedCommands' | 'retryCommand' | 'cancelCommand'
> & {
  /** Ends all streams. */
  close(): void;
};

export function createCommandDesk(deps: CommandDeskDeps): CommandDesk {
  const streams = createOpenStreams();
  return {
    ...createCommandStatus(deps),
    ...createCommandOperations(deps),
    watchCommand: createCommandWatch({ ...deps, streams }),
    close: () => streams.close(),
  };
}
