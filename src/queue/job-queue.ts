import {
  DelayedError,
  type Job,
  type JobsOptions,
  type Processor,
  Queue,
  UnrecoverableError,
  Worker,
  type WorkerOptions,
} from 'bullmq';
import type { Logger } from '../logger.ts';
import type { RedisConnections } from './redis.ts';

/** What every queue of a process is opened with. */
export interface QueueOptions {
  /** Names this process in its jobs (BullMQ's `processedBy`). */
  readonly instanceId: string;
  readonly prefix: string;
  readonly logId: string;
  readonly lockMs: number;
  readonly stalledCheckMs: number;
  readonly logger: Logger;
}

/** What came of a job that carries tries. What it came to stands in MongoDB before; `says` is for people who look at the queue. */
export type TryJobEnd =
  /** Nothing is left for this job to do. */
  | { readonly kind: 'done' }
  /** A try failed and was counted: BullMQ brings the job again. `says` holds no payload. */
  | { readonly kind: 'failed'; readonly delayMs: number; readonly says: string }
  /** It failed for good: the job rests in the failed set, until an operator acts. */
  | { readonly kind: 'dead'; readonly says: string }
  /** Not its time, or the surroundings are to blame: no try that counts. */
  | { readonly kind: 'later'; readonly delayMs: number };

/** Of jobs that say "look what is there" and no more: one that fails is seen for an hour and is not missed. */
export const LOOK_JOBS = {
  attempts: 1,
  removeOnComplete: true,
  removeOnFail: { count: 100, age: 3_600 },
} as const satisfies JobsOptions;

/** BullMQ knows no "for ever". */
const FOREVER = 2 ** 31 - 1;

/** Of a job that carries tries: `maxAttempts` of them (null, `Infinity`: for ever), each after the delay that the one before asked for. */
export const tryJobs = (maxAttempts: number | null): JobsOptions => ({
  attempts: Math.min(maxAttempts ?? FOREVER, FOREVER),
  backoff: { type: 'policy' },
  removeOnComplete: true,
  // The failed set shows what is dead until somebody acts: identifiers and counters only.
  removeOnFail: false,
  stackTraceLimit: 0,
});

/** The adding side. Adds fail at once while Redis is away. */
export function openQueue<Data>(
  redis: RedisConnections,
  name: string,
  { prefix, logger }: QueueOptions,
  jobs: JobsOptions = {},
): Queue<Data> {
  const queue = new Queue<Data>(name, { connection: redis.producer, prefix, defaultJobOptions: jobs });
  // Without a listener an error would end the process; while Redis is away there is one a second.
  queue.on('error', (error) => logger.debug({ queue: name, error: error.message }, 'queue error'));
  return queue;
}

/** Runs the jobs of a queue, `concurrency` at once; waits for Redis as long as it takes. */
export function openWorker<Data>(
  redis: RedisConnections,
  name: string,
  { instanceId, prefix, lockMs, stalledCheckMs, logger }: QueueOptions,
  process: Processor<Data>,
  more: Required<Pick<WorkerOptions, 'concurrency' | 'maxStalledCount'>> & Pick<WorkerOptions, 'settings'>,
): Worker<Data> {
  const worker = new Worker<Data>(name, process, {
    connection: redis.patient(),
    prefix,
    name: instanceId,
    lockDuration: lockMs,
    stalledInterval: stalledCheckMs,
    drainDelay: 5,
    ...more,
  });
  worker.on('error', (error) => logger.debug({ queue: name, error: error.message }, 'queue worker error'));
  return worker;
}

/** Carries the delay before the next try to BullMQ's back-off. */
class TryFailed extends Error {
  override readonly name = 'TryFailed';
  readonly delayMs: number;

  constructor(says: string, delayMs: number) {
    super(says);
    this.delayMs = delayMs;
  }
}

/** Runs jobs that carry tries. `run` must not throw. */
export function openTryWorker<Data>(
  redis: RedisConnections,
  name: string,
  options: QueueOptions,
  run: (data: Data) => Promise<TryJobEnd>,
  limits: { readonly concurrency: number; readonly maxStalledCount: number },
): Worker<Data> {
  const process = async (job: Job<Data>, token?: string): Promise<void> => {
    const end = await run(job.data);
    switch (end.kind) {
      case 'done':
        return;
      case 'failed':
        throw new TryFailed(end.says, end.delayMs);
      case 'dead':
        throw new UnrecoverableError(end.says);
      case 'later':
        await job.moveToDelayed(Date.now() + end.delayMs, token);
        throw new DelayedError();
    }
  };
  return openWorker<Data>(redis, name, options, process, {
    ...limits,
    settings: { backoffStrategy: (_attempts, _type, error) => (error instanceof TryFailed ? error.delayMs : 1_000) },
  });
}
