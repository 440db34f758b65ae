import type { ConsumerModel } from '../../define/model.ts';
import type { CommitPipeline, LostEnd, Step } from './commit-pipeline.ts';
import type { Errand } from './errand.ts';
import type { PartitionHead } from './partition-head.ts';

/** Runs one consumer in this process, for `Delivery`. Writing is the pipeline's. */
export interface Runner {
  readonly consumer: ConsumerModel;
  readonly heads: readonly PartitionHead[];
  /** There may be news for these partitions; all of them when left out. `doubt`: another process may have moved them. */
  wake(partitions?: Iterable<number>, options?: { readonly doubt?: boolean }): void;
  /** Resolves when the partition has nothing more to do for now: level with the log, failing, or lost to others. */
  runUntilLevel(partition: number): Promise<void>;
  /** Ends what `runUntilLevel` waits for when what is in hand is written, level or not. */
  release(partition: number): void;
  /** Resolves when nothing of a released partition is in hand any more; left out where that is always so. */
  settled?(partition: number): Promise<void>;
  /** Does an errand of a partition; see ErrandQueue. */
  errand<R>(
    partition: number,
    errand: Errand<R>,
    options: { readonly doubt: boolean; readonly dry?: boolean },
  ): Promise<R>;
  /** Every partition is looked at again before it goes on: it may have been moved or paused. */
  doubt(): void;
  /** How long ago the partition handled an event in this process. */
  quietMs(partition: number): number;
  /** A transaction with this partition failed: begin again. */
  lost(step: Step, end: LostEnd, alone: boolean): void;
  /** A transaction was written. */
  written(): void;
  /** Partitions that were moved lazily are at rest again. */
  rested(): void;
  /** Others have all other partitions from now on. */
  keepOnly?(partitions: Iterable<number>): void;
  /** No new work; what is under way may end. */
  leave?(): void;
  stop(): Promise<void>;
}

export type RunnerPipeline = Pick<CommitPipeline, 'step' | 'block' | 'park' | 'reach' | 'room' | 'kick'>;
