import type { Logger } from '../../logger.ts';
import { atMost } from '../../queue/at-most.ts';
import type { LeaseStore } from '../../store/leases.ts';
import { type Repeating, repeat } from './repeat.ts';

/** Work that one process should do: tries to get a lease, renews it, and says when it has or has lost it. */
export interface LeaseKeeper {
  readonly held: boolean;
  /** Hands the lease over at once. Bounded: what MongoDB does not take in time runs out by itself. */
  stop(): Promise<void>;
}

export const LEASE_TTL_MS = 3_000;
const RENEW_MS = 1_000;
const TRY_MS = 500;
const HAND_OVER_MAX_MS = 1_000;

export function keepLease(options: {
  readonly leases: LeaseStore;
  readonly id: string;
  readonly holder: string;
  readonly logger: Logger;
  readonly onGain: () => void;
  /** The lease may be with somebody else now: stop the work. */
  readonly onLoss: () => void;
}): LeaseKeeper {
  const { leases, id, holder, logger } = options;
  let held = false;
  let stopped = false;
  let renewedAt = 0;
  const set = (now: boolean): void => {
    if (held === now || (now && stopped)) return;
    held = now;
    if (held) options.onGain();
    else options.onLoss();
  };
  const round = async (): Promise<number> => {
    const askedAt = performance.now();
    try {
      const got = await leases.acquire(id, holder, LEASE_TTL_MS);
      if (got) renewedAt = askedAt;
      set(got);
    } catch (error) {
      logger.debug({ lease: id, error: String(error) }, 'lease could not be renewed');
      if (performance.now() - renewedAt > LEASE_TTL_MS) set(false);
    }
    return held ? RENEW_MS : TRY_MS;
  };
  const repeating: Repeating = repeat(round, { firstMs: 0 });
  return {
    get held() {
      return held;
    },
    async stop() {
      stopped = true;
      const answered = await atMost(HAND_OVER_MAX_MS, repeating.stop());
      set(false);
      if (answered) await atMost(HAND_OVER_MAX_MS, leases.release(id, holder));
    },
  };
}
