import type { CommandWorker } from '../src/engine/commands/command-worker.ts';
import type { Delivery } from '../src/engine/delivery/delivery.ts';
import type { SagaWork } from '../src/engine/delivery/saga-work.ts';
import { moveUntouched } from '../src/engine/delivery/touched-partitions.ts';
import { rebuildSwaps } from '../src/engine/rebuild/rebuild-swap.ts';
import { commandSweep } from '../src/engine/sweep/command-sweep.ts';
import { endedSagas } from '../src/engine/sweep/ended-sagas.ts';
import { retrySweep } from '../src/engine/sweep/retry-sweep.ts';
import { Sweep, type SweepTask } from '../src/engine/sweep/sweep.ts';
import type { CommandJobs } from '../src/queue/command-jobs.ts';
import type { RunningRole, WorkerDeps } from './deps.ts';

/** Heals what stands still, once a second, by MongoDB alone. `roles`: those of the same process. */
export async function startSweep(
  deps: Omit<WorkerDeps, 'epoch'> & { readonly epoch: WorkerDeps['epoch'] | undefined },
  roles: {
    readonly delivery?: Delivery;
    readonly sagas?: SagaWork;
    readonly commands?: { readonly worker: CommandWorker; readonly jobs: CommandJobs } | undefined;
  } = {},
): Promise<RunningRole & { readonly sweep: Sweep }> {
  const { logId, deadLetters, operators } = deps.store;
  const { model, retries } = deps;
  const { delivery, commands } = roles;
  const { epoch, ...rest } = deps;
  const tasks: SweepTask[] = [
    retrySweep({ logId, deadLetters, consumers: operators.consumers, model, retries, delivery }),
  ];
  tasks.push(rebuildSwaps(deps));
  const { sagas } = roles;
  if (sagas !== undefined) {
    const { sagas: store, partitions, log, timers: clock } = deps.store;
    tasks.push({ name: 'refusals', run: () => sagas.look() });
    tasks.push(endedSagas({ sagas: sagas.generations, store, partitions, log, clock }));
  }
  if (commands !== undefined)
    tasks.push(commandSweep({ store: deps.store.queuedCommands, clock: deps.store.timers, ...commands }));
  const sweep = new Sweep({
    ...{
      ...rest,
      ...(epoch && { epoch }),
      ...(delivery && { delivery }),
      tasks,
      intervalMs: deps.settings.sweepIntervalMs,
    },
    moveUntouched: (lagging, end) => moveUntouched(deps, lagging, end),
  });
  sweep.start();
  return { sweep, stop: () => sweep.stop() };
}
