import { randomUUID } from 'node:crypto';
import { Queue, Worker } from 'bullmq';
import type { Logger } from '../logger.ts';
import { atMost } from './at-most.ts';
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

export interface BellOptions {
  /** Names this process in its jobs (BullMQ's `processedBy`). */
  readonly instanceId: string;
  readonly prefix: string;
  readonly logId: string;
  readonly lockMs: number;
  readonly stalledCheckMs: number;
  readonly logger: Logger;
}

/** Rings of one process at once: a moment whose work takes long must not hold up the next. */
const RING_MAX_COUNT = 8;
/** A ring says nothing about what it rang for: a stalled one is rung again. */
const MAX_STALLED_COUNT = 1_000;

export function createBells(redis: RedisConnections, options: BellOptions): Bells {
  const { prefix, logger } = options;
  const name = `${options.logId}-timers`;
  const queue = new Queue<Moment>(name, {
    connection: redis.producer,
    prefix,
    defaultJobOptions: { attempts: 1, removeOnComplete: true, removeOnFail: { count: 100, age: 3_600 } },
  });
  queue.on('error', (error) => logger.debug({ queue: name, error: error.message }, 'queue error'));
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
      worker ??= new Worker<Moment>(name, ({ data }) => ring({ kind: data.kind, atMs: data.atMs }), {
        connection: redis.patient(),
        prefix,
        name: options.instanceId,
        concurrency: RING_MAX_COUNT,
        lockDuration: options.lockMs,
        stalledInterval: options.stalledCheckMs,
        maxStalledCount: MAX_STALLED_COUNT,
        drainDelay: 5,
      });
      worker.on('error', (error) => logger.debug({ queue: name, error: error.message }, 'queue worker error'));
    },
    close(timeoutMs) {
      closed ??= atMost(timeoutMs, Promise.all([worker?.close(), queue.close()])).then(() => undefined);
      return closed;
    },
  };
}
