import { setMaxListeners } from 'node:events';
import type { ObserverModel } from '../define/model.ts';
import { atMost } from '../queue/at-most.ts';
import { backoffMs } from './backoff.ts';
import type { LostEnd, Step } from './commit-pipeline.ts';
import type { RunnerOptions } from './consumer-runner.ts';
import { deadLetterOf, failedEvent } from './dead-letter.ts';
import type { Errand } from './errand.ts';
import { ErrandQueue } from './errand-queue.ts';
import { observerHandler } from './handler.ts';
import { readPartitions } from './learn-partitions.ts';
import { ObserverPartition } from './observer-partition.ts';
import type { ObserverTries, Try } from './observer-tries.ts';
import { failureOf, standStillMs } from './partition-failure.ts';
import { PartitionHead } from './partition-head.ts';
import type { Runner } from './runner.ts';
import { type Stretch, stretchOf } from './stretch.ts';
import type { TaskOutcome, WindowTask } from './task-window.ts';

export interface ObserverRunnerOptions extends Omit<RunnerOptions, 'handler'> {
  readonly consumer: ObserverModel;
  readonly tries: ObserverTries;
  /** Position up to which events were handled before a reset; undefined: none. */
  readonly replayUntil: () => Promise<number | undefined>;
}

const STRETCH_MAX_EVENTS = 1_000;
const ABSENT_PAUSE_MS = 500;
/** What a stop leaves to handlers before it aborts them, and to aborted ones. */
const STOP_GRACE_MS = 2_000;
const ABORTED_MAX_MS = 200;

/**
 * Runs the handlers of one observer: events of a partition in a window that moves with the log, in order for each key, and a slow
 * key or partition holds back no other. At least once: what a process had in hand when it was killed is tried again, with the
 * same idempotency keys.
 */
export class ObserverRunner implements Runner {
  readonly consumer: ObserverModel;
  readonly heads: readonly PartitionHead[];
  readonly #options: ObserverRunnerOptions;
  readonly #partitions: readonly ObserverPartition[];
  readonly #errands: ErrandQueue;
  readonly #underWay = new Set<Promise<void>>();
  readonly #leave = new AbortController();
  /** To be looked at. */
  #touched = new Set<ObserverPartition>();
  #running: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #replayUntil = 0;
  #stopped = false;
  #troubles = 0;

