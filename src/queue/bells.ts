import { randomUUID } from 'node:crypto';
import type { Worker } from 'bullmq';
import { atMost } from './at-most.ts';
import { LOOK_JOBS, openQueue, openWorker, type QueueOptions } from './job-queue.ts';
import type { RedisConnections } from './redis.ts';

/** What is due in one moment: of which kind, and the end of the moment in ms since 1970. A number, never a payload. */
export interface Moment {
  readonly kind: string;
  readonly atMs: number;
}

/**
 * BullMQ delayed jobs that ring at a moment: "look what is due". One for all timers of a moment, so that their number in Redis
 * is bounded by time and not by timers. A lost bell costs a second, a second bell nothing.
 */
export interface Bells {
  /** Hangs a bell for each moment that has none; `nowMs` is by the clock of the moments. False: Redis did not take them all. */
  hang(moments: readonly Moment[], nowMs: number): Promise<boolean>;
  /** Rings here from now on, in one of the processes that called this. */
  work(ring: (moment: Moment) => Promise<void>): void;
  /** Waits for the rings in hand, at most `timeoutMs`. */
  close(timeoutMs: number): Promise<void>;
}

/** Rings of one process at once: a moment whose work takes long must not hold up the next. */
const RING_MAX_COUNT = 8;
/** A ring says nothing about what it rang for: a stalled one is rung again. */
const MAX_STALLED_COUNT = 1_000;

export function createBells(redis: RedisConnections, options: QueueOptions): Bells {
  const name = `${options.logId}-timers`;
  const queue = openQueue<Moment>(redis, name, options, LOOK_JOBS);
  let worker: Worker<Moment> | undefined;
  let closed: Promise<void> | undefined;
  return {
    async hang(moments, nowMs) {
      if (moments.length === 0) return true;
      if (closed !== undefined || !redis.available()) return false;
      const jobs = moments.map((moment) => {
        const delay = Math.max(0, moment.atMs - nowMs);
        // The bell of a moment that is over may be ringing already, and must not be the one that is meant.
        const jobId = `${moment.kind}-${moment.atMs}${delay > 0 ? '' : `-${randomUUID()}`}`;
        return { name: moment.kind, data: { kind: moment.kind, atMs: moment.atMs }, opts: { jobId, delay } };
      });
      return queue.addBulk(jobs).then(
        () => true,
        () => false,
      );
    },
    work(ring) {
      const limits = { concurrency: RING_MAX_COUNT, maxStalledCount: MAX_STALLED_COUNT };
      worker ??= openWorker<Moment>(redis, name, options, ({ data: { kind, atMs } }) => ring({ kind, atMs }), limits);
    },
    close(timeoutMs) {
      closed ??= atMost(timeoutMs, Promise.all([worker?.close(), queue.close()])).then(() => undefined);
      return closed;
    },
  };
}
