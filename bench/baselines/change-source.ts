import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { accountId, environment, OWNER } from '../lib/append-contender.ts';
import { serve } from '../lib/serve.ts';
import type { AccountChange } from './bank-schema.ts';

/** Tells a gateway of changes at a rate, whole documents in batches as a worker's transactions would tell them. */
const redis = new Redis(environment('REDIS_URL'));
const channel = `${environment('REDIS_PREFIX')}:changes`;
const STEP_MS = 10;
let told = 0;

export interface ChangeRound {
  readonly perSecond: number;
  readonly durationMs: number;
  readonly accountCount: number;
  /** As long as that of the system it stands beside. */
  readonly cursorLength: number;
}

serve(
  {
    async changes({ perSecond, durationMs, accountCount, cursorLength }: ChangeRound): Promise<number> {
      const begun = performance.now();
      let sent = 0;
      for (let elapsed = 0; elapsed < durationMs; elapsed = performance.now() - begun) {
        const due = Math.floor((elapsed / 1_000) * perSecond);
        const batch = Array.from({ length: due - sent }, (): AccountChange => {
          told += 1;
          const id = accountId(told % accountCount);
          const node = { id, ...OWNER, balance: told };
          return {
            signal: 'UPDATE',
            cursor: 'c'.repeat(cursorLength),
            id,
            node,
            version: told,
            origins: [randomUUID()],
          };
        });
        sent += batch.length;
        if (batch.length > 0) await redis.publish(channel, JSON.stringify(batch));
        await pause(STEP_MS);
      }
      return sent;
    },
  },
  async () => redis.disconnect(),
);
