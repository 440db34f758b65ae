import type { Logger } from '../../logger.ts';
import type { TimerDocument } from '../../store/documents.ts';
import type { GenerationRef } from '../../store/partitions.ts';
import type { TimerStore } from '../../store/timers.ts';
import { backoffMs } from '../concurrency/backoff.ts';
import type { ServerClock } from '../concurrency/server-clock.ts';
import type { DueSource } from '../timers/timers.ts';

/** A timer of a saga that is due, as its partition gets it. */
export interface DueTimer {
  readonly id: string;
  readonly partition: number;
  readonly key: string;
  readonly name: string;
  readonly dueAt: Date;
  /** How much later than `dueAt` it fires. */
  readonly lateMs: number;
  readonly timer: TimerDocument;
}

export interface SagaTimersOptions {
  readonly store: Pick<TimerStore, 'dueTimes' | 'due'>;
  readonly sagas: readonly GenerationRef[];
  readonly clock: ServerClock;
  readonly logger: Logger;
  /**
   * Hands a timer to its partition, whose transaction handles and removes it; a timer that is not there any more, or is set to
   * another time, changes nothing. True when it is done with. False: the saga takes none for now, it is paused. After a
   * rejection this timer is tried again later.
   */
  readonly onDue: (saga: GenerationRef, due: DueTimer) => Promise<boolean>;
}

const BATCH_COUNT = 500;
/** Later than that is worth a line in the log. */
const LATE_MS = 1_000;
/** Timers that could not be fired rest in between, each for longer: so many are remembered. */
const RESTING_MAX_COUNT = 100_000;
const REST = { firstMs: 1_000, maxMs: 30_000 };
/** How soon a saga that took none is asked again. */
const ASK_AGAIN_MS = 1_000;

/** Timers of sagas: input of their partitions, like events. */
export function sagaTimers(options: SagaTimersOptions): DueSource {
  const { store, sagas, clock, logger } = options;
  const inHand = new Set<string>();
  const resting = new Map<string, { readonly count: number; readonly untilMs: number }>();
  /** Until when sagas that take none are left alone, and their timers unread. */
  const paused = new Map<string, number>();
  const running = (): readonly GenerationRef[] => {
    const nowMs = performance.now();
    return sagas.filter(({ consumer }) => (paused.get(consumer) ?? 0) <= nowMs);
  };

  const fireOne = async (timer: TimerDocument): Promise<boolean> => {
    const { consumer, generation, partition, key, name, dueAt } = timer;
    if (consumer === undefined || generation === undefined || partition === undefined || key === undefined)
      return false;
    const lateMs = Math.max(0, clock.now() - dueAt.getTime());
    return options.onDue({ consumer, generation }, { id: timer._id, partition, key, name, dueAt, lateMs, timer });
  };
  const tryOne = async (timer: TimerDocument): Promise<void> => {
    const place = placeOf(timer);
    if (inHand.has(place) || performance.now() < (resting.get(place)?.untilMs ?? 0)) return;
    inHand.add(place);
    try {
      if (await fireOne(timer)) resting.delete(place);
      else if (timer.consumer !== undefined) paused.set(timer.consumer, performance.now() + ASK_AGAIN_MS);
    } catch (error) {
      rest(place);
      const { consumer, key, name } = timer;
      logger.warn({ consumer, key, timer: name, error: String(error) }, 'a timer could not be fired; it stays due');
    } finally {
      inHand.delete(place);
    }
  };
  const rest = (place: string): void => {
    const count = (resting.get(place)?.count ?? 0) + 1;
    resting.delete(place);
    if (resting.size >= RESTING_MAX_COUNT) resting.delete(resting.keys().next().value ?? '');
    resting.set(place, { count, untilMs: performance.now() + backoffMs(count, REST) });
  };

  return {
    kind: 'saga',
    times: (fromMs, toMs, limit) => store.dueTimes(running(), { from: new Date(fromMs), to: new Date(toMs) }, limit),
    async fire(fromMs, toMs, signal) {
      const range = { from: fromMs === undefined ? undefined : new Date(fromMs), to: new Date(toMs) };
      const asked = running();
      for await (const batch of store.due(asked, range, BATCH_COUNT)) {
        const fresh = batch.filter((timer) => !resting.has(placeOf(timer)));
        await Promise.all(batch.map(tryOne));
        const open = running();
        tellLate(fresh.filter(({ consumer }) => open.some((one) => one.consumer === consumer)));
        // The next round reads only those that take some.
        if (open.length < asked.length || signal.aborted) break;
      }
    },
  };

  function tellLate(batch: readonly TimerDocument[]): void {
    const nowMs = clock.now();
    const late = batch.filter(({ dueAt }) => nowMs - dueAt.getTime() > LATE_MS);
    const [first] = late;
    if (first === undefined) return;
    const { consumer, key, name, dueAt } = first;
    const fields = { count: late.length, consumer, key, timer: name, dueAt, lateMs: nowMs - dueAt.getTime() };
    logger.warn(fields, 'timers fire late');
  }
}

const placeOf = ({ _id, dueAt }: TimerDocument): string => `${_id}@${dueAt.getTime()}`;
