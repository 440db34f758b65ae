import { crashPoint } from '../../crash-points.ts';
import type { Logger } from '../../logger.ts';
import { atMost } from '../../queue/at-most.ts';
import type { Bells, Moment } from '../../queue/bells.ts';
import type { LeaseStore } from '../../store/leases.ts';
import { keepLease, type LeaseKeeper } from '../concurrency/lease-keeper.ts';
import { type Repeating, repeat } from '../concurrency/repeat.ts';
import type { ServerClock } from '../concurrency/server-clock.ts';

/** Things of one kind that are due at times; all times in ms since 1970 by MongoDB's clock. */
export interface DueSource {
  /** Part of the names of bells. */
  readonly kind: string;
  /** Times after `fromMs` up to `toMs`, ascending, at most `limit`. */
  times(fromMs: number, toMs: number, limit: number): Promise<readonly number[]>;
  /**
   * Tries everything that is due after `fromMs` (undefined: whenever) up to `toMs` once; what fails stays due. Begins nothing
   * more once the signal aborts.
   */
  fire(fromMs: number | undefined, toMs: number, signal: AbortSignal): Promise<void>;
  /** This process looks after what is due from now on. */
  onGain?(): Promise<void>;
}

export interface TimersOptions {
  readonly sources: readonly DueSource[];
  readonly clock: ServerClock;
  readonly bells: Bells;
  readonly leases: LeaseStore;
  readonly logId: string;
  readonly instanceId: string;
  readonly logger: Logger;
}

export const timersLease = (logId: string): string => `${logId}/timers`;

/** Times within one moment ring together: what is due fires at the end of its moment. */
export const MOMENT_MS = 50;
/** How often the lease holder looks ahead. */
const LOOK_MS = 1_000;
/** How far ahead bells hang: longer than a dead lease holder is missed. */
export const HORIZON_MS = 5_000;
/** Due for so long: the bell was lost, and the lease holder fires it itself. */
const OVERDUE_MS = 500;
/** Times that a look reads. Where there are more, every later moment of the horizon gets its bell unread. */
const LOOK_MAX_COUNT = 1_000;
/** A bell that was hung so long ago is hung again: Redis may have lost it. */
const REHANG_MS = 2_000;
/** Bells that are remembered; a horizon has 100 of each kind. */
const HUNG_MAX_COUNT = 1_000;
/** A ring may trust the clock for so long. */
const CLOCK_MAX_AGE_MS = 5_000;
/** How long a stop waits for what fires just now; somebody else fires it again. */
const END_MAX_MS = 2_000;

/**
 * Fires what is due: timers of sagas, schedules, delayed commands. MongoDB holds them all and decides by its clock. One process,
 * by a lease, looks ahead and hangs bells (BullMQ delayed jobs) for the next seconds; they ring in any process. Without Redis,
 * and for what no bell rang, the lease holder fires itself. Whatever is fired twice has its effect once: that is up to the
 * sources.
 */
export class Timers {
  readonly #options: TimersOptions;
  /** By bell: when it was hung. */
  readonly #hung = new Map<string, number>();
  /** What Redis did not take, by bell. */
  readonly #alarms = new Map<string, NodeJS.Timeout>();
  readonly #ringing = new Set<Promise<void>>();
  /** Sources that fire what is overdue, and up to when they are to go on after that. */
  readonly #overdue = new Map<DueSource, number | undefined>();
  #lease: LeaseKeeper | undefined;
  #looks: Repeating | undefined;
  #fresh = false;
  readonly #stopping = new AbortController();

  constructor(options: TimersOptions) {
    this.#options = options;
  }

