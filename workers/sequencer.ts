import { type ConsumerModel, PARTITION_COUNT } from '../src/define/model.ts';
import { touchedPartitions } from '../src/engine/delivery/touched-partitions.ts';
import { Sequencer } from '../src/engine/sequencing/sequencer.ts';
import type { LogDocument } from '../src/store/documents.ts';
import type { RunningRole, WorkerDeps } from './deps.ts';

/** Places commits in the log and tells everybody: memory of this process, hints, and jobs where several processes run consumers. */
export async function startSequencer(deps: WorkerDeps): Promise<RunningRole & { readonly sequencer: Sequencer }> {
  const { store, logger, instanceId, reader, hints, membership } = deps;
  const sequencer = new Sequencer({
    ...store,
    instanceId,
    logger,
    onPlaced: (events) => {
      const last = events.at(-1);
      if (last === undefined) return;
      reader.offer(events);
      hints.publish({ kind: 'log', end: last._id });
      // A single worker hears of the end of the log and calls its partitions directly.
      if (membership.consumingCount > 1) wakeTouched(deps, events);
    },
  });
  sequencer.start();
  return { sequencer, stop: () => sequencer.stop() };
}

/** Which partitions these events touch is a hint: the worker decides again from the log. */
function wakeTouched(deps: WorkerDeps, events: readonly LogDocument[]): void {
  const { model, decode, wakeUps, partitionCounts } = deps;
  for (const consumer of [...model.consumers, ...otherGenerations(deps)]) {
    const partitionCount = partitionCounts.get(consumer.name) ?? PARTITION_COUNT;
    const touched = touchedPartitions(model, consumer, partitionCount, decode, events).lastPositions;
    if (touched.size > 0) wakeUps.wake({ consumer: consumer.name, version: consumer.version }, touched.keys());
  }
}

/** Of projectors: what processes with older or newer code run. Their events are taken to be those of this code. */
function otherGenerations({ model, store, membership }: WorkerDeps): readonly ConsumerModel[] {
  return model.consumers.flatMap((consumer) => {
    if (consumer.kind !== 'projector') return [];
    const others = membership.generationsRun(`${store.logId}/${consumer.name}/`);
    return others
      .filter((generation) => generation !== consumer.generation)
      .map((generation) => ({ ...consumer, generation, version: generation }));
  });
}
