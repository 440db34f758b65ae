import { setMaxListeners } from 'node:events';
import { crashPoint } from '../../crash-points.ts';
import type { ServiceModel } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import { atMost } from '../../queue/at-most.ts';
import type { CommandJobEnd, CommandJobs } from '../../queue/command-jobs.ts';
import type { QueuedCommandDocument, StoredError } from '../../store/documents.ts';
import type { QueuedCommandStore, Settlement } from '../../store/queued-commands.ts';
import { batchWhileBusy } from '../concurrency/batch-while-busy.ts';
import type { ServerClock } from '../concurrency/server-clock.ts';
import { Turns } from '../concurrency/turns.ts';
import type { CommandOutcome, CommandRequest } from '../contract/runtime.ts';
import { OVERDUE_MS, settlementOf } from './command-settlement.ts';
import { CRASHED_COUNT, crashed, policyOf, type TryEnd, triesOf, tryAggregate } from './command-try.ts';
import type { ServiceRunner } from './service-runner.ts';

export interface CommandWorkerDeps {
  readonly store: QueuedCommandStore;
  readonly model: { readonly services: ReadonlyMap<string, ServiceModel> };
  /** Carries out commands of aggregates. */
  readonly handle: (request: CommandRequest) => Promise<CommandOutcome>;
  readonly services: Pick<ServiceRunner, 'run' | 'waits' | 'letGo' | 'stop'>;
  readonly instanceId: string;
  /** Whether a process died without leaving. */
  readonly hasDied: (instance: string) => Promise<boolean | undefined>;
  /** MongoDB's: what is due is due by its clock. */
  readonly clock: ServerClock;
  /** Absent: tries that failed wait for the sweep. */
  readonly jobs?: CommandJobs | undefined;
  readonly logger: Logger;
}

/** Commands of aggregates under way at once: as many as go into one group commit with room to spare. */
const AGGREGATES_MAX_COUNT = 256;
/**
 * Whoever begins a command, and dies before its end is written, has others of its commands in hand at the same time. After so many
 * deaths a command runs with no other beside it: then there is no doubt whose death it is.
 */
const SUSPECT_COUNT = 2;
/** Jobs of BullMQ in hand at once. */
const JOBS_MAX_COUNT = 100;
/** Commands in memory; more are left to jobs and to the sweep. */
const KEPT_MAX_COUNT = 10_000;
/** Whoever has a command in hand has so long before the sweep takes it up once more. */
const IN_HAND_MS = 4_000;
const CLOCK_MAX_AGE_MS = 5_000;
const WRITES_MAX_COUNT = 500;
const AT_ONCE = { kind: 'later', delayMs: 0 } as const satisfies CommandJobEnd;
/** Of a stop: for the last writes and jobs. */
const LAST_MS = 1_000;
/** A job that waits behind another command of its key does not keep BullMQ waiting. */
const JOB_WAITS_MS = 1_000;

/**
 * Carries out queued commands in this process: those it wrote itself (`offer`), those that jobs bring (`runJob`), those that the
 * sweep and the timers find (`takeUp`). A command runs once at a time in a process; that it has its effect once is for its commandId to see to.
 * What became of it is written before anybody is told; nothing here throws.
 */
export class CommandWorker {
  readonly #deps: CommandWorkerDeps;
  readonly #clock: ServerClock;
  readonly #running = new Map<string, Promise<CommandJobEnd>>();
  readonly #turns = new Turns(AGGREGATES_MAX_COUNT);
  readonly #stopping = new AbortController();
  readonly #settle: (settlement: Settlement) => Promise<void>;
  readonly #begin: (id: string) => Promise<QueuedCommandDocument | undefined>;
  readonly #onRefused = new Set<(command: QueuedCommandDocument) => void>();
  readonly #onProgress = new Set<(command: string) => void>();

