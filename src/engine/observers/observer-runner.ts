import { setMaxListeners } from 'node:events';
import type { ObserverModel } from '../../define/model.ts';
import { atMost } from '../../queue/at-most.ts';
import type { RetryJob, RetryOutcome } from '../../queue/retries.ts';
import { anySignal } from '../concurrency/any-signal.ts';
import { backoffMs } from '../concurrency/backoff.ts';
import { UnderWay } from '../concurrency/under-way.ts';
import { Careful } from '../partitions/careful.ts';
import type { LostEnd, Step } from '../partitions/commit-pipeline.ts';
import type { Errand } from '../partitions/errand.ts';
import { ErrandQueue } from '../partitions/errand-queue.ts';
import { observerHandler } from '../partitions/handler.ts';
import { readPartitions } from '../partitions/learn-partitions.ts';
import { PartitionHead } from '../partitions/partition-head.ts';
import type { DoErrand } from '../partitions/retry-work.ts';
import type { Runner } from '../partitions/runner.ts';
import { ObserverCare } from './observer-care.ts';
import type { ObserverRunnerOptions } from './observer-options.ts';
import { handOver } from './observer-outcomes.ts';
import { ObserverPartition } from './observer-partition.ts';
import { readOn } from './observer-reading.ts';
import { runObserverRetry } from './observer-retry.ts';
import type { Try, TryEnd } from './observer-tries.ts';
import type { WindowTask } from './task-window.ts';

