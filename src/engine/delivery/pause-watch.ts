import type { ConsumerModel } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import { atMost } from '../../queue/at-most.ts';
import type { ConsumerControlStore } from '../../store/consumer-controls.ts';
import { repeat } from '../concurrency/repeat.ts';

export interface PauseWatch {
  stop(): Promise<void>;
}

const LOOK_MS = 500;
/** How long a stop waits for the look in hand: handlers must have the rest of its time, also while MongoDB is silent. */
const END_MAX_MS = 500;

/**
 * Looks which consumers are paused, and tells of those that were paused, resumed or reset since the last look. Who works on a
 * paused partition loses its next transaction anyway; this is for those that rest, and for handlers with effects outside.
 */
export function watchPauses(
  options: {
    readonly store: Pick<ConsumerControlStore, 'list' | 'mark'>;
    readonly consumers: readonly Pick<ConsumerModel, 'name' | 'generation'>[];
    readonly logger: Logger;
  },
  onChange: (consumer: string) => void,
): PauseWatch {
  const { store, consumers, logger } = options;
  const known = new Map<string, number>();
  const look = async (): Promise<void> => {
    const documents = await store.list();
    for (const { name, generation } of consumers) {
      const found = documents.find((one) => one.consumer === name && one.generation === generation);
      const pauseCount = found?.pauseCount ?? 0;
      if (pauseCount === (known.get(name) ?? 0)) continue;
      // Who paused or resumed it may have died before it marked the partitions.
      if (found !== undefined) await store.mark(found, found);
      known.set(name, pauseCount);
      onChange(name);
    }
  };
  const round = async (): Promise<number> => {
    await look().catch((error: unknown) => logger.debug({ error: String(error) }, 'pauses could not be read'));
    return LOOK_MS;
  };
  const rounds = repeat(round, { firstMs: 0 });
  return {
    async stop() {
      await atMost(END_MAX_MS, rounds.stop());
    },
  };
}
