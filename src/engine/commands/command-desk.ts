import type { QueuedCommandStore } from '../../store/queued-commands.ts';
import { createOpenStreams } from '../concurrency/open-streams.ts';
import type { Runtime } from '../contract/runtime.ts';
import type { FindDecided } from '../views/wait-at-least.ts';
import { type CommandOperationsDeps, createCommandOperations } from './command-operations.ts';
import { createCommandStatus, createFindDecided } from './command-status.ts';
import { type CommandWatchDeps, createCommandWatch } from './watch-command.ts';

export interface CommandDeskDeps extends Omit<CommandWatchDeps, 'streams'> {
  readonly queued: QueuedCommandStore;
  readonly onRetried: CommandOperationsDeps['onRetried'];
  readonly onCancelled: CommandOperationsDeps['onCancelled'];
}
/** What there is to know of commands, and to do with queued ones. */
export type CommandDesk = Pick<
  Runtime,
  'commandByToken' | 'findCommand' | 'watchCommand' | 'queuedCommands' | 'retryCommand' | 'cancelCommand'
> & {
  /** For tokens of queued commands. */
  readonly decided: FindDecided;
  /** Ends all streams. */
  close(): void;
};

export function createCommandDesk(deps: CommandDeskDeps): CommandDesk {
  const streams = createOpenStreams();
  return {
    ...createCommandStatus(deps),
    ...createCommandOperations(deps),
    watchCommand: createCommandWatch({ ...deps, streams }),
    decided: createFindDecided(deps),
    close: () => streams.close(),
  };
}
