import { createHash } from 'node:crypto';
import type { Model } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import { atMost } from '../../queue/at-most.ts';
import type { Epoch } from '../../queue/epoch.ts';
import type { WakeUps } from '../../queue/wake-ups.ts';
import type { DeliveryStore } from '../../store/delivery-store.ts';
import type { PartitionReading } from '../../store/partitions.ts';
import { keepLease, type LeaseKeeper } from '../concurrency/lease-keeper.ts';
import { type Repeating, repeat } from '../concurrency/repeat.ts';
import type { Delivery } from '../delivery/delivery.ts';
import { standStillMs } from '../partitions/partition-failure.ts';
import type { Membership } from '../processes/membership.ts';

export interface SweepOptions {
  readonly store: DeliveryStore;
  readonly model: Model;
  readonly instanceId: string;
  readonly membership: Pick<Membership, 'buryDead' | 'uncertain'>;
  readonly intervalMs: number;
  readonly logger: Logger;
  /** Of this process, where it has them. */
  readonly delivery?: Pick<Delivery, 'wake'>;
  readonly wakeUps?: Pick<WakeUps, 'wake'>;
  /** Moves those of these partitions that have no work; returns them. */
  readonly moveUntouched?: (
    lagging: readonly PartitionReading[],
    end: number,
  ) => Promise<ReadonlySet<PartitionReading>>;
  /** Says when Redis lost its jobs. */
  readonly epoch?: Epoch;
  /** What else stands still when jobs are lost; done one after the other, beside the partitions, and one that throws stops no other. */
  readonly tasks?: readonly SweepTask[];
}

export interface SweepTask {
  /** For logs. */
  readonly name: string;
  /** `redisLost`: whatever jobs there were may be gone. Short: the next round begins after it. */
  run(round: { readonly redisLost: boolean }): Promise<void>;
}

/** A partition that has work and was not written for so long gets a push. */
const STANDS_STILL_MS = 2_000;
/** A push by a job, which comes to whoever has the partition, did not help by then. */
const STILL_STILL_MS = 4_000;
/** How long a stop waits for the round in hand: it only pushes, and the next process sweeps again. */
const END_MAX_MS = 500;

/**
 * Heals what lost jobs, lost hints and dead processes leave behind. It lives in the workers and looks at progress in MongoDB,
 * never at jobs: Redis may be empty or away. One process of those with the same consumers and versions does it, by a lease; those
 * with other code, in a rolling deploy, have a lease of their own. Two doing it do no harm.
 */
export class Sweep {
  readonly #options: SweepOptions;
  #lease: LeaseKeeper | undefined;
  #rounds: readonly Repeating[] = [];
  /** When partitions had no work (performance.now()), by id: after a rest they have not stood still. */
  readonly #restedAtMs = new Map<string, number>();

  constructor(options: SweepOptions) {
    this.#options = options;
  }

  start(): void {
    const { store, model, instanceId, logger, intervalMs } = this.#options;
    this.#lease = keepLease({
      leases: store.leases,
      id: sweepLease(store.logId, model),
      holder: instanceId,
      logger,
      onGain: () => {
        for (const one of this.#rounds) one.now();
      },
      onLoss: () => undefined,
    });
    const round = (work: () => Promise<void>) => async (): Promise<number> => {
      if (this.#lease?.held) {
        await work().catch((error: unknown) =>
          logger.warn({ error: String(error) }, 'sweep failed; the next one follows'),
        );
      }
      return intervalMs;
    };
    // Beside each other: tasks may take their time, and partitions stand still.
    this.#rounds = [() => this.#pushPartitions(), () => this.#runTasks()].map((work) =>
      repeat(round(work), { firstMs: intervalMs }),
    );
  }

  /** This process sweeps; one of each code does. */
  get leads(): boolean {
    return this.#lease?.held === true;
  }

  async stop(): Promise<void> {
    await atMost(END_MAX_MS, Promise.all(this.#rounds.map((one) => one.stop())));
    await this.#lease?.stop();
  }

  async #runTasks(): Promise<void> {
    const { epoch, tasks = [], logger } = this.#options;
    const redisLost = (await epoch?.look()) === 'lost';
    let healed = true;
    for (const { name, run } of tasks) {
      await run({ redisLost }).catch((error: unknown) => {
        healed = false;
        logger.warn({ task: name, error: String(error) }, 'part of a sweep failed; the next one follows');
      });
    }
    if (redisLost && healed) await epoch?.healed();
  }

  async #pushPartitions(): Promise<void> {
    const { store, model, delivery, wakeUps, membership, moveUntouched, logger } = this.#options;
    await membership.buryDead();
    const end = await store.log.end();
    const generations = model.consumers.map(({ name, generation }) => ({ consumer: name, generation }));
    const readings = await store.partitions.read(generations);
    const lagging = readings.filter(({ checkpoint }) => checkpoint < end);
    const moved = await moveUntouched?.(lagging, end).catch((error: unknown) => {
      logger.debug({ error: String(error) }, 'partitions without work could not be moved; the next sweep tries again');
      return undefined;
    });
    const withWork = new Set(moved === undefined ? lagging : lagging.filter((one) => !moved.has(one)));
    const pushes = readings.flatMap((reading) => this.#pushOf(reading, withWork.has(reading)) ?? []);
    for (const { name, version } of model.consumers) {
      const own = pushes.filter(({ consumer }) => consumer === name);
      for (const byJob of [true, false]) {
        const partitions = own.filter((push) => push.byJob === byJob).map(({ partition }) => partition);
        if (partitions.length === 0) continue;
        delivery?.wake(name, partitions, { byJob });
        if (delivery === undefined) wakeUps?.wake({ consumer: name, version }, partitions);
      }
    }
  }

  #pushOf({ consumer, generation, partition, failure, paused, idleMs }: PartitionReading, hasWork: boolean) {
    const id = `${consumer}/${generation}/${partition}`;
    const nowMs = performance.now();
    if (!hasWork) {
      this.#restedAtMs.set(id, nowMs);
      return undefined;
    }
    if (paused) return undefined;
    const { uncertain } = this.#options.membership;
    const stillMs = Math.min(idleMs, nowMs - (this.#restedAtMs.get(id) ?? Number.NEGATIVE_INFINITY));
    if (stillMs < (failure === undefined ? STANDS_STILL_MS : standStillMs(failure.attempts))) return undefined;
    return { consumer, partition, byJob: failure === undefined && !uncertain && stillMs < STILL_STILL_MS };
  }
}

/** Who has other generations knows others that stand still. */
function sweepLease(logId: string, { consumers }: Model): string {
  const generations = consumers.map(({ name, generation }) => `${name}/${generation}`).sort();
  return `${logId}/sweep/${createHash('sha256').update(generations.join('\n')).digest('hex').slice(0, 16)}`;
}
