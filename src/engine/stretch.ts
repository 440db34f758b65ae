import type { AnyRecorded } from '../define/event.ts';
import type { ConsumerModel, Model } from '../define/model.ts';
import type { LogDocument } from '../store/documents.ts';
import type { DecodeOnce } from './decode-once.ts';
import type { FailureCause } from './partition-failure.ts';
import type { PartitionHead } from './partition-head.ts';
import { routeEvent } from './route-event.ts';

/** An event and the documents of one partition that it concerns: all of them change with it or none. */
export interface Task {
  readonly event: AnyRecorded;
  readonly keys: string[];
}
/** What a stretch of the log holds for each partition, and how far the partitions may go. */
export interface Stretch {
  readonly tasks: ReadonlyMap<PartitionHead, Task[]>;
  /** Partitions that must stop before an event whose keys cannot be told. */
  readonly stuck: ReadonlyMap<PartitionHead, Stuck>;
}
export interface Stuck {
  readonly position: number;
  /** Absent on partitions that only wait for the one that says why. */
  readonly cause?: Omit<FailureCause, 'position'>;
}

/** Sorts a run of events into the partitions that they concern, each from where it is. */
export function stretchOf(input: {
  readonly model: Model;
  readonly consumer: ConsumerModel;
  readonly partitionCount: number;
  readonly decode: DecodeOnce;
  readonly events: readonly LogDocument[];
  readonly heads: readonly PartitionHead[];
}): Stretch {
  const { model, consumer, partitionCount, decode, events } = input;
  const heads = new Map(input.heads.map((head) => [head.ref.partition, head]));
  const tasks = new Map<PartitionHead, Task[]>();
  const stuck = new Map<PartitionHead, Stuck>();
  const add = (head: PartitionHead, event: AnyRecorded, key: string): void => {
    if (event.position <= head.scanned || stuck.has(head)) return;
    const known = tasks.get(head);
    const last = known?.at(-1);
    if (last?.event === event) last.keys.push(key);
    else if (known === undefined) tasks.set(head, [{ event, keys: [key] }]);
    else known.push({ event, keys: [key] });
  };
  const stop = (head: PartitionHead, at: Stuck): void => {
    if (at.position > head.scanned && !stuck.has(head)) stuck.set(head, at);
  };
  for (const document of events) {
    const route = routeEvent(model, consumer, partitionCount, decode, document);
    if (route.kind === 'run') {
      for (const { key, partition } of route.targets) {
        const head = heads.get(partition);
        if (head !== undefined) add(head, route.event, key);
      }
    } else if (route.kind === 'stuck') {
      const { _id: position, type: eventType, meta } = document;
      const teller = heads.get(route.target.partition);
      const cause = { key: route.target.key, eventType, correlationId: meta.correlationId, error: route.error };
      if (teller !== undefined) stop(teller, { position, cause });
      if (route.all) for (const head of heads.values()) stop(head, { position });
    }
  }
  return { tasks, stuck };
}
