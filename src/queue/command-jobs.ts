import { createHash } from 'node:crypto';
import { DelayedError, type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import type { Logger } from '../logger.ts';
import { atMost } from './at-most.ts';
import type { RedisConnections } from './redis.ts';

/** Says that a queued command waits for a worker. */
export interface CommandJobRef {
  /** `_id` of the queued command. */
  readonly command: string;
  /** Counts retries by operators: each has a job of its own. */
  readonly delivery: number;
  /** All tries that the command may have; `Infinity`: for ever. */
  readonly maxAttempts: number;
  /** Default 0. */
  readonly delayMs?: number;
}

/** What came of a job. Words for people who look at the queue; what they say holds no payload. */
export type CommandJobEnd =
  | { readonly kind: 'done' }
  /** A try failed and was counted: BullMQ brings the job again. */
  | { readonly kind: 'retry'; readonly delayMs: number; readonly about: string }
  /** It rests in the failed set, until an operator retries the command. */
  | { readonly kind: 'dead'; readonly about: string }
  /** Not counted. */
  | { readonly kind: 'later'; readonly delayMs: number };

/**
 * Jobs of queued commands: ids only, never payloads. They carry tries and delays; MongoDB is the truth, a lost job costs
 * latency and a double one nothing. Who created the connections closes them.
 */
export interface CommandJobs {
  /** Never waits, never throws; dropped while Redis is away. A job that is there already stays as it is. */
  add(refs: readonly CommandJobRef[]): void;
  /** Removes a job that rests in the failed set. Never throws. */
  forget(command: string, delivery: number): void;
  /** Runs jobs, `count` at once. */
  work(run: (command: string) => Promise<CommandJobEnd>, count: number): void;
  /** Takes no new jobs; resolves when none is in hand, which may take for ever: what is left goes back by its lock running out. */
  rest(): Promise<void>;
  /** Sends the last jobs; bounded. */
  close(): Promise<void>;
}

export interface CommandJobsOptions {
  /** Names this process in its jobs (BullMQ's `processedBy`). */
  readonly instanceId: string;
  readonly prefix: string;
  readonly logId: string;
  readonly lockMs: number;
  readonly stalledCheckMs: number;
  readonly logger: Logger;
}

interface CommandJobData {
  readonly command: string;
}

export const commandQueueName = (logId: string): string => `${logId}-commands`;
export const commandJobId = (command: string, delivery: number): string =>
  `${createHash('sha256').update(command).digest('hex').slice(0, 32)}-d${delivery}`;

/** BullMQ knows no "for ever". */
const FOREVER = 1_000_000_000;
/** Deploys and crashes stall healthy jobs; a stall says nothing about the command. */
const MAX_STALLED_COUNT = 1_000;
const BULK_MAX_COUNT = 1_000;
const FAREWELL_MS = 250;

/** Carries the delay that the command's own policy asks for to BullMQ's back-off. */
class TryFailed extends Error {
  override readonly name = 'TryFailed';
  readonly delayMs: number;
  constructor(about: string, delayMs: number) {
    super(about);
    this.delayMs = delayMs;
  }
}

export function createCommandJobs(redis: RedisConnections, options: CommandJobsOptions): CommandJobs {
  const name = commandQueueName(options.logId);
  const queue = new Queue<CommandJobData>(name, { connection: redis.producer, prefix: options.prefix });
  // Without a listener an error would end the process; while Redis is away there is one a second.
  const onError = (error: Error): void => options.logger.debug({ queue: name, error: error.message }, 'queue error');
  queue.on('error', onError);
  let worker: Worker<CommandJobData> | undefined;
  let waiting: CommandJobRef[] = [];
  let stopped = false;

  const flush = async (): Promise<void> => {
    const refs = waiting;
    waiting = [];
    if (stopped || !redis.available()) return;
    for (let start = 0; start < refs.length; start += BULK_MAX_COUNT) {
      // A failed add is a lost job: the sweep finds the command.
      await queue.addBulk(refs.slice(start, start + BULK_MAX_COUNT).map(jobOf)).catch(() => undefined);
    }
  };
  const close = async (): Promise<void> => {
    // A Redis that does not answer must not hold up a stop.
    await atMost(FAREWELL_MS, flush());
    stopped = true;
    await atMost(FAREWELL_MS, queue.close());
  };
  let closed: Promise<void> | undefined;
  return {
    add(refs) {
      if (refs.length === 0 || stopped) return;
      if (waiting.length === 0) setImmediate(flush);
      waiting.push(...refs);
    },
    forget(command, delivery) {
      if (redis.available()) queue.remove(commandJobId(command, delivery)).catch(() => undefined);
    },
    work(run, count) {
      worker = new Worker<CommandJobData>(name, (job, token) => perform(run, job, token), {
        connection: redis.patient(),
        prefix: options.prefix,
        name: options.instanceId,
        concurrency: count,
        lockDuration: options.lockMs,
        stalledInterval: options.stalledCheckMs,
        maxStalledCount: MAX_STALLED_COUNT,
        drainDelay: 5,
        settings: {
          backoffStrategy: (_attempts, _type, error) => (error instanceof TryFailed ? error.delayMs : 1_000),
        },
      });
      worker.on('error', onError);
    },
    async rest() {
      await worker?.close();
    },
    close() {
      closed ??= close();
      return closed;
    },
  };
}

function jobOf({ command, delivery, maxAttempts, delayMs }: CommandJobRef) {
  return {
    name: 'command',
    data: { command },
    opts: {
      jobId: commandJobId(command, delivery),
      attempts: Math.min(maxAttempts, FOREVER),
      backoff: { type: 'custom' },
      ...(delayMs === undefined || delayMs <= 0 ? {} : { delay: Math.ceil(delayMs) }),
      removeOnComplete: true,
      // Dead ones rest here until an operator acts: ids only.
      removeOnFail: false,
    },
  };
}

async function perform(
  run: (command: string) => Promise<CommandJobEnd>,
  job: Job<CommandJobData>,
  token: string | undefined,
): Promise<void> {
  const end = await run(job.data.command);
  switch (end.kind) {
    case 'done':
      return;
    case 'retry':
      throw new TryFailed(end.about, end.delayMs);
    case 'dead':
      throw new UnrecoverableError(end.about);
    case 'later':
      await job.moveToDelayed(Date.now() + end.delayMs, token);
      throw new DelayedError();
  }
}
