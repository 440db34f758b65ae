import { PARTITION_COUNT } from '../src/define/model.ts';
import { routeEvent } from '../src/engine/route-event.ts';
import { Sequencer } from '../src/engine/sequencer.ts';
import type { LogDocument } from '../src/store/documents.ts';
import type { RunningRole, WorkerDeps } from './deps.ts';

/** Places commits in the log and tells everybody: memory of this process, hints, and jobs where several processes run consumers. */
export async function startSequencer(deps: WorkerDeps): Promise<RunningRole & { readonly sequencer: Sequencer }> {
  const { store, model, logger, instanceId, reader, hints, membership } = deps;
  const partitionCounts = new Map<string, number>();
  for (const consumer of model.consumers) {
    partitionCounts.set(consumer.name, (await store.consumers.ensure(consumer)).partitionCount);
  }
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
      if (membership.consumingCount > 1) wakeTouched(deps, partitionCounts, events);
    },
  });
  sequencer.start();
  return { sequencer, stop: () => sequencer.stop() };
}

/** Which partitions these events touch is a hint: the worker decides again from the log. */
function wakeTouched(
  { model, decode, wakeUps }: WorkerDeps,
  partitionCounts: ReadonlyMap<string, number>,
  events: readonly LogDocument[],
): void {
  for (const consumer of model.consumers) {
    const partitionCount = partitionCounts.get(consumer.name) ?? PARTITION_COUNT;
    const touched = new Set<number>();
    for (const event of events) {
      const route = routeEvent(model, consumer, partitionCount, decode, event);
      if (route.kind === 'run') for (const { partition } of route.targets) touched.add(partition);
      else if (route.kind === 'stuck') touched.add(route.target.partition);
    }
    if (touched.size > 0) wakeUps.wake({ consumer: consumer.name, version: consumer.version }, touched);
  }
}