  constructor(options: ObserverRunnerOptions) {
    this.#options = options;
    this.consumer = options.consumer;
    const { name: consumer, generation } = options.consumer;
    this.heads = Array.from(
      { length: options.partitionCount },
      (_, partition) => new PartitionHead({ consumer, generation, partition }, 0),
    );
    this.#partitions = this.heads.map((head) => new ObserverPartition(head));
    this.#errands = new ErrandQueue({
      ...options,
      handler: observerHandler(options.consumer),
      onWritten: options.onErrandsWritten,
      onDone: () => this.#touch(this.#partitions),
    });
    setMaxListeners(0, this.#leave.signal);
  }

  wake(partitions?: Iterable<number>, options: { readonly doubt?: boolean } = {}): void {
    const woken = partitions === undefined ? this.#partitions : this.#at(partitions);
    for (const { head } of woken) {
      if (head.resting && !options.doubt) continue;
      head.dirty = true;
      head.released = false;
      if (options.doubt) head.doubted = true;
    }
    this.#touch(woken);
  }

  runUntilLevel(partition: number): Promise<void> {
    const head = this.heads[partition];
    if (head === undefined || this.#leave.signal.aborted) return Promise.resolve();
    const level = new Promise<void>((resolve) => head.waiters.push(resolve));
    this.wake([partition], { doubt: true });
    return level;
  }

  /** What is in hand is brought to its end: whoever takes the partition then does nothing twice. */
  release(partition: number): void {
    const head = this.heads[partition];
    if (head === undefined) return;
    head.released = true;
    this.#touch(this.#at([partition]));
  }

  errand<R>(
    partition: number,
    errand: Errand<R>,
    options: { readonly doubt: boolean; readonly dry?: boolean },
  ): Promise<R> {
    const head = this.heads[partition];
    const done = this.#errands.add(head, errand, options.dry === true);
    if (head !== undefined && options.doubt) head.doubted = true;
    this.#touch(this.#at([partition]));
    return done;
  }

  /** A retry of an event of this partition, within slots, rate and breaker. */
  retry(partition: number, one: Pick<Try, 'event' | 'attempt'>): ReturnType<ObserverTries['try']> {
    const [found] = this.#at([partition]);
    if (found === undefined) return Promise.resolve({ kind: 'stopped' });
    return this.#follow(this.#options.tries.try({ ...one, partition, patient: false, ...this.#signals(found) }));
  }

  quietMs(partition: number): number {
    return performance.now() - (this.heads[partition]?.handledAtMs ?? -Infinity);
  }

  lost({ head }: Step, { kind }: LostEnd): void {
    const [partition] = this.#at([head.ref.partition]);
    partition?.lost();
    if (kind !== 'refused') {
      const maxMs = kind === 'conflict' ? 200 : 2_000;
      head.notBeforeMs = performance.now() + backoffMs(++this.#troubles, { firstMs: 10, maxMs });
    }
    head.dirty = true;
    this.#touch(this.#at([head.ref.partition]));
  }

  written(): void {
    this.#troubles = 0;
    // These wait until nothing of their partition is on its way.
    const waiting = this.#partitions.filter(
      ({ head }) => head.queuedCount === 0 && (head.errands.length > 0 || head.dirty),
    );
    this.#touch(waiting);
  }

  leave(): void {
    this.#leave.abort();
  }

  async stop(): Promise<void> {
    this.leave();
    await atMost(STOP_GRACE_MS, Promise.all(this.#underWay));
    for (const partition of this.#partitions) partition.abort();
    await atMost(ABORTED_MAX_MS, Promise.all(this.#underWay));
    // What ended well is written.
    this.#touch(this.#partitions);
    await this.#running;
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#errands.stop(this.heads);
    for (const head of this.heads) {
      head.dirty = false;
      head.working = false;
      head.settle();
    }
  }

  #at(partitions: Iterable<number>): readonly ObserverPartition[] {
    return Array.from(partitions).flatMap((partition) => this.#partitions[partition] ?? []);
  }

  #touch(partitions: Iterable<ObserverPartition>): void {
    if (this.#stopped) return;
    for (const partition of partitions) this.#touched.add(partition);
    if (this.#running !== undefined || this.#touched.size === 0) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      this.#touch([]);
    });
  }

  async #run(): Promise<void> {
    // Let everything that the same tick brings come together.
    await Promise.resolve();
    while (this.#touched.size > 0 && !this.#stopped) {
      const ready = this.#takeReady();
      if (ready.length === 0) return;
      try {
        await this.#options.pipeline.room();
        await this.#learn(ready);
        await this.#fill(ready);
        for (const partition of ready) this.#advance(partition);
        this.#options.pipeline.kick();
      } catch (error) {
        this.#options.onTrouble(error);
        const notBeforeMs = performance.now() + backoffMs(++this.#troubles, { firstMs: 20, maxMs: 2_000 });
        for (const { head } of ready) head.notBeforeMs = Math.max(head.notBeforeMs, notBeforeMs);
        for (const partition of ready) this.#touched.add(partition);
      }
      for (const partition of ready) this.#rest(partition);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Those whose time has come; the others are looked at then. */
  #takeReady(): readonly ObserverPartition[] {
    const now = performance.now();
    const ready = [...this.#touched].filter(({ head }) => head.notBeforeMs <= now);
    for (const partition of ready) this.#touched.delete(partition);
    if (this.#touched.size > 0 && ready.length === 0) {
      const nextMs = Math.min(...Array.from(this.#touched, ({ head }) => head.notBeforeMs)) - now;
      const later = this.#touched;
      this.#touched = new Set();
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#touch(later), Math.max(1, nextMs));
    }
    return ready;
  }

  /** Looks up partitions that it does not know, or doubts. */
  async #learn(ready: readonly ObserverPartition[]): Promise<void> {
    const doubted = ready.filter(({ head, window }) => {
      if (!head.dirty && head.errands.length === 0 && window.size === 0) return false;
      return !head.busy && (head.tip === undefined || (head.doubted && head.queuedCount === 0));
    });
    if (doubted.length === 0) return;
    const { name: consumer, generation } = this.consumer;
    const { store, deadLetters } = this.#options;
    const heads = doubted.map(({ head }) => head);
    const learned = await readPartitions({ consumer, generation }, heads, store, deadLetters);
    // Read after the partitions: a reset writes it before anybody may run again.
    if (learned.some(({ head, reading }) => head.brokenAt(reading.revision))) {
      this.#replayUntil = (await this.#options.replayUntil()) ?? 0;
    }
    for (const one of learned) this.#at([one.head.ref.partition])[0]?.learn(one);
    for (const partition of doubted) {
      if (partition.head.tip !== undefined) continue;
      partition.head.notBeforeMs = performance.now() + ABSENT_PAUSE_MS;
      this.#touched.add(partition);
    }
  }

  /** Reads on for those that have room: from where the last of them is, and once more for those that this does not reach. */
  async #fill(ready: readonly ObserverPartition[]): Promise<void> {
    if (this.#leave.signal.aborted) return;
    const { reader } = this.#options;
    for (const partition of ready) {
      if (partition.stuck !== undefined && partition.head.dirty && !partition.head.resting) partition.stuck = undefined;
    }
    let wanting = ready.filter((partition) => partition.wants(reader.end));
    for (let turn = 0; turn < 2 && wanting.length > 0; turn++) {
      const after = Math.min(...wanting.map(({ scanned }) => scanned));
      const events = await reader.read(after, STRETCH_MAX_EVENTS);
      const to = events.at(-1)?._id ?? after;
      const near = wanting.filter(({ scanned, head }) => scanned <= to && head.tip !== undefined);
      const stretch = stretchOf({ ...this.#options, events, heads: near });
      for (const partition of near) this.#take(partition, stretch, to);
      wanting = wanting.filter((partition) => !near.includes(partition));
    }
  }

  /** Takes as many events in hand as there is room for. */
  #take(partition: ObserverPartition, stretch: Stretch<ObserverPartition>, to: number): void {
    const { window, head } = partition;
    const tasks = (stretch.tasks.get(partition) ?? []).filter(({ document, keys }) => {
      if (!this.consumer.run.replays && document._id <= this.#replayUntil) return false;
      // Of a blocked key up to its failing event: handled before a reset.
      return keys.some((key) => document._id > (head.blocked.get(key)?.position ?? -1));
    });
    const taken = tasks.slice(0, window.room);
    for (const { keys, ...task } of taken) for (const key of keys) window.add({ ...task, key });
    const next = tasks[taken.length];
    const stuck = stretch.stuck.get(partition);
    if (next !== undefined) partition.scanned = next.document._id - 1;
    else if (stuck !== undefined) {
      partition.scanned = stuck.position - 1;
      partition.stuck = stuck;
    } else partition.scanned = Math.max(partition.scanned, to);
  }

  /** Begins what may begin, and hands over what is settled. */
  #advance(partition: ObserverPartition): void {
    const { head, window } = partition;
    if (head.tip === undefined) return;
    if (!this.#leave.signal.aborted) {
      for (const task of window.begin(partition.isBlocked)) void this.#follow(this.#first(partition, task));
    }
    if (head.busy) return;
    if (head.errands.length > 0) {
      if (head.canRunErrands) this.#errands.begin(head);
      return;
    }
    const failing = partition.stuck !== undefined && window.size === 0 ? partition.stuck : undefined;
    const mended = head.failure !== undefined && partition.reached >= head.failure.position;
    if (window.hasSettled(partition.isBlocked) || failing !== undefined || mended) this.#handOver(partition, mended);
    head.scanned = Math.max(head.scanned, partition.reached);
  }

  #handOver(partition: ObserverPartition, mended: boolean): void {
    const { head, stuck } = partition;
    const { pipeline } = this.#options;
    const step = pipeline.step(head, undefined);
    const outcomes = partition.handOver(step.revision);
    for (const outcome of outcomes) this.#write(step, outcome);
    if (mended) head.failure = undefined;
    if (stuck?.cause !== undefined && partition.window.size === 0 && !head.resting) {
      const cause = { ...stuck.cause, position: stuck.position };
      head.failure = failureOf(cause, head.failure);
      head.retryAtMs = performance.now() + standStillMs(head.failure.attempts);
      this.#options.onStandStill(head.failure, cause);
    }
    step.failure = head.failure;
    pipeline.reach(step, Math.max(step.checkpoint, partition.reached), outcomes.length);
  }

  #write(step: Step, outcome: TaskOutcome): void {
    if (outcome.kind === 'done') return;
    const { document, key } = outcome.task;
    const { pipeline, logId, consumer, onFailing } = this.#options;
    const { blocked, ref } = step.head;
    const known = blocked.get(key);
    if (known !== undefined) {
      if (document._id > known.position) pipeline.park(step, known, document._id);
      return;
    }
    if (outcome.kind === 'parked') return;
    const record = deadLetterOf(
      { logId, consumer, partition: ref.partition, key },
      failedEvent(document, outcome.error),
    );
    pipeline.block(step, record);
    onFailing(record, outcome.error);
  }

  async #first(partition: ObserverPartition, task: WindowTask): Promise<void> {
    const { window, head } = partition;
    if (task.event === undefined) window.failed(task, task.error);
    else {
      const { event } = task;
      const signals = this.#signals(partition);
      const end = await this.#options.tries.try({
        event,
        attempt: 1,
        partition: head.ref.partition,
        patient: true,
        ...signals,
      });
      if (end.kind === 'done') window.done(task);
      else if (end.kind === 'failed') window.failed(task, end.error);
      else window.again(task);
      head.handledAtMs = performance.now();
    }
    this.#touch([partition]);
  }

  #signals({ signal }: ObserverPartition): Pick<Try, 'wait' | 'stop'> {
    return { stop: signal, wait: AbortSignal.any([signal, this.#leave.signal]) };
  }

  #follow<T>(work: Promise<T>): Promise<T> {
    const done = work.then(
      () => undefined,
      (error: unknown) => this.#options.onTrouble(error),
    );
    this.#underWay.add(done);
    void done.finally(() => this.#underWay.delete(done));
    return work;
  }

  /** Says how it stands: those who wait for it, and the sweep, go by that. */
  #rest(partition: ObserverPartition): void {
    const { head, window, stuck } = partition;
    const { end } = this.#options.reader;
    const more = partition.wants(end);
    head.working = window.runningCount > 0;
    head.dirty =
      window.size > 0 ||
      (!head.released && stuck === undefined && (head.tip === undefined ? head.dirty : partition.scanned < end));
    if (more) this.#touched.add(partition);
    head.settle();
  }
}
