import type { CommitDocument } from '../src/store/documents.ts';
import { startConsumers } from './consumers.ts';
import { joinWorkers, type ProcessDeps, type RunningRole } from './deps.ts';
import { startSequencer } from './sequencer.ts';
import { startSweep } from './sweep.ts';

export interface RunningWorkers extends RunningRole {
  /** Commits that this process just wrote (majority acknowledged): placed without the way through the change stream. */
  offer(commits: readonly CommitDocument[]): void;
}

/** Everything that a worker process does. */
export async function startAll(deps: ProcessDeps): Promise<RunningWorkers> {
  const worker = await joinWorkers(deps);
  const consumers = await startConsumers(worker);
  const placing = await startSequencer(worker);
  const sweep = await startSweep(worker, { delivery: consumers.delivery, sequencer: placing.sequencer });
  return {
    offer: (commits) => placing.sequencer.offer(commits),
    async stop() {
      // What is placed can still be handled; what is handled is written before this process leaves the living.
      await Promise.all([placing.stop(), sweep.stop()]);
      await consumers.stop();
      await worker.leave();
    },
  };
}
