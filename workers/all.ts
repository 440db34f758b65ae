import { setTimeout as pause } from 'node:timers/promises';
import type { Delivery } from '../src/engine/delivery/delivery.ts';
import type { SagaWork } from '../src/engine/delivery/saga-work.ts';
import { DELAYED_KIND, delayedCommands } from '../src/engine/timers/delayed-commands.ts';
import type { CommitDocument } from '../src/store/documents.ts';
import type { GenerationRef } from '../src/store/partitions.ts';
import { startAlerts } from './alerts.ts';
import { createCommands, type RunningCommands } from './commands.ts';
import { startConsumers } from './consumers.ts';
import { joinWorkers, type ProcessDeps, type RunningRole, type WorkerDeps } from './deps.ts';
import { startOperations } from './operations.ts';
import { startPrevious } from './previous.ts';
import { startSequencer } from './sequencer.ts';
import { startSweep } from './sweep.ts';
import { startTimers } from './timers.ts';

export interface RunningWorkers extends RunningRole {
  /** Commits that this process just wrote (majority acknowledged): placed without the way through the change stream. */
  offer(commits: readonly CommitDocument[]): void;
  /** Where commands come in; undefined without `deps.commands`. */
  readonly commands: RunningCommands | undefined;
  readonly delivery: Delivery;
}

/** Everything that a worker process does. Its stop takes at most `shutdownTimeoutMs`. */
export async function startAll(deps: ProcessDeps): Promise<RunningWorkers> {
  const worker = await joinWorkers(deps);
  const started: RunningRole[] = [];
  let place: RunningWorkers['offer'] = () => undefined;
  const commands = deps.commands && createCommands(worker, deps.commands, (commit) => place([commit]));
  const stop = async (): Promise<void> => {
    const over = new AbortController();
    const { signal } = over;
    // What has not ended by then goes on in the background and fails with its connections: nothing depends on a good end.
    const late = pause(deps.settings.shutdownTimeoutMs, undefined, { signal }).catch(() => undefined);
    try {
      // Beside the others: handlers of services may take their time.
      const commandsStopped = commands?.stop();
      // The newest first: what is placed can still be handled, and what is handled is written before this process leaves.
      for (const role of started.splice(0).reverse()) await Promise.race([role.stop(), late]);
      await Promise.race([commandsStopped, late]);
      await Promise.race([worker.leave(), late]);
    } finally {
      over.abort();
    }
  };
  try {
    const consumers = await startConsumers({ ...worker, commandWorker: commands?.worker });
    started.push(consumers);
    const placing = await startSequencer(worker);
    started.push(placing);
    place = (commits) => placing.sequencer.offer(commits);
    commands?.worker.start();
    const sweeping = await startSweep(worker, { delivery: consumers.delivery, sagas: consumers.sagas, commands });
    started.push(sweeping, startAlerts(worker, sweeping));
    const previous = await startPrevious(worker);
    started.push(previous);
    const deliveryOf = (ref: GenerationRef): Delivery | undefined => previous.deliveryOf(ref) ?? consumers.delivery;
    started.push(startOperations(worker, { deliveryOf }));
    if (commands !== undefined) started.push(await startDue(worker, commands, consumers.sagas));
    return { offer: place, commands, delivery: consumers.delivery, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Timers, schedules and delayed commands. */
async function startDue(
  deps: WorkerDeps,
  { receiver, worker, onDelayed }: ReturnType<typeof createCommands>,
  sagas: SagaWork,
): Promise<RunningRole> {
  const { timers, stop } = await startTimers(deps, {
    queue: (request) => receiver.queue(request),
    onDue: (saga, due) => sagas.due(saga, due),
    sources: [delayedCommands(deps.store.delayed, worker)],
  });
  sagas.noticedBy((timesMs) => timers.noticed('saga', timesMs));
  onDelayed((notBefore) => timers.noticed(DELAYED_KIND, [notBefore.getTime()]));
  return { stop };
}
