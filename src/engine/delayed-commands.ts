import type { DelayedCommandStore } from '../store/delayed-commands.ts';
import type { CommandWorker } from './command-worker.ts';
import type { DueSource } from './timers.ts';

export const DELAYED_KIND = 'command';
/** Commands of one look; the next begins when fewer of them are in memory. */
const BATCH_COUNT = 2_000;

/** Commands that wait for their time (`sendAt`): taken up by the process where the bell rings. */
export function delayedCommands(
  store: Pick<DelayedCommandStore, 'dueTimes' | 'due'>,
  worker: Pick<CommandWorker, 'takeUp'>,
): DueSource {
  const range = (fromMs: number | undefined, toMs: number) => ({
    from: fromMs === undefined ? undefined : new Date(fromMs),
    to: new Date(toMs),
  });
  return {
    kind: DELAYED_KIND,
    times: (fromMs, toMs, limit) => store.dueTimes(range(fromMs, toMs), limit),
    async fire(fromMs, toMs) {
      worker.takeUp(await store.due(range(fromMs, toMs), BATCH_COUNT));
    },
  };
}
