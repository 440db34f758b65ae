import type { Step } from '../partitions/commit-pipeline.ts';
import { deadLetterOf, failedEvent } from '../partitions/dead-letter.ts';
import { failureOf, standStillMs } from '../partitions/partition-failure.ts';
import type { ObserverRunnerOptions } from './observer-options.ts';
import type { ObserverPartition } from './observer-partition.ts';
import type { TaskOutcome } from './task-window.ts';

type Options = Pick<ObserverRunnerOptions, 'pipeline' | 'logId' | 'consumer' | 'onFailing' | 'onStandStill'>;

/**
 * Hands over to the next transaction what is settled: the checkpoint over what was done, dead letters for what failed, and parked
 * events behind them. Does nothing when there is nothing.
 */
export function handOver(options: Options, partition: ObserverPartition): void {
  const { head, window, stuck } = partition;
  const standsStill = stuck?.cause !== undefined && window.size === 0 && !head.resting;
  const mended = head.failure !== undefined && partition.reached >= head.failure.position;
  if (!window.hasSettled(partition.isBlocked) && !standsStill && !mended) return;
  const step = options.pipeline.step(head, undefined);
  const outcomes = partition.handOver(step.revision);
  for (const outcome of outcomes) write(options, step, outcome);
  if (mended) head.failure = undefined;
  if (stuck?.cause !== undefined && window.size === 0 && !head.resting) {
    const cause = { ...stuck.cause, position: stuck.position };
    head.failure = failureOf(cause, head.failure);
    head.retryAtMs = performance.now() + standStillMs(head.failure.attempts);
    options.onStandStill(head.failure, cause);
  }
  step.failure = head.failure;
  options.pipeline.reach(step, Math.max(step.checkpoint, partition.reached), outcomes.length);
}

function write({ pipeline, logId, consumer, onFailing }: Options, step: Step, outcome: TaskOutcome): void {
  if (outcome.kind === 'done') return;
  const { document, key } = outcome.task;
  const { blocked, ref } = step.head;
  const known = blocked.get(key);
  if (known !== undefined) {
    // Its own failing event may come again when another process was faster to write it down.
    if (document._id > known.position) pipeline.park(step, known, document._id);
    return;
  }
  if (outcome.kind === 'parked') return;
  const record = deadLetterOf({ logId, consumer, partition: ref.partition, key }, failedEvent(document, outcome.error));
  pipeline.block(step, record);
  onFailing(record);
}
