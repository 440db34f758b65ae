import type { Queue, Worker } from 'bullmq';
import { atMost } from './at-most.ts';
import { LOOK_JOBS, openQueue, openWorker, type QueueOptions } from './job-queue.ts';
import type { RedisConnections } from './redis.ts';

/** A consumer and version: one queue. */
export interface WakeUpTarget {
  readonly consumer: string;
  readonly version: number;
}

/**
 * Jobs that say "there is news for partition p of consumer C": numbers only, never payloads. A lost job costs latency, a
 * double one nothing: the worker reads the log after the checkpoint and the checkpoint decides. Who created the connections
 * closes them.
 */
export interface WakeUps {
  /** Never waits, never throws; dropped while Redis is away. Wakes of one partition that come fast are merged. */
  wake(target: WakeUpTarget, partitions: Iterable<number>): void;
  /** Runs jobs of a consumer, `maxCount` at once. `run` ends when the partition is level and stays so for a while. */
  work(target: WakeUpTarget, run: (partition: number) => Promise<void>, maxCount: number): WakeUpWork;
  /**
   * Takes no new jobs, waits for those in hand and sends the last wakes, in at most `timeoutMs`; what is left goes back by its
   * lock running out. A second call waits for the first.
   */
  close(timeoutMs: number): Promise<void>;
}

export interface WakeUpWork {
  /** Changes how many jobs run at once; jobs in hand go on. */
  resize(maxCount: number): void;
}

interface WakeUpJob {
  readonly partition: number;
}

/** One wake a partition in this time at most: who was woken stays with the partition for longer and hears the news itself. */
const MERGE_MS = 200;
/** How long the last wakes of a process may take. */
const FAREWELL_MS = 500;
/** Deploys and crashes stall healthy jobs; a stall says nothing about the events. */
const MAX_STALLED_COUNT = 1_000;

export function createWakeUps(redis: RedisConnections, options: QueueOptions): WakeUps {
  const producers = new Map<string, Producer>();
  const workers: Worker<WakeUpJob>[] = [];
  let closed: Promise<void> | undefined;
  const nameOf = ({ consumer, version }: WakeUpTarget): string => `${options.logId}-${consumer}-v${version}`;
  const producerOf = (name: string): Producer => {
    const known = producers.get(name) ?? new Producer(name, redis, options);
    producers.set(name, known);
    return known;
  };

  const closeAll = async (timeoutMs: number): Promise<void> => {
    // A Redis that does not answer must not hold up a stop.
    const farewellMs = Math.min(FAREWELL_MS, timeoutMs / 2);
    // A second close of a worker, forced or not, waits for the first (BullMQ): what has not ended is left to its lock.
    await atMost(timeoutMs - farewellMs, Promise.all(workers.map((worker) => worker.close())));
    await atMost(farewellMs, Promise.all([...producers.values()].map((producer) => producer.close())));
  };

  return {
    wake: (target, partitions) => producerOf(nameOf(target)).wake(partitions),
    work(target, run, maxCount) {
      const process = ({ data }: { readonly data: WakeUpJob }): Promise<void> => run(data.partition);
      const limits = { concurrency: maxCount, maxStalledCount: MAX_STALLED_COUNT };
      const worker = openWorker<WakeUpJob>(redis, nameOf(target), options, process, limits);
      workers.push(worker);
      return {
        resize: (count) => {
          worker.concurrency = count;
        },
      };
    },
    close(timeoutMs) {
      closed ??= closeAll(timeoutMs);
      return closed;
    },
  };
}

/** The adding side of one queue. */
class Producer {
  readonly #queue: Queue<WakeUpJob>;
  readonly #redis: RedisConnections;
  /** Partitions that were woken within MERGE_MS; true: once more when that time is over. */
  readonly #recent = new Map<number, boolean>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #due = new Set<number>();
  #flushing = false;
  #stopped = false;

  constructor(name: string, redis: RedisConnections, options: QueueOptions) {
    this.#redis = redis;
    this.#queue = openQueue<WakeUpJob>(redis, name, options, LOOK_JOBS);
  }

  wake(partitions: Iterable<number>): void {
    if (this.#stopped) return;
    for (const partition of partitions) {
      if (this.#recent.has(partition)) this.#recent.set(partition, true);
      else this.#add(partition);
    }
  }

  #add(partition: number): void {
    this.#due.add(partition);
    this.#recent.set(partition, false);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      const again = this.#recent.get(partition) === true;
      this.#recent.delete(partition);
      if (again) this.#add(partition);
    }, MERGE_MS);
    this.#timers.add(timer);
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => this.#flush());
  }

  async #flush(): Promise<void> {
    const due = [...this.#due];
    this.#due = new Set();
    this.#flushing = false;
    if (due.length === 0 || this.#stopped || !this.#redis.available()) return;
    const jobs = due.map((partition) => ({
      name: 'wake',
      data: { partition },
      opts: { deduplication: { id: `p${partition}`, keepLastIfActive: true } },
    }));
    // A failed add is a lost wake-up: the sweep finds the partition.
    await this.#queue.addBulk(jobs).catch(() => undefined);
  }

  /** What was merged into a later wake is sent now. */
  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    for (const [partition, again] of this.#recent) if (again) this.#due.add(partition);
    await this.#flush();
    this.#stopped = true;
    await this.#queue.close().catch(() => undefined);
  }
}
