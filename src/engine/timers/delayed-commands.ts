import type { DelayedCommandStore } from '../../store/delayed-commands.ts';
import type { CommandWorker } from '../commands/command-worker.ts';
import type { DueSource } from './timers.ts';

export const DELAYED_KIND = 'command';
/** Commands of one look. */
const BATCH_COUNT = 2_000;
/** What was taken up and is not settled after this is the sweep's. */
const TAKEN_MS = 5_000;

/** Commands that wait for their time (`sendAt`): taken up by the process where the bell rings. */
export function delayedCommands(
  store: Pick<DelayedCommandStore, 'dueTimes' | 'due' | 'takeOverdue'>,
  worker: Pick<CommandWorker, 'takeUp'>,
): DueSource {
  return {
    kind: DELAYED_KIND,
    times: (fromMs, toMs, limit) => store.dueTimes({ from: new Date(fromMs), to: new Date(toMs) }, limit),
    async fire(fromMs, toMs) {
      const to = new Date(toMs);
      const due =
        fromMs === undefined
          ? store.takeOverdue(to, BATCH_COUNT, TAKEN_MS)
          : store.due({ from: new Date(fromMs), to }, BATCH_COUNT);
      worker.takeUp(await due);
    },
  };
}
