import type { Logger } from '../../logger.ts';
import type { Instance, InstanceIdentity, InstanceStore } from '../../store/instances.ts';
import { type Repeating, repeat } from '../concurrency/repeat.ts';

const HEARTBEAT_MS = 1_000;
/** Silent for so long, by the server's clock: dead. Its sessions are killed; if it lives after all, its transaction fails and is done again. */
export const DEAD_AFTER_MS = 3_000;
/** Who lives speaks more often. */
const SILENT_MS = 1_500;
/** For so long after its burial the jobs of a dead process may lie in its hands: until their locks have run out and were found. */
export const JOBS_FREE_MS = 10_000;
/** How often conflicts may ask for the dead. */
const LOOK_MS = 250;
/** Roles of processes that run consumers. */
const CONSUMING: ReadonlySet<string> = new Set(['all', 'worker', 'consumers']);
export const runsConsumers = ({ role }: { readonly role: string }): boolean => CONSUMING.has(role);

/** It spoke lately. */
export const isLiving = ({ ageMs }: Instance): boolean => ageMs < DEAD_AFTER_MS;

/** Instances that run in this very process: several, in tests. */
const ownIds = new Set<string>();

/** Which processes of the deployment live, and that this one does. */
export class Membership {
  readonly #store: InstanceStore;
  readonly #self: InstanceIdentity;
  readonly #now: () => Partial<Pick<InstanceIdentity, 'consumers' | 'serves'>>;
  readonly #sessions: () => readonly unknown[];
  readonly #logger: Logger;
  readonly #listeners = new Set<() => void>();
  /** The oldest first. */
  #living: readonly Instance[] = [];
  #beating: Repeating | undefined;
  #looking: Promise<void> | undefined;
  #lookedAtMs = -LOOK_MS;
  #crashCount = 0;
  /** performance.now() of the last crash. */
  #lastCrashMs = -Infinity;
  /** The longest silence of another that runs consumers, when it was last looked. */
  #silentMs = 0;

  constructor(options: {
    readonly store: InstanceStore;
    readonly self: InstanceIdentity;
    /** Ids of the sessions whose transactions others must end when this process dies. */
    readonly sessions: () => readonly unknown[];
    readonly logger: Logger;
    /** What may change of `self` while it lives. */
    readonly now?: () => Partial<Pick<InstanceIdentity, 'consumers' | 'serves'>>;
  }) {
    this.#store = options.store;
    this.#self = options.self;
    this.#sessions = options.sessions;
    this.#logger = options.logger;
    this.#now = options.now ?? (() => ({}));
  }

  /** Resolves when this process is registered and knows the others. */
  async start(): Promise<void> {
    ownIds.add(this.#self.id);
    await this.#buryNeighbours();
    await this.#beat();
    const round = async (): Promise<number> => {
      await this.#beat().catch((error: unknown) => {
        this.#logger.debug({ error: String(error) }, 'heartbeat failed');
      });
      return HEARTBEAT_MS;
    };
    this.#beating = repeat(round, { firstMs: HEARTBEAT_MS });
  }

  /** No other living process runs consumers: partitions are called directly and no jobs are needed. */
  get alone(): boolean {
    return !this.#living.some((one) => one._id !== this.#self.id && runsConsumers(one));
  }

  /** Living processes that run consumers, this one included. */
  get consumingCount(): number {
    return this.#living.filter(runsConsumers).length;
  }

  /** The oldest living process that runs consumers: what one of them should do is its. */
  get eldest(): boolean {
    return this.#living.find(runsConsumers)?._id === this.#self.id;
  }

  /** Whose it is to do something for a generation (id in `consumers`): the oldest living process that runs it, if any. */
  runnerOf(generation: string): 'this' | 'other' | undefined {
    const runner = this.#living.find(({ consumers }) => consumers?.includes(generation) === true);
    if (runner === undefined) return undefined;
    return runner._id === this.#self.id ? 'this' : 'other';
  }

  /** Generations of a consumer that living processes run. `prefix`: of their ids in `consumers`. */
  generationsRun(prefix: string): readonly number[] {
    const ids = this.#living.flatMap(({ consumers = [] }) => consumers.filter((id) => id.startsWith(prefix)));
    return [...new Set(ids)].map((id) => Number(id.slice(prefix.length)));
  }

  /** Processes that died without leaving, in the last ten minutes. */
  get crashCount(): number {
    return this.#crashCount;
  }

  /** How long ago the last of them was found dead. */
  get lastCrashAgeMs(): number {
    return performance.now() - this.#lastCrashMs;
  }

  /** A process that runs consumers died lately, or may be dead or stand still: its jobs reach nobody. As of the last look. */
  get uncertain(): boolean {
    return this.lastCrashAgeMs < JOBS_FREE_MS || this.#silentMs > SILENT_MS;
  }

  /** Called after the set of living processes was read. Returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Frees what dead processes left locked. Cheap to call often; never throws. */
  async buryDead(): Promise<void> {
    if (this.#looking !== undefined) return this.#looking;
    if (performance.now() - this.#lookedAtMs < LOOK_MS) return;
    this.#lookedAtMs = performance.now();
    this.#looking = this.#bury().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  /** Leaves at once, so that the others need not wait for silence. */
  async stop(): Promise<void> {
    ownIds.delete(this.#self.id);
    await this.#beating?.stop();
    await this.#store.leave(this.#self.id, this.#sessions()).catch(() => undefined);
  }

  async #beat(): Promise<void> {
    await this.#store.heartbeat({ ...this.#self, ...this.#now() }, this.#sessions());
    const { count, lastAgeMs } = await this.#store.crashes();
    this.#crashCount = count;
    // One that was found here while this was asked for is not in the answer.
    this.#lastCrashMs = Math.max(this.#lastCrashMs, performance.now() - lastAgeMs);
    const before = this.#living.map(({ _id }) => _id).join();
    this.#living = (await this.#store.list()).filter(isLiving).sort(byAge);
    if (this.#living.map(({ _id }) => _id).join() !== before) for (const listener of this.#listeners) listener();
  }

  /**
   * Processes of this machine that are gone need no silence to be known as dead. A process that dies right after each start is
   * found by this alone.
   */
  async #buryNeighbours(): Promise<void> {
    const gone = ({ _id, host, pid }: Instance): boolean =>
      host === this.#self.host && (pid === this.#self.pid ? !ownIds.has(_id) : !isAlive(pid));
    await this.#bury((instance) => instance.ageMs >= DEAD_AFTER_MS || gone(instance));
  }

  async #bury(isDead = ({ ageMs }: Instance): boolean => ageMs >= DEAD_AFTER_MS): Promise<void> {
    try {
      const instances = await this.#store.list();
      const others = instances.filter((one) => one._id !== this.#self.id && runsConsumers(one));
      this.#silentMs = Math.max(0, ...others.map(({ ageMs }) => ageMs));
      for (const instance of instances) {
        if (instance._id === this.#self.id || !isDead(instance)) continue;
        if (!(await this.#store.bury(instance))) continue;
        if (runsConsumers(instance)) this.#lastCrashMs = performance.now();
        const { _id: id, host, pid, ageMs } = instance;
        this.#logger.warn(
          { instance: id, host, processId: pid, silentMs: Math.round(ageMs) },
          'a process died; its sessions were killed',
        );
      }
    } catch (error) {
      this.#logger.warn({ error: String(error) }, 'sessions of a dead process could not be killed');
    }
  }
}

const byAge = (one: Instance, other: Instance): number =>
  one.startedAt.getTime() - other.startedAt.getTime() || (one._id < other._id ? -1 : 1);

/** On this machine. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's: it lives.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
