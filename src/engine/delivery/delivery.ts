import { setTimeout as pause } from 'node:timers/promises';
import type { ConsumerModel, Model } from '../../define/model.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import type { Retries, RetryJob, RetryOutcome } from '../../queue/retries.ts';
import type { WakeUps } from '../../queue/wake-ups.ts';
import type { DeliveryStore } from '../../store/delivery-store.ts';
import type { GenerationRef } from '../../store/partitions.ts';
import { type DecodeOnce, decodeOnce } from '../log/decode-once.ts';
import type { HintBus } from '../log/hint-bus.ts';
import type { OwnedLogReader } from '../log/log-reader.ts';
import { ObserverRunner } from '../observers/observer-runner.ts';
import { type ObserverStore, observerRunner } from '../observers/observer-work.ts';
import type { Crashes } from '../partitions/careful.ts';
import { CommitPipeline, type LostEnd, type Step, type WrittenStep } from '../partitions/commit-pipeline.ts';
import { ConsumerRunner, type RunnerOptions } from '../partitions/consumer-runner.ts';
import type { Errand } from '../partitions/errand.ts';
import { handlerOf } from '../partitions/handler.ts';
import { logStandStill } from '../partitions/partition-failure.ts';
import { retryErrand } from '../partitions/retry-errand.ts';
import { logFailure, RETRIES_AT_ONCE, runRetry, scheduleRetries } from '../partitions/retry-work.ts';
import type { Runner } from '../partitions/runner.ts';
import type { Membership } from '../processes/membership.ts';
import { Holds } from './holds.ts';
import { type PauseWatch, watchPauses } from './pause-watch.ts';
import type { SagaWork } from './saga-work.ts';

export interface DeliveryOptions {
  readonly store: ObserverStore &
    Pick<DeliveryStore, 'logId' | 'partitions' | 'consumers' | 'deadLetters' | 'operators'>;
  readonly model: Model;
  readonly reader: OwnedLogReader;
  readonly hints: Pick<HintBus, 'publish'>;
  readonly membership: Pick<Membership, 'alone' | 'consumingCount' | 'buryDead' | 'onChange'> & Crashes;
  /** Without jobs only this process runs its consumers. */
  readonly wakeUps?: WakeUps;
  /** Without them dead letters are tried when the sweep finds them overdue. */
  readonly retries?: Retries;
  /** Without it sagas are not run here. */
  readonly sagas?: Pick<SagaWork, 'handler' | 'written'> | undefined;
  /** Names this process where the state of a breaker is kept. */
  readonly instanceId?: string | undefined;
  readonly logger: Logger;
  /** Shared with others of this process that decode the log. */
  readonly decode?: DecodeOnce;
}

const LAZY_MS = 1_000;
/** A partition stays with the process that its job came to until it was quiet for so long: no job for each batch. */
const LINGER_MS = 2_500;
/** But no longer than this, so that partitions spread again when processes come and go. */
const HOLD_MAX_MS = 5_000;
const UNKNOWN_MAX_COUNT = 10_000;

