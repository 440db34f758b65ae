import type { ProjectorModel } from '../define/model.ts';
import type { ViewHintMessage } from '../queue/hints.ts';
import type { PartitionState, ViewStore } from '../store/view-documents.ts';
import { coalesce } from './coalesce.ts';

/**
 * How far a view has come, as this process knows it: from hints at once, from the partition documents when asked.
 * What it says was true, and the store's reads after it see what it says: checkpoints and revisions only rise.
 */
export interface ViewProgress {
  readonly consumer: ProjectorModel;
  /** Highest known checkpoint of a partition; 0 when nothing is known. */
  checkpoint(partition: number): number;
  /** Undefined until a worker has created the generation. */
  partitionCount(): Promise<number | undefined>;
  /** `readable`: the store's reads see from now on what the hint tells of. */
  note(hint: ViewHintMessage, readable: boolean): void;
  /** Partition documents (majority), read after the call; calls at the same time share a read. */
  refresh(): Promise<readonly PartitionState[]>;
  /** Called when a checkpoint rose. Returns how to stop. */
  onChange(listener: () => void): () => void;
}

export function createViewProgress(store: ViewStore, consumer: ProjectorModel): ViewProgress {
  const checkpoints = new Map<number, number>();
  const listeners = new Set<() => void>();
  let count: number | undefined;

  const raise = (partition: number, checkpoint: number): boolean => {
    if (checkpoint <= (checkpoints.get(partition) ?? 0)) return false;
    checkpoints.set(partition, checkpoint);
    return true;
  };
  const announce = (): void => {
    for (const listener of [...listeners]) listener();
  };
  const refresh = coalesce(async () => {
    const states = await store.partitions(consumer.name, consumer.generation);
    let changed = false;
    for (const { partition, checkpoint } of states) changed = raise(partition, checkpoint) || changed;
    if (changed) announce();
    return states;
  });

  return {
    consumer,
    checkpoint: (partition) => checkpoints.get(partition) ?? 0,
    async partitionCount() {
      // Fixed when the generation is created, so a number that was read once stays true.
      count ??= await store.partitionCount(consumer.name, consumer.generation);
      return count;
    },
    note({ partition, checkpoint }, readable) {
      if (readable) {
        if (raise(partition, checkpoint)) announce();
      } else if (listeners.size > 0 && checkpoint > (checkpoints.get(partition) ?? 0)) {
        // A read that follows may be older than the hint, so the partitions themselves are asked.
        refresh().catch(() => undefined);
      }
    },
    refresh,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