const ABSENT_PAUSE_MS = 500;
const TROUBLE_PAUSE_MS = 1_000;
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
  readonly #care: ObserverCare;
  readonly #watch: Careful;
  readonly #underWay: UnderWay;
  readonly #retries = new Map<string, Promise<RetryOutcome>>();
  /** No more tries begin. */
  readonly #leave = new AbortController();
  /** Retries are over. */
  readonly #abort = new AbortController();
  /** To be looked at. */
  #touched = new Set<ObserverPartition>();
  /** When their time has come. */
  readonly #later = new Set<ObserverPartition>();
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
    this.#underWay = new UnderWay(options.onTrouble);
    this.#care = new ObserverCare(options);
    this.#watch = new Careful(options.store, options.crashes);
    setMaxListeners(0, this.#leave.signal, this.#abort.signal);
  }

  wake(partitions?: Iterable<number>, options: { readonly doubt?: boolean } = {}): void {
    const woken = partitions === undefined ? this.#partitions : this.#at(partitions);
    for (const { head } of woken) {
      if (head.idle && !options.doubt) continue;
      head.dirty = true;
      head.released = false;
      if (options.doubt) head.doubted = true;
    }
    this.#touch(woken);
  }

  runUntilLevel(partition: number): Promise<void> {
    if (this.#leave.signal.aborted) return Promise.resolve();
    this.wake([partition], { doubt: true });
    return this.settled(partition);
  }

  /** What is in hand is brought to its end: whoever takes the partition then does nothing twice. */
  release(partition: number): void {
    for (const one of this.#at([partition])) one.release();
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

  /** A try of a dead letter; one that is under way is not begun again. Never throws. */
  retry(job: RetryJob, doErrand: DoErrand): Promise<RetryOutcome> {
    const known = this.#retries.get(job.deadLetter);
    if (known !== undefined) return known;
    const { logId, onFailing } = this.#options;
    const retrying = runObserverRetry(
      {
        ...{ logId, errand: doErrand, onFailed: ({ record }) => onFailing(record) },
        handles: (type) => this.consumer.handles.has(type),
        withCare: (record, run) => this.#care.retry(record, run),
        try: (event, attempt) => this.#retryNow({ event, attempt, partition: job.partition }),
      },
      job,
    ).finally(() => this.#retries.delete(job.deadLetter));
    this.#retries.set(job.deadLetter, retrying);
    return retrying;
  }

  /** Whoever runs the partition meanwhile: nothing but a stop ends it. */
  #retryNow(one: Pick<Try, 'event' | 'attempt' | 'partition'>): Promise<TryEnd> {
    const signals = { stop: this.#abort.signal, wait: this.#leave.signal };
    return this.#underWay.follow(this.#options.tries.try({ ...one, patient: false, ...signals }));
  }

  doubt(): void {
    for (const head of this.heads) head.doubted = true;
  }

  settled(partition: number): Promise<void> {
    const head = this.heads[partition];
    if (head === undefined || this.#stopped) return Promise.resolve();
    const settled = new Promise<void>((resolve) => head.waiters.push(resolve));
    this.#touch(this.#at([partition]));
    return settled;
  }

  quietMs(partition: number): number {
    if ((this.#partitions[partition]?.window.size ?? 0) > 0) return 0;
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
    this.rested();
  }

  rested(): void {
    // These wait until nothing of their partition is on its way.
    const waiting = this.#partitions.filter(
      ({ head }) => head.queuedCount === 0 && (head.errands.length > 0 || head.dirty),
    );
    this.#touch(waiting);
  }

  keepOnly(partitions: Iterable<number>): void {
    const kept = new Set(partitions);
    for (const { ref } of this.#partitions) if (!kept.has(ref.partition)) this.release(ref.partition);
  }

  leave(): void {
    this.#leave.abort();
  }

  async stop(): Promise<void> {
    this.leave();
    await this.#underWay.ended(STOP_GRACE_MS);
    this.#abort.abort();
    for (const partition of this.#partitions) partition.abort();
    await this.#underWay.ended(ABORTED_MAX_MS);
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
    await atMost(ABORTED_MAX_MS, this.#options.onStopped?.() ?? Promise.resolve());
  }

  #at(partitions: Iterable<number>): readonly ObserverPartition[] {
    return Array.from(partitions).flatMap((partition) => this.#partitions[partition] ?? []);
  }

  #touch(partitions: Iterable<ObserverPartition>): void {
    if (this.#stopped) return;
    for (const partition of partitions) this.#touched.add(partition);
    for (const partition of this.#touched) this.#later.delete(partition);
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
        if (!this.#leave.signal.aborted) await readOn(this.#options, ready, this.#replayUntil);
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
      for (const partition of this.#touched) this.#later.add(partition);
      this.#touched = new Set();
      const nextMs = Math.min(...Array.from(this.#later, ({ head }) => head.notBeforeMs)) - now;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#touch(this.#later), Math.max(1, nextMs));
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
    const learned = await readPartitions({ consumer, generation }, heads, store, deadLetters, this.#options.crashes());
    // Read after the partitions: a reset writes it before anybody may run again.
    if (learned.some(({ head, reading }) => head.brokenAt(reading.revision))) {
      this.#replayUntil = (await this.#options.replayUntil()) ?? 0;
    }
    for (const one of learned) {
      this.#at([one.head.ref.partition])[0]?.learn(one);
      this.#watch.watch(one.head, one.reading, this.#options.reader.end);
    }
    for (const partition of doubted) {
      if (partition.head.tip !== undefined) continue;
      partition.head.notBeforeMs = performance.now() + ABSENT_PAUSE_MS;
      this.#touched.add(partition);
    }
  }

  /** Begins what may begin, and hands over what is settled. */
  #advance(partition: ObserverPartition): void {
    const { head, window } = partition;
    if (head.tip === undefined) return;
    if (!this.#leave.signal.aborted && !head.paused) {
      for (const task of window.begin(partition.isBlocked)) void this.#underWay.follow(this.#first(partition, task));
    }
    if (head.busy) return;
    if (head.errands.length > 0) {
      if (head.canRunErrands) this.#errands.begin(head);
      return;
    }
    if (!head.paused) handOver(this.#options, partition);
    head.scanned = Math.max(head.scanned, partition.reached);
  }

  async #first(partition: ObserverPartition, task: WindowTask): Promise<void> {
    const { window, head } = partition;
    const end = await this.#tryFirst(partition, task);
    if (end.kind === 'done') window.done(task);
    else if (end.kind === 'failed') window.failed(task, end.error);
    else window.again(task);
    head.handledAtMs = performance.now();
    this.#touch([partition]);
  }

  async #tryFirst(partition: ObserverPartition, task: WindowTask): Promise<TryEnd> {
    const { event, error } = task;
    if (event === undefined) return { kind: 'failed', error };
    const onBegin = (): void => partition.window.running(task);
    const one = { event, attempt: 1, partition: partition.ref.partition, patient: true, onBegin };
    try {
      return await this.#care.first(partition.head, task, () => this.#try(partition, one));
    } catch (trouble) {
      this.#options.onTrouble(trouble);
      partition.head.notBeforeMs = performance.now() + TROUBLE_PAUSE_MS;
      return { kind: 'stopped' };
    }
  }

  #try({ signal: stop, waitSignal }: ObserverPartition, one: Omit<Try, 'wait' | 'stop'>): Promise<TryEnd> {
    const wait = anySignal([waitSignal, this.#leave.signal]);
    return this.#options.tries.try({ ...one, stop, wait: wait.signal }).finally(wait.end);
  }

  /** Says how it stands: those who wait for it, and the sweep, go by that. */
  #rest(partition: ObserverPartition): void {
    const { head, window, stuck } = partition;
    const { end } = this.#options.reader;
    head.working = window.begunCount > 0;
    const unread =
      !head.released && stuck === undefined && (head.tip === undefined ? head.dirty : partition.scanned < end);
    // What does not begin any more is left to others.
    const rests = head.paused || this.#leave.signal.aborted;
    head.dirty = rests ? head.working : window.size > 0 || unread;
    if (partition.wants(end)) this.#touched.add(partition);
    head.settle();
  }
}
