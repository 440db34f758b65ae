import type { OperatorCall } from './operators.ts';

/** A new version of a projector that is built beside the one that is read. */
export interface Rebuild {
  readonly projector: string;
  readonly view: string;
  /** Generation that is read until the swap. */
  readonly from: number;
  readonly to: number;
  /**
   * BUILDING: it handles the log. READY: it is level with the log as somebody saw it in the last seconds, and waits for an operator (or
   * is about to be swapped in). PAUSED and ABORTED:
   * by an operator. SWAPPED: it is read, and the one before is still kept.
   */
  readonly state: 'BUILDING' | 'READY' | 'PAUSED' | 'ABORTED' | 'SWAPPED';
  /** Who paused or aborted it, and why. */
  readonly held: { readonly since: Date; readonly reason: string; readonly actor: string | null } | null;
  /** Everything up to here is handled, or waits behind a dead letter. */
  readonly position: number;
  readonly logEnd: number;
  /** Of the log, 0 to 100; 100 from the swap on. */
  readonly percent: number;
  /** In the last seconds; where nobody asked before: since it began. Null while it does not run. */
  readonly eventsPerSecond: number | null;
  /** Until it is level, at this speed; 0 when it is. Null: nobody can tell. */
  readonly etaSeconds: number | null;
  readonly retryingCount: number;
  readonly deadCount: number;
  readonly parkedCount: number;
  readonly startedAt: Date;
  readonly swappedAt: Date | null;
  /** What keeps it from being swapped in; empty: nothing. */
  readonly waitsFor: readonly string[];
  /** Living processes that run the new one. */
  readonly runnerCount: number;
  /** Living processes that still read the old one. */
  readonly readerCount: number;
}

export interface RebuildDiffField {
  readonly name: string;
  /** Undefined: the document does not have it. */
  readonly older: unknown;
  readonly newer: unknown;
}
export interface RebuildDiffSample {
  readonly id: string;
  readonly kind: 'CHANGED' | 'ONLY_OLD' | 'ONLY_NEW';
  /** Those that differ; at most 20. */
  readonly fields: readonly RebuildDiffField[];
}
/** A part of the comparison; `next` goes on. */
export interface RebuildDiff {
  readonly projector: string;
  readonly from: number;
  readonly to: number;
  readonly logEnd: number;
  /** How far the slowest partition of each was. */
  readonly oldPosition: number;
  readonly newPosition: number;
  readonly sameCount: number;
  readonly changedCount: number;
  readonly onlyOldCount: number;
  readonly onlyNewCount: number;
  /** They differ, but one of the two has not handled the last event of the other yet: nobody can tell. */
  readonly unsettledCount: number;
  /** The first that differ; at most 20. */
  readonly samples: readonly RebuildDiffSample[];
  /** Where the next part begins; null: this was the last. */
  readonly next: string | null;
  /** Documents of both generations, by estimate, tombstones among them: for progress. */
  readonly totalCount: number;
}

export interface Rebuilds {
  /** All that are under way, and those that were swapped in while the version before is kept. */
  rebuilds(): Promise<readonly Rebuild[]>;
  /**
   * Compares the new generation with the one that is read, document by document in order of id, for at most two seconds; `after`:
   * `next` of the part before. Throws UNKNOWN_REBUILD, BAD_CURSOR.
   */
  rebuildDiff(projector: string, after?: string | undefined): Promise<RebuildDiff>;
  /** Throws UNKNOWN_REBUILD; REBUILD_NOT_LEVEL with what it waits for when it is not level within some seconds. */
  swapRebuild(projector: string, call: OperatorCall): Promise<Rebuild>;
  /** All processes stop building within a second. Throws UNKNOWN_REBUILD, REBUILD_ABORTED. */
  pauseRebuild(projector: string, call: OperatorCall): Promise<Rebuild>;
  resumeRebuild(projector: string, call: OperatorCall): Promise<Rebuild>;
  /** Removes what was built; it stays aborted until it is started. Repeatable. Throws UNKNOWN_REBUILD. */
  abortRebuild(projector: string, call: OperatorCall): Promise<Rebuild>;
  /** Builds an aborted one anew. Throws UNKNOWN_REBUILD, REBUILD_RUNNING when it was not aborted. */
  startRebuild(projector: string, call: OperatorCall): Promise<Rebuild>;
}
