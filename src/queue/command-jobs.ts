import { createHash } from 'node:crypto';
import type { Worker } from 'bullmq';
import { atMost } from './at-most.ts';
import { openQueue, openTryWorker, type QueueOptions, type TryJobEnd, tryJobs } from './job-queue.ts';
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

/** What a job came to. The command's document says it too. */
export type CommandJobEnd = TryJobEnd;

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

interface CommandJobData {
  readonly command: string;
}

export const commandQueueName = (logId: string): string => `${logId}-commands`;
export const commandJobId = (command: string, delivery: number): string =>
  `${createHash('sha256').update(command).digest('hex').slice(0, 32)}-d${delivery}`;

/** Deploys and crashes stall healthy jobs; a stall says nothing about the command. */
const MAX_STALLED_COUNT = 1_000;
const BULK_MAX_COUNT = 1_000;
const FAREWELL_MS = 250;

export function createCommandJobs(redis: RedisConnections, options: QueueOptions): CommandJobs {
  const name = commandQueueName(options.logId);
  const queue = openQueue<CommandJobData>(redis, name, options);
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
      const limits = { concurrency: count, maxStalledCount: MAX_STALLED_COUNT };
      worker = openTryWorker<CommandJobData>(redis, name, options, ({ command }) => run(command), limits);
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
      ...(delayMs === undefined || delayMs <= 0 ? {} : { delay: Math.ceil(delayMs) }),
      ...tryJobs(maxAttempts),
    },
  };
}
