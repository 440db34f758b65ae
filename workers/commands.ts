import type { CommandLimits } from '../src/engine/commands/arrive-command.ts';
import { policyOf, triesOf } from '../src/engine/commands/command-try.ts';
import { CommandWorker } from '../src/engine/commands/command-worker.ts';
import type { CommandHandler } from '../src/engine/commands/handle-command.ts';
import { type CommandReceiver, createCommandReceiver } from '../src/engine/commands/receive-command.ts';
import { ServiceRunner } from '../src/engine/commands/service-runner.ts';
import type { ServerClock } from '../src/engine/concurrency/server-clock.ts';
import { whoDied } from '../src/engine/processes/who-died.ts';
import { type CommandJobs, createCommandJobs } from '../src/queue/command-jobs.ts';
import type { CommitStore } from '../src/store/commits.ts';
import type { CommitDocument, QueuedCommandDocument } from '../src/store/documents.ts';
import type { RejectionStore } from '../src/store/rejections.ts';
import { type ProcessDeps, queueOptions, type RunningRole } from './deps.ts';

/** What a process needs to carry out commands. */
export interface CommandExecution {
  readonly handle: CommandHandler['handle'];
  readonly commits: CommitStore;
  readonly rejections: RejectionStore;
  readonly limits: CommandLimits;
}
/** Where commands come in, and who carries out those that are queued. */
export interface RunningCommands extends RunningRole {
  readonly receiver: CommandReceiver;
  readonly jobs: CommandJobs;
  /** Undefined in a process that only takes commands in. */
  readonly worker: CommandWorker | undefined;
  /** A command was stored that waits for this time. Returns how to stop. */
  onDelayed(listener: (notBefore: Date) => void): () => void;
  /** An operator gave it new tries. */
  retried(command: QueuedCommandDocument): void;
  /** An operator gave it up. */
  cancelled(command: QueuedCommandDocument): void;
}

type Deps = Pick<ProcessDeps, 'store' | 'model' | 'settings' | 'logger' | 'redis' | 'instanceId'>;

/** Takes commands in and carries out those that are queued, also those that jobs bring once `worker.start` was called. */
export function createCommands(
  deps: Deps & { readonly clock: ServerClock },
  execution: CommandExecution,
  onCommitted: (commit: CommitDocument) => void,
): RunningCommands & { readonly worker: CommandWorker } {
  const { store, model, settings, logger, instanceId, clock } = deps;
  const jobs = createCommandJobs(deps.redis, queueOptions(deps));
  const services = new ServiceRunner({
    ...execution,
    model,
    store: store.queuedCommands,
    keys: store.exclusiveKeys,
    journal: store.journal,
    instanceId,
    logId: settings.logId,
    logger,
    onCommitted,
  });
  const { handle } = execution;
  const worker = new CommandWorker({
    ...{ store: store.queuedCommands, model, handle, services, jobs, clock, logger, instanceId },
    hasDied: whoDied(store.instances),
  });
  let stopped: Promise<void> | undefined;
  return {
    ...receiverOf(deps, execution, true, (command) => worker.offer([command])),
    jobs,
    worker,
    retried(command) {
      jobs.forget(command._id, command.delivery - 1);
      worker.takeUp([command]);
    },
    cancelled: ({ _id, delivery }) => jobs.forget(_id, delivery),
    stop() {
      stopped ??= worker.stop(settings.shutdownTimeoutMs);
      return stopped;
    },
  };
}

/** Takes commands in and leaves those that are queued to the workers of other processes. */
export function createCommandEntrance(deps: Deps, execution: CommandExecution): RunningCommands {
  const jobs = createCommandJobs(deps.redis, queueOptions(deps));
  const { model } = deps;
  const enqueue = (command: QueuedCommandDocument): void => {
    const { _id, delivery } = command;
    jobs.add([{ command: _id, delivery, maxAttempts: triesOf(policyOf(model, command)) }]);
  };
  const onQueued = (command: QueuedCommandDocument): void => {
    // Timers ring the others.
    if (command.notBefore === undefined) enqueue(command);
  };
  return {
    ...receiverOf(deps, execution, false, onQueued),
    jobs,
    worker: undefined,
    retried(command) {
      jobs.forget(command._id, command.delivery - 1);
      enqueue(command);
    },
    cancelled: ({ _id, delivery }) => jobs.forget(_id, delivery),
    stop: () => jobs.close(),
  };
}

function receiverOf(
  { model, store, settings }: Deps,
  { handle, commits, rejections, limits }: CommandExecution,
  direct: boolean,
  onQueued: (command: QueuedCommandDocument) => void,
): Pick<RunningCommands, 'receiver' | 'onDelayed'> {
  const listeners = new Set<(notBefore: Date) => void>();
  const receiver = createCommandReceiver({
    model,
    logId: settings.logId,
    limits,
    handle,
    store: store.queuedCommands,
    commits,
    rejections,
    direct,
    onQueued: (command) => {
      onQueued(command);
      const { notBefore } = command;
      if (notBefore !== undefined) for (const listener of listeners) listener(notBefore);
    },
  });
  return {
    receiver,
    onDelayed(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
