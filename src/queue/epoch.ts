import type { RedisConnections } from './redis.ts';

/** Tells that Redis was emptied or replaced: a key that only Millrace sets was gone. */
export interface Epoch {
  /** `lost`: the jobs that were there may be gone, since the last call of any process. `away`: nobody knows. */
  look(): Promise<'same' | 'lost' | 'away'>;
  /** Everything was added again: `look` says `same` from now on, until Redis is lost again. */
  healed(): Promise<void>;
}

/** Set once by whoever finds it gone; the second value says that jobs were added again since. */
export function createEpoch(
  redis: Pick<RedisConnections, 'producer' | 'available'>,
  options: { readonly prefix: string; readonly logId: string },
): Epoch {
  const key = `${options.prefix}:${options.logId}:epoch`;
  return {
    async look() {
      if (!redis.available()) return 'away';
      try {
        return (await redis.producer.get(key)) === null ? 'lost' : 'same';
      } catch {
        return 'away';
      }
    },
    async healed() {
      await redis.producer.set(key, String(Date.now()), 'NX').catch(() => undefined);
    },
  };
}
