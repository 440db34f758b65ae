import type { ProjectorModel } from '../../define/model.ts';
import type { ViewHintMessage } from '../../queue/hints.ts';
import type { EventAt, PartitionState, ViewStore } from '../../store/view-documents.ts';
import { coalesce, shareByKey } from '../concurrency/coalesce.ts';

/**
 * How far a view has come, as this process knows it: from hints at once, from the partition documents when asked.
 * What it says was true, and the store's reads after it see what it says: checkpoints and revisions only rise.
 */
export interface ViewProgress {
  readonly consumer: ProjectorModel;
  /** False: of a generation whose projector this code does not have; `consumer` may tell other keys than it has. */
  readonly exact: boolean;
  /** Highest known checkpoint of a partition; 0 when nothing is known. */
  checkpoint(partition: number): number;
  /** False: no key of the partition waited behind a dead letter when it came to that checkpoint or after. */
  hasBlocked(partition: number): boolean;
  /** Whether one of these events waits behind a dead letter of its key; asks the database. */
  isParked(events: readonly EventAt[]): Promise<boolean>;
  /** Undefined until a worker has created the generation. */
  partitionCount(): Promise<number | undefined>;
  /** When its revisions began to count, in ms; asks the database. Undefined like `partitionCount`. */
  builtAt(): Promise<number | undefined>;
  /** `readable`: the store's reads see from now on what the hint tells of. */
  note(hint: ViewHintMessage, readable: boolean): void;
  /** Partition documents (majority), read after the call; calls at the same time share a read. */
  refresh(): Promise<readonly PartitionState[]>;
  /** Called when a checkpoint or revision rose. Returns how to stop. */
  onChange(listener: () => void): () => void;
}

interface Known {
  readonly checkpoint: number;
  readonly revision: number;
  readonly blockedCount: number;
}
const NOTHING: Known = { checkpoint: 0, revision: -1, blockedCount: 0 };

export function createViewProgress(
  store: ViewStore,
  consumer: ProjectorModel,
  { exact } = { exact: true },
): ViewProgress {
  const known = new Map<number, Known>();
  const listeners = new Set<() => void>();
  let count: number | undefined;
  let counting: Promise<number | undefined> | undefined;

  const raise = (partition: number, { checkpoint, revision, blockedCount }: Known): boolean => {
    const before = known.get(partition) ?? NOTHING;
    // Checkpoints rise with the revision and, over events of others, alone. Only a reset sets one back, with a new revision.
    const isNewer = revision > before.revision || (revision === before.revision && checkpoint > before.checkpoint);
    if (isNewer) known.set(partition, { checkpoint, revision, blockedCount });
    return isNewer;
  };
  const announce = (): void => {
    for (const listener of [...listeners]) listener();
  };
  const share = shareByKey<readonly PartitionState[]>();
  const look = coalesce(async () => {
    const states = await store.partitions(consumer.name, consumer.generation);
    let changed = false;
    for (const { partition, checkpoint, revision, blockedCount = 0 } of states) {
      changed = raise(partition, { checkpoint, revision, blockedCount }) || changed;
    }
    if (changed) announce();
    return states;
  });
  // The reads of one request ask in one turn: without this the first would have a look of its own, and their documents two reads.
  const refresh = () => share('', look);

  return {
    consumer,
    exact,
    checkpoint: (partition) => known.get(partition)?.checkpoint ?? 0,
    hasBlocked: (partition) => (known.get(partition)?.blockedCount ?? 0) > 0,
    isParked: (events) => store.isParked(consumer.name, consumer.generation, events),
    builtAt: () => store.builtAt(consumer.name, consumer.generation),
    async partitionCount() {
      // Fixed when the generation is created, so a number that was read once stays true.
      if (count !== undefined) return count;
      counting ??= store.partitionCount(consumer.name, consumer.generation).finally(() => {
        counting = undefined;
      });
      count = await counting;
      return count;
    },
    note({ partition, checkpoint, revision, blockedCount }, readable) {
      // Processes with older code do not say whether keys are blocked.
      if (readable && blockedCount !== undefined) {
        if (raise(partition, { checkpoint, revision, blockedCount })) announce();
        return;
      }
      const before = known.get(partition) ?? NOTHING;
      // A reset: whoever waits for what was there before has to wait again, whatever reads can see.
      if (revision > before.revision && checkpoint < before.checkpoint) {
        known.set(partition, { checkpoint, revision, blockedCount: blockedCount ?? before.blockedCount });
        announce();
      } else if (listeners.size > 0 && checkpoint > before.checkpoint) {
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
