import type { LogStore } from '../../store/log.ts';
import type { GenerationRef, PartitionStore } from '../../store/partitions.ts';
import type { SagaStore } from '../../store/sagas.ts';
import type { TimerStore } from '../../store/timers.ts';
import type { SweepTask } from './sweep.ts';

export interface EndedSagasDeps {
  readonly sagas: readonly GenerationRef[];
  readonly store: Pick<SagaStore, 'dropEnded'>;
  readonly partitions: Pick<PartitionStore, 'read'>;
  readonly log: Pick<LogStore, 'end'>;
  readonly clock: Pick<TimerStore, 'now'>;
}

const ROUND_MAX_COUNT = 1_000;
const REST_MS = 60_000;
/** Clocks differ, and commits are in the log some time after they were written. */
const SLACK_MS = 10 * 60_000;

/**
 * Removes saga instances that ended long ago. Not by a TTL index: a saga that is paused, or behind, has yet to handle what happened
 * while the instance was to be kept, and would begin it anew. So what is over by a time is removed once all that was in the log at
 * that time is handled.
 */
export function endedSagas({ sagas, store, partitions, log, clock }: EndedSagasDeps): SweepTask {
  const marks = new Map<GenerationRef, { readonly atMs: number; readonly end: number }>();
  const resting = new Map<GenerationRef, number>();
  const round = async (saga: GenerationRef): Promise<void> => {
    const mark = marks.get(saga);
    if (mark === undefined) {
      if (performance.now() < (resting.get(saga) ?? 0)) return;
      // In this order: what is written after that time may be counted, what was written before must be.
      const atMs = await clock.now();
      marks.set(saga, { atMs, end: await log.end() });
      return;
    }
    const readings = await partitions.read([saga]);
    if (readings.length === 0 || readings.some(({ checkpoint }) => checkpoint < mark.end)) return;
    if (await store.dropEnded(saga, new Date(mark.atMs - SLACK_MS), ROUND_MAX_COUNT)) return;
    marks.delete(saga);
    resting.set(saga, performance.now() + REST_MS);
  };
  return {
    name: 'ended sagas',
    async run() {
      for (const saga of sagas) await round(saga);
    },
  };
}
