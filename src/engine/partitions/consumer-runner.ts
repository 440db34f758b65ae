import type { ConsumerModel, Model } from '../../define/model.ts';
import { MillraceError } from '../../errors.ts';
import type { DeadLetterStore } from '../../store/dead-letters.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { PartitionFailure, PartitionStore } from '../../store/partitions.ts';
import { backoffMs } from '../concurrency/backoff.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import type { OwnedLogReader } from '../log/log-reader.ts';
import { Careful, type Crashes, leftOf } from './careful.ts';
import type { CommitPipeline, LostEnd, Step } from './commit-pipeline.ts';
import type { Errand } from './errand.ts';
import { ErrandQueue, type ErrandQueueOptions } from './errand-queue.ts';
import { fetchDocuments } from './fetch-documents.ts';
import { type HandleOptions, handleTasks } from './handle-tasks.ts';
import type { Handler } from './handler.ts';
import { readPartitions } from './learn-partitions.ts';
import { type FailureCause, failureOf, standStillMs } from './partition-failure.ts';
import { PartitionHead } from './partition-head.ts';
import { type Stretch, stretchOf } from './stretch.ts';

export interface RunnerOptions {
  readonly logId: string;
  readonly model: Model;
  readonly consumer: ConsumerModel;
  readonly handler: Handler;
  readonly partitionCount: number;
  readonly reader: Pick<OwnedLogReader, 'end' | 'read'>;
  readonly store: Pick<PartitionStore, 'read' | 'documents' | 'commit' | 'mark'>;
  readonly deadLetters: Pick<DeadLetterStore, 'byIds' | 'blocked' | 'parked' | 'begin'>;
  readonly pipeline: CommitPipeline;
  readonly decode: DecodeOnce;
  readonly onTrouble: (error: unknown) => void;
  readonly onFailing: HandleOptions['onFailing'];
  /** An event's keys cannot be told: its partition is about to stand still. Also told of tries whose transaction is then lost. */
  readonly onStandStill: (failure: PartitionFailure, cause: FailureCause) => void;
  readonly onErrandsWritten: ErrandQueueOptions['onWritten'];
  readonly crashes: () => Crashes;
}

const STRETCH_MAX_EVENTS = 1_000;
/** Stretches kept for partitions that fell behind the others, which wait for them: the log is read and decoded once. */
const KEPT_MAX_COUNT = 3;
/** In a rebuild: the others have as much before them. */
const REBUILD_NEAR_POSITIONS = 20_000;
/** A partition whose record is not there (yet). */
const ABSENT_PAUSE_MS = 500;
/** Memory for documents of one consumer. */
const CACHE_MAX_BYTES = 48_000_000;

/** Runs the handlers of one consumer over its partitions, in order for each. Writing is the pipeline's. */
export class ConsumerRunner {
  readonly consumer: ConsumerModel;
  readonly handler: Handler;
  readonly heads: readonly PartitionHead[];
  readonly #options: RunnerOptions;
  readonly #errands: ErrandQueue;
  readonly #careful: Careful;
  #running: Promise<void> | undefined;
  #ahead: { readonly after: number; readonly events: Promise<readonly LogDocument[]> } | undefined;
  /** Full stretches that were read last, by the position before them. */
  readonly #kept = new Map<number, readonly LogDocument[]>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #troubles = 0;

  constructor(options: RunnerOptions) {
    this.#options = options;
    this.consumer = options.consumer;
    this.handler = options.handler;
    const { name, generation } = options.consumer;
    const onDone = (): void => this.#start();
    this.#errands = new ErrandQueue({ ...options, onWritten: options.onErrandsWritten, onDone });
    this.#careful = new Careful(options.store, options.crashes);
    const cacheMaxBytes = CACHE_MAX_BYTES / options.partitionCount;
    this.heads = Array.from(
      { length: options.partitionCount },
      (_, partition) => new PartitionHead({ consumer: name, generation, partition }, cacheMaxBytes),
    );
  }

  /** There may be news for these partitions; all of them when left out. */
  wake(partitions?: Iterable<number>, options: { readonly doubt?: boolean } = {}): void {
    const woken = partitions === undefined ? this.heads : Array.from(partitions, (partition) => this.heads[partition]);
    for (const head of woken) {
      // A failing partition rests until its next attempt is due; whoever wakes it then, the sweep at the latest. Where there
      // is doubt a look comes first: another process may have healed it.
      if (head === undefined || (head.resting && !options.doubt)) continue;
      head.dirty = true;
      head.released = false;
      if (options.doubt) head.doubted = true;
    }
    this.#start();
  }

