import { setTimeout as pause } from 'node:timers/promises';
import type { CommitDocument } from '../src/store/documents.ts';
import { startAlerts } from './alerts.ts';
import { startConsumers } from './consumers.ts';
import { joinWorkers, type ProcessDeps, type RunningRole } from './deps.ts';
import { startSequencer } from './sequencer.ts';
import { startSweep } from './sweep.ts';

export interface RunningWorkers extends RunningRole {
  /** Commits that this process just wrote (majority acknowledged): placed without the way through the change stream. */
  offer(commits: readonly CommitDocument[]): void;
}

/** Everything that a worker process does. Its stop takes at most `shutdownTimeoutMs`. */
export async function startAll(deps: ProcessDeps): Promise<RunningWorkers> {
  const worker = await joinWorkers(deps);
  const started: RunningRole[] = [];
  const stop = async (): Promise<void> => {
    const over = new AbortController();
    const { signal } = over;
    // What has not ended by then goes on in the background and fails with its connections: nothing depends on a good end.
    const late = pause(deps.settings.shutdownTimeoutMs, undefined, { signal }).catch(() => undefined);
    try {
      // The newest first: what is placed can still be handled, and what is handled is written before this process leaves.
      for (const role of started.splice(0).reverse()) await Promise.race([role.stop(), late]);
      await Promise.race([worker.leave(), late]);
    } finally {
      over.abort();
    }
  };
  try {
    const consumers = await startConsumers(worker);
    started.push(consumers);
    const placing = await startSequencer(worker);
    started.push(placing);
    const sweeping = await startSweep(worker, { delivery: consumers.delivery });
    started.push(sweeping, startAlerts(worker, sweeping));
    return { offer: (commits) => placing.sequencer.offer(commits), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
