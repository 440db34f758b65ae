import type { Step } from './commit-pipeline.ts';
import type { PartitionHead } from './partition-head.ts';

/**
 * What waits for its transaction before handlers pause. Events are many more than writes where they change the same documents again:
 * each document is written once.
 */
const MAX_WRITES = 5_000;
const MAX_EVENTS = 20_000;
const MAX_BYTES = 8_000_000;

/** What was handled and is the next transaction. */
export class PendingBatch {
  readonly steps = new Map<PartitionHead, Step>();
  /** Documents that change, and what is written beside them. */
  writeCount = 0;
  eventCount = 0;
  bytes = 0;

  get full(): boolean {
    return this.writeCount >= MAX_WRITES || this.eventCount >= MAX_EVENTS || this.bytes >= MAX_BYTES;
  }
}
