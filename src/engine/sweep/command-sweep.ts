import type { CommandJobs } from '../../queue/command-jobs.ts';
import type { QueuedCommandStore } from '../../store/queued-commands.ts';
import type { TimerPlace, TimerStore } from '../../store/timers.ts';
import type { CommandWorker } from '../commands/command-worker.ts';
import type { SweepTask } from './sweep.ts';

const ROUND_MAX_COUNT = 2_000;
/** What was taken up is not looked at again for so long. */
const TAKEN_MS = 5_000;
const DEAD_PAGE_COUNT = 1_000;
/** Looking for misdated commands takes at most this share of the time, but no command waits longer than a minute for it. */
const MISDATED_SHARE = 50;
const MISDATED_MAX_MS = 60_000;

/**
 * Takes up queued commands that made no progress: their job was lost, or the process that had them. It looks at MongoDB only; delayed
 * commands are the timers' business until they are overdue. When Redis lost its jobs, those of dead commands come back to its failed
 * set.
 */
export function commandSweep(deps: {
  readonly store: Pick<QueuedCommandStore, 'due' | 'misdated' | 'defer' | 'list'>;
  /** MongoDB's clock: a worker whose own is ahead must not carry out a delayed command before its time. */
  readonly clock: Pick<TimerStore, 'now'>;
  readonly worker: Pick<CommandWorker, 'takeUp'>;
  readonly jobs: Pick<CommandJobs, 'add'>;
}): SweepTask {
  const { store, clock, worker, jobs } = deps;
  let misdatedAtMs = 0;
  const misdated = async (now: Date): ReturnType<typeof store.misdated> => {
    const beganMs = performance.now();
    if (beganMs < misdatedAtMs) return [];
    const found = await store.misdated(now, ROUND_MAX_COUNT);
    const tookMs = performance.now() - beganMs;
    misdatedAtMs = performance.now() + Math.min(tookMs * MISDATED_SHARE, MISDATED_MAX_MS);
    return found;
  };
  return {
    name: 'commands',
    async run({ redisLost }) {
      const now = new Date(await clock.now());
      const overdue = [...(await store.due(now, ROUND_MAX_COUNT)), ...(await misdated(now))];
      worker.takeUp(overdue);
      const unclaimed = overdue.filter(({ claim }) => claim === undefined);
      await store.defer(
        unclaimed.map(({ _id }) => _id),
        TAKEN_MS,
      );
      if (!redisLost) return;
      let after: TimerPlace | undefined;
      for (;;) {
        const slice = { after, before: undefined, inclusive: false, turned: false, limit: DEAD_PAGE_COUNT };
        const dead = await store.list({ state: 'DEAD' }, slice);
        // The processor sees that they are dead.
        jobs.add(dead.map(({ _id, delivery }) => ({ command: _id, delivery, maxAttempts: 1 })));
        const last = dead.at(-1);
        if (last?.finishedAt === undefined || dead.length < DEAD_PAGE_COUNT) return;
        after = { dueAt: last.finishedAt, id: last._id };
      }
    },
  };
}
