import type { AnyRecorded } from '../../define/event.ts';
import type { ConsumerModel, Model } from '../../define/model.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import { routeEvent } from '../log/route-event.ts';
import type { FailureCause } from './partition-failure.ts';
import type { PartitionHead } from './partition-head.ts';

/** An event and the keys of one partition that it concerns. */
export interface Task {
  readonly document: LogDocument;
  /** Undefined when it cannot be read: `error` says why. */
  readonly event: AnyRecorded | undefined;
  readonly error?: unknown;
  readonly keys: string[];
}
/** A partition, and up to where its events are known. */
type Reader = Pick<PartitionHead, 'ref' | 'scanned'>;
/** What a stretch of the log holds for each partition, and how far the partitions may go. */
export interface Stretch<H extends Reader = PartitionHead> {
  readonly tasks: ReadonlyMap<H, Task[]>;
  /** Partitions that must stop before an event whose keys cannot be told. */
  readonly stuck: ReadonlyMap<H, Stuck>;
}
export interface Stuck {
  readonly position: number;
  /** Absent on partitions that only wait for the one that says why. */
  readonly cause?: Omit<FailureCause, 'position'>;
}

/** Sorts a run of events into the partitions that they concern, each from where it is. */
export function stretchOf<H extends Reader = PartitionHead>(input: {
  readonly model: Model;
  readonly consumer: ConsumerModel;
  readonly partitionCount: number;
  readonly decode: DecodeOnce;
  readonly events: readonly LogDocument[];
  readonly heads: readonly H[];
}): Stretch<H> {
  const { model, consumer, partitionCount, decode, events } = input;
  const heads = new Map(input.heads.map((head) => [head.ref.partition, head]));
  const tasks = new Map<H, Task[]>();
  const stuck = new Map<H, Stuck>();
  const add = (head: H | undefined, of: Omit<Task, 'keys'>, key: string): void => {
    if (head === undefined || of.document._id <= head.scanned || stuck.has(head)) return;
    const known = tasks.get(head);
    const last = known?.at(-1);
    if (last?.document === of.document) last.keys.push(key);
    else if (known === undefined) tasks.set(head, [{ ...of, keys: [key] }]);
    else known.push({ ...of, keys: [key] });
  };
  const stop = (head: H, at: Stuck): void => {
    if (at.position > head.scanned && !stuck.has(head)) stuck.set(head, at);
  };
  for (const document of events) {
    const route = routeEvent(model, consumer, partitionCount, decode, document);
    if (route.kind === 'run') {
      const { event } = route;
      for (const { key, partition } of route.targets) add(heads.get(partition), { document, event }, key);
    } else if (route.kind === 'stuck') {
      const { target, error } = route;
      const teller = heads.get(target.partition);
      if (!route.all) add(teller, { document, event: undefined, error }, target.key);
      else {
        const { _id: position, type: eventType, meta } = document;
        const cause = { key: target.key, eventType, correlationId: meta.correlationId, error };
        if (teller !== undefined) stop(teller, { position, cause });
        for (const head of heads.values()) stop(head, { position });
      }
    }
  }
  return { tasks, stuck };
}