  constructor(deps: CommandWorkerDeps) {
    this.#deps = deps;
    this.#clock = deps.clock;
    const { store } = deps;
    // Every command that waits for its turn listens.
    setMaxListeners(0, this.#stopping.signal);
    this.#settle = batchWhileBusy(
      async (settlements: readonly Settlement[]) => {
        crashPoint('before-settle');
        await store.settle(settlements);
        return settlements.map(() => undefined);
      },
      { maxCount: WRITES_MAX_COUNT },
    );
    this.#begin = batchWhileBusy(
      async (ids: readonly string[]) => {
        const some = await store.begin(ids, deps.instanceId, IN_HAND_MS);
        const begun = new Map(some.map((command) => [command._id, command]));
        return ids.map((id) => begun.get(id));
      },
      { maxCount: WRITES_MAX_COUNT },
    );
  }

  /** Jobs come from now on. */
  start(): void {
    this.#deps.jobs?.work((id) => this.runJob(id), JOBS_MAX_COUNT);
  }

  /** A refusal of a command that a saga sent is written down: the saga has something to hear. Returns how to stop. */
  onRefused(listener: (command: QueuedCommandDocument) => void): () => void {
    this.#onRefused.add(listener);
    return () => this.#onRefused.delete(listener);
  }

  /** The state of a command was written by this process. Returns how to stop. */
  onProgress(listener: (command: string) => void): () => void {
    this.#onProgress.add(listener);
    return () => this.#onProgress.delete(listener);
  }

  /** Documents that this process has just written (majority): carried out at once, without the way over Redis. */
  offer(commands: readonly QueuedCommandDocument[]): void {
    for (const command of commands) {
      // Timers ring those.
      if (command.notBefore !== undefined) continue;
      if (this.#running.size >= KEPT_MAX_COUNT || this.#stopping.signal.aborted) this.#leave(command, AT_ONCE);
      else void this.#alone(command, command.state === 'RUNNING');
    }
  }

  /** What stands still, as the sweep read it. */
  takeUp(commands: readonly QueuedCommandDocument[]): void {
    for (const command of commands) {
      if (this.#running.has(command._id)) continue;
      if (this.#running.size < KEPT_MAX_COUNT && !this.#stopping.signal.aborted) void this.#alone(command, false);
      else this.#leave(command, AT_ONCE);
    }
  }

  /** One job. */
  async runJob(id: string): Promise<CommandJobEnd> {
    try {
      const found = await this.#find(id);
      if ('kind' in found) return found;
      const running = this.#running.get(id) ?? this.#run(found, false);
      await atMost(JOB_WAITS_MS, running);
      if (!this.#deps.services.waits(id)) return await running;
      void running.then((end) => this.#leave(found, end));
      return { kind: 'done' };
    } catch (error) {
      this.#deps.logger.debug({ error: String(error) }, 'a queued command could not be read');
      return { kind: 'later', delayMs: OVERDUE_MS };
    }
  }

  /** Handlers of services are told to end; nothing new begins. */
  letGo(): void {
    this.#stopping.abort();
    this.#deps.services.letGo();
  }

  /** Waits for what is under way, `timeoutMs` at most; what is left then goes to other processes. */
  async stop(timeoutMs: number): Promise<void> {
    this.letGo();
    const { jobs, services } = this.#deps;
    const lastMs = Math.min(LAST_MS, timeoutMs / 2);
    const ended = Promise.allSettled(this.#running.values());
    await atMost(timeoutMs - lastMs, Promise.all([jobs?.rest(), ended]));
    await atMost(lastMs / 2, services.stop());
    await atMost(lastMs / 2, Promise.allSettled(this.#running.values()));
    await jobs?.close();
  }

  async #find(id: string): Promise<QueuedCommandDocument | CommandJobEnd> {
    const [command] = await this.#deps.store.find([id]);
    if (command === undefined) return { kind: 'done' };
    if (command.state === 'DEAD') return { kind: 'dead', says: aboutOf(command.error) };
    if (command.state !== 'RECEIVED' && command.state !== 'RUNNING') return { kind: 'done' };
    const { notBefore, nextAttemptAt, dueAt, begunBy } = command;
    // Another process has it in hand, or died with it: that shows by then.
    const inHandUntil = begunBy === undefined || begunBy === this.#deps.instanceId ? undefined : dueAt;
    const waitsFor = Math.max(...[notBefore, nextAttemptAt, inHandUntil].map((time) => time?.getTime() ?? 0));
    if (waitsFor === 0) return command;
    await this.#clock.sync(CLOCK_MAX_AGE_MS);
    const waitMs = waitsFor - this.#clock.now();
    // The job counts by Redis' clock; a few milliseconds early is in time.
    return waitMs > 100 ? { kind: 'later', delayMs: waitMs } : command;
  }

  /** Not brought by a job: what is left to do afterwards needs one. */
  async #alone(command: QueuedCommandDocument, begun: boolean): Promise<void> {
    if (!this.#running.has(command._id)) this.#leave(command, await this.#run(command, begun));
  }

  #leave(command: QueuedCommandDocument, end: CommandJobEnd): void {
    if (end.kind !== 'done') this.#deps.jobs?.add([this.#jobOf(command, end.kind === 'dead' ? 0 : end.delayMs)]);
  }

  #run(command: QueuedCommandDocument, begun: boolean): Promise<CommandJobEnd> {
    const { _id } = command;
    const running = this.#try(command, begun)
      .catch((error: unknown): CommandJobEnd => {
        this.#deps.logger.warn(
          { error: String(error), command: _id },
          'a queued command is disturbed; it goes on by itself',
        );
        return { kind: 'later', delayMs: OVERDUE_MS };
      })
      .finally(() => this.#running.delete(_id));
    this.#running.set(_id, running);
    return running;
  }

  async #try(command: QueuedCommandDocument, begun: boolean): Promise<CommandJobEnd> {
    const at = new Date();
    if (command.targetKind === 'service') {
      const { command: claimed, end } = await this.#deps.services.run(command);
      return this.#write(claimed, end, claimed.startedAt ?? at);
    }
    const interruptions = await this.#interruptionsOf(command);
    const { signal } = this.#stopping;
    const turn = await (interruptions >= SUSPECT_COUNT ? this.#turns.takeAlone(signal) : this.#turns.take(signal));
    if (turn === undefined) return AT_ONCE;
    try {
      const mine = begun ? command : await this.#begin(command._id);
      if (mine === undefined) return { kind: 'done' };
      return await this.#write(mine, await this.#tryAggregate(mine), mine.startedAt ?? at);
    } finally {
      turn();
    }
  }

  #tryAggregate(command: QueuedCommandDocument): Promise<TryEnd> {
    if ((command.interruptions ?? 0) < CRASHED_COUNT) return tryAggregate(this.#deps.handle, command);
    return Promise.resolve({ kind: 'hopeless', error: crashed(command) });
  }

  /** How many processes died while they had it in hand; the last one is counted here. */
  async #interruptionsOf({ _id, interruptions = 0, begunBy }: QueuedCommandDocument): Promise<number> {
    const { store, instanceId, hasDied } = this.#deps;
    if (begunBy === undefined || begunBy === instanceId || !(await hasDied(begunBy))) return interruptions;
    await store.interrupted(_id, begunBy);
    return interruptions + 1;
  }

  /** Writes down what a try came to, then tells it. */
  async #write(command: QueuedCommandDocument, end: TryEnd, startedAt: Date): Promise<CommandJobEnd> {
    const { model, logger } = this.#deps;
    const settlement = settlementOf(command, end, { policy: policyOf(model, command), startedAt, logger });
    if (settlement === undefined) return { kind: 'done' };
    await this.#settle(settlement);
    if (settlement.kind === 'rejected' && settlement.tell) for (const listener of this.#onRefused) listener(command);
    for (const listener of this.#onProgress) listener(command._id);
    switch (settlement.kind) {
      case 'accepted':
      case 'rejected':
        return { kind: 'done' };
      case 'dead':
        return { kind: 'dead', says: aboutOf(settlement.error) };
      case 'retry':
        return { kind: 'failed', delayMs: settlement.delayMs, says: aboutOf(settlement.error) };
      case 'postponed':
        return { kind: 'later', delayMs: end.kind === 'postponed' ? end.delayMs : 0 };
    }
  }

  #jobOf(command: QueuedCommandDocument, delayMs: number) {
    const { _id, delivery } = command;
    return { command: _id, delivery, maxAttempts: triesOf(policyOf(this.#deps.model, command)), delayMs };
  }
}

/** For people who look at the queue: no payload, which a message may hold. */
const aboutOf = (error: StoredError | undefined): string =>
  error === undefined ? 'dead' : `${error.code} ${error.type} (${error.fingerprint})`;