/** Carries events to the consumers of this process: who is woken, when, and what is told after it was written. */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #pipeline: CommitPipeline;
  readonly #decode: DecodeOnce;
  readonly #runners = new Map<string, Runner>();
  readonly #stops: (() => void)[] = [];
  readonly #holds = new Holds();
  #leaving = false;
  #lazy: NodeJS.Timeout | undefined;
  #pauses: PauseWatch | undefined;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#decode = options.decode ?? decodeOnce(options.model);
    this.#pipeline = new CommitPipeline({
      store: options.store.partitions,
      onWritten: (steps, time) => this.#tell(steps, time),
      onRest: () => {
        for (const runner of this.#runners.values()) runner.rested();
      },
      onLost: (steps, end) => {
        if (end.kind === 'conflict') void options.membership.buryDead();
        if (end.kind === 'failed' || end.kind === 'unknown' || end.kind === 'unstorable') this.#trouble(end.error);
        for (const step of steps) this.#lost(step, end, steps.length === 1);
      },
    });
  }

  /** Creates generations that are new, then runs. Failing partitions are tried again at once: the code may have been mended. */
  async start(): Promise<void> {
    const { model, store, reader, membership, wakeUps } = this.#options;
    for (const consumer of model.consumers) {
      const { partitionCount } = await store.consumers.ensure(consumer);
      const runner = this.#runnerOf(consumer, partitionCount);
      if (runner !== undefined) this.#runners.set(consumer.name, runner);
    }
    await this.#wakeFailing();
    await this.#retryUnknown();
    this.#stops.push(
      reader.onAdvance(() => this.#wakeOwned()),
      membership.onChange(() => this.#wakeOwned()),
    );
    for (const runner of this.#runners.values()) {
      this.#workRetries(runner);
      const share = (): number => Math.ceil(runner.heads.length / Math.max(1, membership.consumingCount));
      const { name, version } = runner.consumer;
      const work = wakeUps?.work({ consumer: name, version }, (partition) => this.#hold(runner, partition), share());
      let size = share();
      let wasAlone = this.#alone;
      this.#stops.push(
        membership.onChange(() => {
          const ends = this.#holds.endsOf(runner);
          // Jobs of the others come a little later.
          if (wasAlone && !this.#alone) this.#adopt(runner, runner.heads.keys());
          wasAlone = this.#alone;
          work?.resize(share());
          if (!this.#alone) runner.keepOnly?.(this.#holds.heldOf(runner));
          // Directly from now on; or more than before, which BullMQ sees when a job ends.
          if (this.#alone) for (const end of ends) end.abort();
          else if (share() > size) ends[0]?.abort();
          size = share();
        }),
      );
    }
    this.#lazy = setInterval(() => {
      this.#pipeline.moveLazily([...this.#runners.values()].flatMap(({ heads }) => heads));
    }, LAZY_MS);
    this.#wakeOwned();
    const watched = [...this.#runners.values()].map(({ consumer }) => consumer);
    this.#pauses = watchPauses(
      { store: store.operators.consumers, consumers: watched, logger: this.#options.logger },
      (name) => this.#lookAgain(name),
    );
  }

  /**
   * Runs partitions here, and goes on with them until another process shows that it has them; for the sweep. `byJob`: nobody has died,
   * so a job finds whoever has them in hand.
   */
  wake(consumer: string, partitions: readonly number[], { byJob = false } = {}): void {
    const runner = this.#runners.get(consumer);
    const { wakeUps, retries } = this.#options;
    if (runner === undefined) return;
    // Handlers of observers must not run in two processes: a job goes to one, and not while another has the partition.
    if ((byJob || runner instanceof ObserverRunner) && !this.#alone && retries?.available() === true) {
      const { name, version } = runner.consumer;
      wakeUps?.wake({ consumer: name, version }, partitions);
      return;
    }
    runner.wake(partitions, { doubt: true });
    if (!this.#alone) this.#adopt(runner, partitions);
  }

  /** Not those of observers: their handlers must not run in two processes. */
  #adopt(runner: Runner, partitions: Iterable<number>): void {
    if (!(runner instanceof ObserverRunner)) this.#holds.adopt(runner, partitions);
  }

  /**
   * Does an errand of a partition here and now, whoever runs the partition. Resolves when it is written; rejects as
   * ErrandQueue.add says, and with UNKNOWN_CONSUMER when this process does not run the consumer.
   */
  errand<R>(consumer: string, partition: number, errand: Errand<R>): Promise<R> {
    return this.#do(consumer, partition, errand, false);
  }

  /** The same without writing anything: a dry run on what the database holds. */
  preview<R>(consumer: string, partition: number, errand: Errand<R>): Promise<R> {
    return this.#do(consumer, partition, errand, true);
  }

  /** A try of a dead letter, here and now, by its job or by the sweep. Never throws. */
  retry(consumer: string, job: RetryJob): Promise<RetryOutcome> {
    const { store, logger } = this.#options;
    const errand = <R>(partition: number, one: Errand<R>): Promise<R> => this.errand(consumer, partition, one);
    const runner = this.#runners.get(consumer);
    if (runner instanceof ObserverRunner) return runner.retry(job, errand);
    return runRetry(errand, store.logId, job, ({ record }) => logFailure(logger, record));
  }

  /** The consumer as this process runs it. */
  consumer(name: string): ConsumerModel | undefined {
    return this.#runners.get(name)?.consumer;
  }

  /** Jobs in hand end with what their partitions are at, and no new ones begin. */
  letGo(): void {
    this.#leaving = true;
    for (const runner of this.#runners.values()) runner.leave?.();
    for (const runner of this.#runners.values()) for (const end of this.#holds.endsOf(runner)) end.abort();
  }

  /** No new work; what was handled is written. */
  async stop(): Promise<void> {
    this.letGo();
    clearInterval(this.#lazy);
    await this.#pauses?.stop();
    for (const stop of this.#stops) stop();
    await Promise.all([...this.#runners.values()].map((runner) => runner.stop()));
    await this.#pipeline.idle();
  }

  /** Undefined for kinds that are not run here. */
  #runnerOf(consumer: ConsumerModel, partitionCount: number): Runner | undefined {
    const { model, store, reader, logger, retries } = this.#options;
    const { sagas } = this.#options;
    const handler = handlerOf(consumer, sagas && ((saga) => sagas.handler(saga)));
    const onStandStill: RunnerOptions['onStandStill'] = (failure, cause) =>
      logStandStill(logger, consumer.name, failure, cause);
    const options: Omit<RunnerOptions, 'consumer' | 'handler'> = {
      ...{ logId: store.logId, model, reader, store: store.partitions, deadLetters: store.deadLetters },
      ...{ pipeline: this.#pipeline, decode: this.#decode, partitionCount, onStandStill },
      crashes: () => this.#options.membership,
      onTrouble: (error) => this.#trouble(error),
      onFailing: (record) => logFailure(logger, record),
      onErrandsWritten: (written, time, released) => {
        this.#tell([written], time);
        const jobs = released.map(({ id, delivery }) => ({ deadLetter: id, delivery }));
        if (jobs.length > 0) retries?.drop({ consumer: consumer.name, version: consumer.version }, jobs);
      },
    };
    if (consumer.kind === 'observer') {
      return observerRunner({ ...options, consumer }, { store, logger, instanceId: this.#options.instanceId ?? 'one' });
    }
    return handler && new ConsumerRunner({ ...options, consumer, handler });
  }

  #do<R>(consumer: string, partition: number, errand: Errand<R>, dry: boolean): Promise<R> {
    const runner = this.#runners.get(consumer);
    if (runner !== undefined) return runner.errand(partition, errand, { doubt: !this.#alone, dry });
    const message = `This process runs no consumer "${consumer}". Ask one that runs it, with the module that declares it.`;
    return Promise.reject(new MillraceError('UNKNOWN_CONSUMER', message));
  }

  #workRetries({ consumer: { name, version } }: Runner): void {
    this.#options.retries?.work({ consumer: name, version }, (job) => this.retry(name, job), RETRIES_AT_ONCE);
  }

  #lost(step: Step, end: LostEnd, alone: boolean): void {
    const { consumer, partition } = step.head.ref;
    const runner = this.#runners.get(consumer);
    runner?.lost(step, end, alone);
    // Another process has it: two that both go on would undo each other's work. The sweep sees when it does not come on.
    if (runner === undefined || end.kind !== 'refused' || this.#alone || this.#holds.isHeld(runner, partition)) return;
    this.#holds.leave(runner, partition);
    runner.release(partition);
  }

  /** No other process has these consumers: Redis is not in the way. */
  get #alone(): boolean {
    return this.#options.wakeUps === undefined || this.#options.membership.alone;
  }

  /** Alone: all partitions. Else those whose jobs are here, and those that stood still. */
  #wakeOwned(): void {
    if (this.#leaving) return;
    for (const runner of this.#runners.values()) {
      const owned = this.#alone ? undefined : this.#holds.of(runner);
      if (owned?.size !== 0) runner.wake(owned);
    }
  }

  /** A job: runs the partition until it is level, and stays with it while events come. */
  async #hold(runner: Runner, partition: number): Promise<void> {
    const { reader } = this.#options;
    // The news may be younger than what this process has heard of the log.
    await reader.refresh();
    if (this.#leaving) return this.#giveBack(runner, partition);
    if (this.#alone) return runner.wake([partition], { doubt: true });
    const end = new AbortController();
    this.#holds.hold(runner, partition, end);
    const timer = setTimeout(() => end.abort(), HOLD_MAX_MS);
    const keptHere = new Promise<void>((resolve) => {
      end.signal.addEventListener('abort', () => {
        this.#holds.giveBack(runner, partition, end);
        if (this.#alone && !this.#leaving) resolve();
        else runner.release(partition);
      });
    });
    await Promise.race([runner.runUntilLevel(partition), keptHere]);
    while (!end.signal.aborted && runner.quietMs(partition) < LINGER_MS) {
      await pause(LINGER_MS - runner.quietMs(partition), undefined, { signal: end.signal }).catch(() => undefined);
    }
    clearTimeout(timer);
    // Events were still coming: another process may take it now.
    const giveBack = end.signal.aborted;
    if (!giveBack) end.abort();
    // Handlers may be at work: whoever takes it must find it as they leave it.
    if (!this.#alone) await runner.settled?.(partition);
    if (giveBack) this.#giveBack(runner, partition);
  }

  /** A consumer was paused or resumed: the partitions say which. */
  #lookAgain(name: string): void {
    const runner = this.#runners.get(name);
    if (runner === undefined || this.#leaving) return;
    runner.doubt();
    if (this.#alone) runner.wake();
    else {
      const { version } = runner.consumer;
      this.#options.wakeUps?.wake({ consumer: name, version }, runner.heads.keys());
      runner.wake(this.#holds.of(runner));
    }
  }

  #giveBack({ consumer: { name, version } }: Runner, partition: number): void {
    const { membership, wakeUps } = this.#options;
    if (!membership.alone) wakeUps?.wake({ consumer: name, version }, [partition]);
  }

  async #wakeFailing(): Promise<void> {
    const generations = this.#generations;
    for (const { consumer, partition, failure } of await this.#options.store.partitions.read(generations)) {
      if (failure !== undefined) this.#runners.get(consumer)?.wake([partition]);
    }
  }

  /** Events that nobody knew: this process may have the code that does. Not waited for. */
  async #retryUnknown(): Promise<void> {
    const { store } = this.#options;
    const generations = this.#generations;
    if (generations.length === 0) return;
    for (const { _id, consumer, partition } of await store.deadLetters.unknown(generations, UNKNOWN_MAX_COUNT)) {
      // Those of an observer come again by their back-off: its handlers are not errands.
      if (this.consumer(consumer)?.kind === 'observer') continue;
      this.errand(consumer, partition, retryErrand({ logId: store.logId, deadLetter: _id })).catch(() => undefined);
    }
  }

  get #generations(): readonly GenerationRef[] {
    const consumers = [...this.#runners.values()].map((runner) => runner.consumer);
    return consumers.map(({ name, generation }) => ({ consumer: name, generation }));
  }

  #tell(steps: readonly WrittenStep[], time: string | undefined): void {
    for (const { build, partition, revision, checkpoint, documents, blockedCount, deadLetters, side } of steps) {
      this.#options.sagas?.written(side);
      if (build !== undefined && build.kind !== 'saga') {
        const { view, generation } = build;
        const ids = documents.map(({ _id }) => _id);
        const progress = { partition, revision, checkpoint, blockedCount };
        this.#options.hints.publish({ kind: 'view', view, generation, ...progress, time, ids, documents });
      }
      const [first] = deadLetters;
      const consumer = first && this.consumer(first.consumer);
      if (consumer !== undefined) scheduleRetries(this.#options.retries, consumer, deadLetters);
    }
    for (const runner of this.#runners.values()) runner.written();
  }

  #trouble(error: unknown): void {
    const code = error instanceof MillraceError ? error.code : undefined;
    this.#options.logger.warn({ error: String(error), code }, 'delivery is disturbed; it goes on by itself');
  }
}