  /** Resolves when the partition has nothing more to do for now: level with the log, failing, or lost to others. */
  runUntilLevel(partition: number): Promise<void> {
    const head = this.heads[partition];
    if (head === undefined || this.#stopped) return Promise.resolve();
    const level = new Promise<void>((resolve) => head.waiters.push(resolve));
    this.wake([partition], { doubt: true });
    head.settle();
    return level;
  }

  /** Ends what `runUntilLevel` waits for when what is in hand is written, level or not. */
  release(partition: number): void {
    const head = this.heads[partition];
    if (head === undefined) return;
    head.released = true;
    head.dirty = false;
    head.settle();
  }

  /** Does an errand of a partition; see ErrandQueue. `doubt`: another process may have moved the partition. */
  errand<R>(
    partition: number,
    errand: Errand<R>,
    options: { readonly doubt: boolean; readonly dry?: boolean },
  ): Promise<R> {
    const head = this.heads[partition];
    const done = this.#errands.add(head, errand, options.dry === true);
    if (head !== undefined && options.doubt) head.doubted = true;
    this.#start();
    return done;
  }

  /** Every partition is looked at again before it goes on: it may have been moved or paused. */
  doubt(): void {
    for (const head of this.heads) head.doubted = true;
  }

  /** How long ago the partition handled an event in this process. */
  quietMs(partition: number): number {
    return performance.now() - (this.heads[partition]?.handledAtMs ?? -Infinity);
  }

  /** A transaction with this partition failed: begin again, a little later when the surroundings are to blame. */
  lost(step: Step, end: LostEnd, alone: boolean): void {
    const { head } = step;
    const { kind } = end;
    if (kind === 'unstorable') {
      if (alone && step.eventCount <= 1) head.poison = { position: step.lastPosition, error: unstorable(end.error) };
      else if (alone) head.carefulUntil = step.checkpoint;
    } else if (kind === 'conflict') {
      // Its own: the others of its consumer go on.
      head.notBeforeMs = performance.now() + backoffMs(++head.conflictCount, { firstMs: 10, maxMs: 200 });
    } else if (kind !== 'refused') {
      head.notBeforeMs = performance.now() + backoffMs(++this.#troubles, { firstMs: 10, maxMs: 2_000 });
    }
    // Who has a released one now, or the sweep, goes on from what is written.
    if (!head.released) this.wake([head.ref.partition]);
    // Its errands are nobody else's.
    else this.#start();
    head.settle();
  }

  written(): void {
    this.#troubles = 0;
    this.rested();
  }

  rested(): void {
    // Errands wait until nothing of their partition is on its way.
    if (this.heads.some((head) => head.canRunErrands || (head.isWatched && head.dirty))) this.#start();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
    await this.#errands.stop(this.heads);
    for (const head of this.heads) {
      head.dirty = false;
      head.settle();
    }
  }

  #start(): void {
    if (this.#stopped || this.#running !== undefined) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      // Woken between the last look and this moment.
      if (this.#ready().length > 0) this.#start();
    });
  }

  #ready(): readonly PartitionHead[] {
    const now = performance.now();
    if (this.#stopped) return [];
    return this.heads.filter((head) => {
      if (head.busy || head.notBeforeMs > now) return false;
      if (head.errands.length > 0) return head.canRunErrands;
      return head.dirty && !(head.isWatched && head.queuedCount > 0);
    });
  }

  async #run(): Promise<void> {
    // Let everything that the same tick brings come together.
    await Promise.resolve();
    for (let ready = this.#ready(); ready.length > 0; ready = this.#ready()) {
      try {
        await this.#options.pipeline.room();
        await this.#learn(ready);
        // Not those whose errands came meanwhile, with events of theirs on the way.
        for (const head of ready) if (head.tip !== undefined && head.canRunErrands) this.#errands.begin(head);
        await this.#advance(ready.filter(({ busy }) => !busy));
      } catch (error) {
        this.#options.onTrouble(error);
        const notBeforeMs = performance.now() + backoffMs(++this.#troubles, { firstMs: 20, maxMs: 2_000 });
        for (const head of ready) head.notBeforeMs = Math.max(head.notBeforeMs, notBeforeMs);
      }
      // Handlers are synchronous: let sockets and timers have their turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#wakeLater();
  }

  /** Partitions that wait for a time are looked at again then; failing ones are left to the sweep. */
  #wakeLater(): void {
    const waiting = this.heads
      .filter((head) => !head.busy && (head.dirty || head.canRunErrands))
      .map((head) => head.notBeforeMs);
    if (waiting.length === 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#start(), Math.max(1, Math.min(...waiting) - performance.now()));
  }

  /** Reads where partitions are that this process does not know, or doubts. */
  async #learn(heads: readonly PartitionHead[]): Promise<void> {
    const doubted = heads.filter((head) => head.tip === undefined || (head.doubted && head.queuedCount === 0));
    if (doubted.length === 0) return;
    const { name, generation } = this.consumer;
    const { store, deadLetters, reader } = this.#options;
    for (const { head, reading, blocked } of await readPartitions(
      { consumer: name, generation },
      doubted,
      store,
      deadLetters,
      this.#options.crashes(),
    )) {
      head.learn(reading, blocked);
      this.#careful.watch(head, reading, reader.end);
    }
  }

  /** One stretch for those that are furthest behind, and one for those that it does not reach, unless these are near. */
  async #advance(ready: readonly PartitionHead[]): Promise<void> {
    for (const head of ready) {
      if (head.tip === undefined) head.notBeforeMs = performance.now() + ABSENT_PAUSE_MS;
      else if (head.idle) head.dirty = false;
    }
    const known = ready.filter((head) => head.tip !== undefined && head.dirty);
    const left = known.length === 0 ? [] : await this.#advanceFrom(known);
    if (left.length > 0 && !isNear(known, left, this.#options.reader.end)) await this.#advanceFrom(left);
    this.#options.pipeline.kick();
    for (const head of ready) head.settle();
  }

  async #advanceFrom(heads: readonly PartitionHead[]): Promise<readonly PartitionHead[]> {
    const after = Math.min(...heads.map(({ scanned }) => scanned));
    const events = await this.#read(after);
    const to = events.at(-1)?._id ?? after;
    if (to === after && after < this.#options.reader.end) {
      throw new MillraceError(
        'INTERNAL',
        `The log cannot be read after ${after}, though it has been heard to go further.`,
      );
    }
    const near = heads.filter(({ scanned }) => scanned <= to);
    const stretch = stretchOf({ ...this.#options, events, heads: near });
    const epochs = near.map(({ epoch }) => epoch);
    await fetchDocuments(this.#options, stretch.tasks);
    // Others: meanwhile a transaction below this one failed, and what was read belongs to another past.
    const sure = near.filter((head, index) => head.epoch === epochs[index] && head.tip !== undefined);
    const watched = sure.filter((head) => head.isWatched);
    for (const head of sure) if (!head.isWatched) this.#runHead(head, stretch, to);
    if (watched.length > 0) await this.#careful.run(watched, stretch.tasks, (head) => this.#runHead(head, stretch, to));
    return heads.filter((head) => !near.includes(head));
  }

  async #read(after: number): Promise<readonly LogDocument[]> {
    const { reader } = this.#options;
    for (const [before, events] of this.#kept) {
      // Positions have no gaps. A partition that stopped within it, for a document that it needs, goes on with the rest.
      if (after >= before && after < before + events.length)
        return after === before ? events : events.slice(after - before);
    }
    const ahead = this.#ahead?.after === after ? this.#ahead.events : undefined;
    this.#ahead = undefined;
    const events = await (ahead ?? reader.read(after, STRETCH_MAX_EVENTS));
    const last = events.at(-1)?._id ?? after;
    if (events.length === STRETCH_MAX_EVENTS && last < reader.end) {
      const next = reader.read(last, STRETCH_MAX_EVENTS);
      next.catch(() => undefined);
      this.#ahead = { after: last, events: next };
      this.#kept.set(after, events);
      for (const old of this.#kept.keys()) if (this.#kept.size > KEPT_MAX_COUNT) this.#kept.delete(old);
    } else this.#kept.clear();
    return events;
  }

  /** Handles a partition's share of a stretch. Up to where it came is one step of the next transaction. */
  #runHead(head: PartitionHead, stretch: Stretch, to: number): void {
    const stuck = stretch.stuck.get(head);
    const end = stuck === undefined ? to : stuck.position - 1;
    const tasks = leftOf(head, stretch.tasks.get(head) ?? []);
    const run = handleTasks(this.#options, head, tasks);
    if (run.handledCount > 0) head.handledAtMs = performance.now();
    const reached = Math.max(head.scanned, run.stoppedAt === undefined ? end : run.stoppedAt - 1);
    const halted = stuck !== undefined && run.stoppedAt === undefined;
    const cause = halted && stuck.cause !== undefined ? { ...stuck.cause, position: stuck.position } : undefined;
    const { pipeline } = this.#options;
    const mended = head.failure !== undefined && reached >= head.failure.position;
    if (run.handledCount > 0 || cause !== undefined || mended) {
      const step = pipeline.step(head, this.handler.build);
      if (cause !== undefined) {
        head.failure = failureOf(cause, head.failure);
        this.#options.onStandStill(head.failure, cause);
      } else if (mended) head.failure = undefined;
      step.failure = head.failure;
      pipeline.reach(step, reached, run.handledCount);
    }
    head.scanned = reached;
    if (halted && head.failure !== undefined) {
      head.retryAtMs = performance.now() + standStillMs(head.failure.attempts);
    }
    head.dirty = !halted && !head.released && head.scanned < this.#options.reader.end;
  }
}

/**
 * Those that are behind will soon have caught up with the others, which wait for them then: else both would read the rest of the
 * log. Where they are at its end, they wait for a moment at most.
 */
function isNear(all: readonly PartitionHead[], others: readonly PartitionHead[], end: number): boolean {
  // These go a few events at a time.
  if (all.some(({ isWatched, carefulUntil, scanned }) => isWatched || carefulUntil > scanned)) return false;
  const behind = Math.min(...all.map(({ scanned }) => scanned));
  const ahead = Math.min(...others.map(({ scanned }) => scanned));
  return ahead - behind <= Math.max(KEPT_MAX_COUNT * STRETCH_MAX_EVENTS, Math.min(REBUILD_NEAR_POSITIONS, end - ahead));
}

const unstorable = (cause: unknown): MillraceError =>
  new MillraceError(
    'VIEW_DOCUMENT_INVALID',
    `MongoDB does not take the document: ${cause instanceof Error ? cause.message : String(cause)}`,
    { cause },
  );
