import { DelayedError, type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import type { Logger } from '../logger.ts';
import { atMost } from './at-most.ts';
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
export type RetryOutcome =
  /** Nothing is left for this job to do. */
  | { readonly kind: 'done' }
  /** It failed and is to be tried again. `says`: code and fingerprint, never a payload. */
  | { readonly kind: 'failed'; readonly delayMs: number; readonly says: string }
  /** It failed for good: the job rests in the failed set. */
  | { readonly kind: 'dead'; readonly says: string }
  /** Not its time, or the surroundings are to blame: no try that counts. */
  | { readonly kind: 'later'; readonly delayMs: number };

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

export interface RetriesOptions {
  /** Names this process in its jobs (BullMQ's `processedBy`). */
  readonly instanceId: string;
  readonly prefix: string;
  readonly logId: string;
  readonly lockMs: number;
  readonly stalledCheckMs: number;
  readonly logger: Logger;
}

const FOREVER = 2 ** 31 - 1;
/** Deploys and crashes stall healthy jobs; a stall says nothing about the event. */
const MAX_STALLED_COUNT = 1_000_000;
const JOBS_PER_ADD = 1_000;

export const retryQueueName = (logId: string, { consumer, version }: WakeUpTarget): string =>
  `${logId}-${consumer}-v${version}-retries`;
const jobIdOf = ({ deadLetter, delivery }: Pick<RetryJob, 'deadLetter' | 'delivery'>): string =>
  `${deadLetter}-d${delivery}`;

/** Carries the delay of the next try to the back-off. */
class TryAgain extends Error {
  override readonly name = 'TryAgain';
  readonly delayMs: number;

  constructor(says: string, delayMs: number) {
    super(says);
    this.delayMs = delayMs;
  }
}

export function createRetries(redis: RedisConnections, options: RetriesOptions): Retries {
  const { prefix, logger } = options;
  const queues = new Map<string, Queue<RetryJob>>();
  const workers: Worker<RetryJob>[] = [];
  let closed: Promise<void> | undefined;
  const queueOf = (target: WakeUpTarget): Queue<RetryJob> => {
    const name = retryQueueName(options.logId, target);
    const known = queues.get(name);
    if (known !== undefined) return known;
    const queue = new Queue<RetryJob>(name, { connection: redis.producer, prefix });
    queue.on('error', (error) => logger.debug({ queue: name, error: error.message }, 'queue error'));
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
      const process = async (job: Job<RetryJob>, token?: string): Promise<void> => {
        const outcome = await run(job.data);
        if (outcome.kind === 'dead') throw new UnrecoverableError(outcome.says);
        if (outcome.kind === 'failed') throw new TryAgain(outcome.says, outcome.delayMs);
        if (outcome.kind === 'done') return;
        await job.moveToDelayed(Date.now() + outcome.delayMs, token);
        throw new DelayedError();
      };
      const worker = new Worker<RetryJob>(retryQueueName(options.logId, target), process, {
        connection: redis.patient(),
        prefix,
        name: options.instanceId,
        concurrency: maxCount,
        lockDuration: options.lockMs,
        stalledInterval: options.stalledCheckMs,
        maxStalledCount: MAX_STALLED_COUNT,
        drainDelay: 5,
        settings: {
          backoffStrategy: (_attemptsMade, _type, error) => (error instanceof TryAgain ? error.delayMs : 1_000),
        },
      });
      // Without a listener an error would end the process; while Redis is away there is one a second.
      worker.on('error', (error) => logger.debug({ queue: worker.name, error: error.message }, 'queue worker error'));
      workers.push(worker);
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
      attempts: maxAttempts ?? FOREVER,
      backoff: { type: 'policy' },
      removeOnComplete: true,
      // The failed set shows what is dead until somebody acts.
      removeOnFail: false,
      stackTraceLimit: 0,
    },
  };
}
