import type { Queue, Worker } from 'bullmq';
import { atMost } from './at-most.ts';
import { openQueue, openTryWorker, type QueueOptions, type TryJobEnd, tryJobs } from './job-queue.ts';
import type { RedisConnections } from './redis.ts';
import type { WakeUpTarget } from './wake-ups.ts';

/** A dead letter to be tried: identifiers and counters only. */
export interface RetryJob {
  /** Id of the dead letter. */
  readonly deadLetter: string;
  readonly partition: number;
  /** Counts the rounds of tries: one job a round. */
  readonly delivery: number;
}
export interface RetryTask extends RetryJob {
  /** Epoch; tries begin then. */
  readonly dueAtMs: number;
  /** Of the policy; null: for ever. */
  readonly maxAttempts: number | null;
}

/** What a try came to. The record in MongoDB was written before. */
export type RetryOutcome = TryJobEnd;

/**
 * BullMQ carries the tries of dead letters: when, how many at once, and its failed set shows the dead ones to every tool that
 * knows BullMQ. Not here: any truth. The record in MongoDB says what was tried how often; lost jobs are added again by the
 * sweep. Who created the connections closes them.
 */
export interface Retries {
  /** False while Redis is away. */
  available(): boolean;
  /** Adds jobs; those that exist stay as they are. Never throws; false when they may not have been added. */
  schedule(target: WakeUpTarget, tasks: readonly RetryTask[]): Promise<boolean>;
  /** Takes jobs of earlier rounds out of the failed set. Never waits, never throws. */
  drop(target: WakeUpTarget, jobs: readonly Pick<RetryJob, 'deadLetter' | 'delivery'>[]): void;
  /** Runs jobs of a consumer, `maxCount` at once. `run` must not throw. */
  work(target: WakeUpTarget, run: (job: RetryJob) => Promise<RetryOutcome>, maxCount: number): void;
  /** Takes no new jobs and waits for those in hand, at most `timeoutMs`. A second call waits for the first. */
  close(timeoutMs: number): Promise<void>;
}

/** Deploys and crashes stall healthy jobs; a stall says nothing about the event. */
const MAX_STALLED_COUNT = 1_000_000;
const JOBS_PER_ADD = 1_000;

export const retryQueueName = (logId: string, { consumer, version }: WakeUpTarget): string =>
  `${logId}-${consumer}-v${version}-retries`;
const jobIdOf = ({ deadLetter, delivery }: Pick<RetryJob, 'deadLetter' | 'delivery'>): string =>
  `${deadLetter}-d${delivery}`;

export function createRetries(redis: RedisConnections, options: QueueOptions): Retries {
  const queues = new Map<string, Queue<RetryJob>>();
  const workers: Worker<RetryJob>[] = [];
  let closed: Promise<void> | undefined;
  const queueOf = (target: WakeUpTarget): Queue<RetryJob> => {
    const name = retryQueueName(options.logId, target);
    const known = queues.get(name);
    if (known !== undefined) return known;
    const queue = openQueue<RetryJob>(redis, name, options);
    queues.set(name, queue);
    return queue;
  };
  const closeAll = async (timeoutMs: number): Promise<void> => {
    await atMost(timeoutMs, Promise.all(workers.map((worker) => worker.close())));
    await atMost(Math.max(100, timeoutMs / 4), Promise.all([...queues.values()].map((queue) => queue.close())));
  };

  return {
    available: () => redis.available(),
    async schedule(target, tasks) {
      if (closed !== undefined || !redis.available()) return false;
      try {
        for (let start = 0; start < tasks.length; start += JOBS_PER_ADD) {
          await queueOf(target).addBulk(tasks.slice(start, start + JOBS_PER_ADD).map(jobOf));
        }
        return true;
      } catch {
        return false;
      }
    },
    drop(target, jobs) {
      if (closed !== undefined || !redis.available()) return;
      const queue = queueOf(target);
      for (const job of jobs) queue.remove(jobIdOf(job)).catch(() => undefined);
    },
    work(target, run, maxCount) {
      const limits = { concurrency: maxCount, maxStalledCount: MAX_STALLED_COUNT };
      workers.push(openTryWorker<RetryJob>(redis, retryQueueName(options.logId, target), options, run, limits));
    },
    close(timeoutMs) {
      closed ??= closeAll(timeoutMs);
      return closed;
    },
  };
}

function jobOf({ deadLetter, partition, delivery, dueAtMs, maxAttempts }: RetryTask) {
  const data = { deadLetter, partition, delivery };
  return {
    name: 'retry',
    data,
    opts: {
      jobId: jobIdOf(data),
      delay: Math.max(0, Math.ceil(dueAtMs - Date.now())),
      ...tryJobs(maxAttempts),
    },
  };
}
