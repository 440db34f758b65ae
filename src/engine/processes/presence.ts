import type { Logger } from '../../logger.ts';
import { atMost } from '../../queue/at-most.ts';
import type { InstanceIdentity, InstanceStore } from '../../store/instances.ts';
import { repeat } from '../concurrency/repeat.ts';

const HEARTBEAT_MS = 1_000;
const END_MAX_MS = 1_000;

/** Says that a process lives which runs no consumers, and what it reads. Those that run some: Membership. */
export function keepPresence(options: {
  readonly store: Pick<InstanceStore, 'heartbeat' | 'leave'>;
  readonly self: () => InstanceIdentity;
  readonly logger: Logger;
}): { stop(): Promise<void> } {
  const { store, self, logger } = options;
  const round = async (): Promise<number> => {
    await store
      .heartbeat(self(), [])
      .catch((error: unknown) => logger.debug({ error: String(error) }, 'heartbeat failed'));
    return HEARTBEAT_MS;
  };
  const rounds = repeat(round, { firstMs: 0 });
  return {
    async stop() {
      const left = rounds.stop().then(() => store.leave(self().id, []));
      await atMost(
        END_MAX_MS,
        left.catch(() => undefined),
      );
    },
  };
}