  start(): void {
    const { leases, logId, instanceId, logger, bells } = this.#options;
    bells.work((moment) => this.#ring(moment));
    this.#lease = keepLease({
      leases,
      id: timersLease(logId),
      holder: instanceId,
      logger,
      onGain: () => {
        this.#fresh = true;
        this.#looks?.now();
      },
      onLoss: () => this.#hung.clear(),
    });
    const round = async (): Promise<number> => {
      if (this.#lease?.held) {
        await this.#look().catch((error: unknown) =>
          logger.warn({ error: String(error) }, 'looking for what is due failed; the next look follows'),
        );
      }
      return LOOK_MS;
    };
    this.#looks = repeat(round, { firstMs: LOOK_MS });
  }

  /** Something was written that is due then: it need not wait for the next look. Never throws. */
  noticed(kind: string, timesMs: Iterable<number>): void {
    if (this.#stopping.signal.aborted) return;
    const nowMs = this.#options.clock.now();
    const moments = new Set<number>();
    let due = false;
    for (const time of timesMs) {
      if (time <= nowMs) due = true;
      else if (time <= nowMs + HORIZON_MS) moments.add(momentOf(time));
    }
    if (moments.size > 0) void this.#hang(kind, [...moments]);
    const source = this.#options.sources.find((one) => one.kind === kind);
    if (due && source !== undefined) this.#fireOverdue(source, nowMs);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const alarm of this.#alarms.values()) clearTimeout(alarm);
    this.#alarms.clear();
    const ended = Promise.all([this.#looks?.stop(), this.#options.bells.close(END_MAX_MS), ...this.#ringing]);
    await atMost(END_MAX_MS, ended);
    await this.#lease?.stop();
  }

  async #look(): Promise<void> {
    const { sources, clock } = this.#options;
    await clock.sync();
    if (this.#fresh) {
      await Promise.all(sources.map((source) => source.onGain?.()));
      this.#fresh = false;
    }
    const nowMs = clock.now();
    await Promise.all(
      sources.map(async (source) => {
        this.#fireOverdue(source, nowMs - OVERDUE_MS);
        await this.#hang(source.kind, await momentsAhead(source, nowMs));
      }),
    );
  }

  /** Does not hold up the looks: after a long downtime there may be much. */
  #fireOverdue(source: DueSource, toMs: number): void {
    if (this.#overdue.has(source)) {
      this.#overdue.set(source, toMs);
      return;
    }
    this.#overdue.set(source, undefined);
    const rounds = async (): Promise<void> => {
      for (
        let to: number | undefined = toMs;
        to !== undefined && !this.#stopping.signal.aborted;
        to = this.#overdue.get(source)
      ) {
        this.#overdue.set(source, undefined);
        await this.#fire(source, undefined, to);
      }
    };
    this.#keep(rounds().finally(() => this.#overdue.delete(source)));
  }

  async #hang(kind: string, moments: readonly number[]): Promise<void> {
    const { bells, clock } = this.#options;
    const nowMs = clock.now();
    const since = performance.now();
    const missing = moments
      .map((atMs): Moment => ({ kind, atMs }))
      .filter((moment) => {
        const hungMs = this.#hung.get(bellOf(moment));
        return hungMs === undefined || (moment.atMs > nowMs && since - hungMs > REHANG_MS);
      });
    this.#forget(nowMs);
    for (const moment of missing) this.#hung.set(bellOf(moment), since);
    if (await bells.hang(missing, nowMs)) return;
    for (const moment of missing) this.#setAlarm(moment);
  }

  /** Rings in this process, without Redis. */
  #setAlarm(moment: Moment): void {
    const bell = bellOf(moment);
    if (this.#stopping.signal.aborted || this.#alarms.has(bell)) return;
    const alarm = setTimeout(
      () => {
        this.#alarms.delete(bell);
        void this.#ring(moment);
      },
      Math.max(0, moment.atMs - this.#options.clock.now()),
    );
    this.#alarms.set(bell, alarm);
  }

  #ring(moment: Moment): Promise<void> {
    const rung = this.#fireMoment(moment);
    this.#keep(rung);
    return rung;
  }

  async #fireMoment({ kind, atMs }: Moment): Promise<void> {
    const { sources, clock } = this.#options;
    const source = sources.find((one) => one.kind === kind);
    if (source === undefined || this.#stopping.signal.aborted) return;
    try {
      await clock.sync(CLOCK_MAX_AGE_MS);
    } catch {
      return;
    }
    // The clock of the process that hung the bell, or of this one, may be ahead.
    const earlyMs = atMs - clock.now();
    if (earlyMs > HORIZON_MS + LOOK_MS) return;
    if (earlyMs > 0) await new Promise((resolve) => setTimeout(resolve, earlyMs + 1));
    if (!this.#stopping.signal.aborted) await this.#fire(source, atMs - MOMENT_MS, atMs);
  }

  async #fire(source: DueSource, fromMs: number | undefined, toMs: number): Promise<void> {
    crashPoint('before-fire');
    await source.fire(fromMs, toMs, this.#stopping.signal).catch((error: unknown) => {
      const { logger } = this.#options;
      logger.warn({ kind: source.kind, error: String(error) }, 'what is due could not be fired; it is tried again');
    });
    crashPoint('after-fire');
  }

  #keep(work: Promise<void>): void {
    this.#ringing.add(work);
    void work.finally(() => this.#ringing.delete(work));
  }

  /** Moments that are over belong to those that are overdue. */
  #forget(nowMs: number): void {
    if (this.#hung.size < HUNG_MAX_COUNT) return;
    for (const bell of this.#hung.keys()) {
      if (Number(bell.slice(bell.indexOf('-') + 1)) < nowMs - 2 * HORIZON_MS) this.#hung.delete(bell);
    }
  }
}

const momentOf = (timeMs: number): number => Math.ceil(timeMs / MOMENT_MS) * MOMENT_MS;
const bellOf = ({ kind, atMs }: Moment): string => `${kind}-${atMs}`;

/** Moments in which something is due soon. */
async function momentsAhead(source: DueSource, nowMs: number): Promise<readonly number[]> {
  const horizonMs = nowMs + HORIZON_MS;
  const times = await source.times(nowMs - OVERDUE_MS, horizonMs, LOOK_MAX_COUNT);
  const moments = new Set(times.map(momentOf));
  const last = times.at(-1);
  if (last !== undefined && times.length >= LOOK_MAX_COUNT) {
    for (let atMs = momentOf(last); atMs <= horizonMs; atMs += MOMENT_MS) moments.add(atMs);
  }
  return [...moments];
}
