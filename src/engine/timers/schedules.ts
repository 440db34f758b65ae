import type { Dispatch } from '../../define/aggregate.ts';
import type { Model } from '../../define/model.ts';
import type { Schedule } from '../../define/schedule.ts';
import { isMillraceError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import type { TimerDocument } from '../../store/documents.ts';
import { scheduleTimerId, type TimerStore } from '../../store/timers.ts';
import { newId } from '../concurrency/new-id.ts';
import type { ServerClock } from '../concurrency/server-clock.ts';
import type { CommandInvalid, CommandRequest } from '../contract/runtime.ts';
import { nextTime } from './cron.ts';
import type { DueSource } from './timers.ts';

export interface SchedulesOptions {
  readonly store: Pick<TimerStore, 'logId' | 'schedules' | 'addSchedule' | 'changeSchedule' | 'removeSchedule'>;
  readonly model: Pick<Model, 'schedules'>;
  readonly clock: ServerClock;
  readonly logger: Logger;
  /** Queues a command durably; one that is queued already, by its commandId, changes nothing. */
  readonly queue: (request: CommandRequest) => Promise<CommandInvalid | undefined>;
}

/** Missed times that are not older are each sent; of older ones only the first, and the next is one to come. */
const CATCH_UP_MS = 60_000;
/** A schedule that nobody declares for so long is removed: no deployment takes longer. */
const UNKNOWN_MAX_MS = 3_600_000;
/** A command that cannot be queued is tried again after this; mended code tries it at once. */
const RETRY_MS = 30_000;
const LATE_MS = 1_000;

/**
 * Cron commands. The record of a schedule holds its next time. A due time queues its command under the id
 * `<schedule>@<time>`, then the record moves on: whoever does either twice changes nothing.
 */
export function scheduledCommands(options: SchedulesOptions): DueSource {
  const { store, model, clock } = options;
  const restingUntilMs = new Map<string, number>();
  const declared = ({ name, cron, timeZone }: TimerDocument): Schedule | undefined => {
    const schedule = model.schedules.get(name);
    // Another deployment's times: its process, or the next change of the lease, sees to them.
    return schedule?.cron === cron && schedule?.timeZone === timeZone ? schedule : undefined;
  };
  const due = async (fromMs: number | undefined, toMs: number): Promise<readonly TimerDocument[]> => {
    if (model.schedules.size === 0) return [];
    const from = fromMs === undefined ? undefined : new Date(fromMs);
    const found = await store.schedules({ from, to: new Date(toMs) });
    return found.filter((timer) => declared(timer) !== undefined);
  };

  return {
    kind: 'schedule',
    times: async (fromMs, toMs) => (await due(fromMs, toMs)).map(({ dueAt }) => dueAt.getTime()),
    async fire(fromMs, toMs) {
      await Promise.all(
        (await due(fromMs, toMs)).map(async (timer) => {
          const schedule = declared(timer);
          if (schedule === undefined || performance.now() < (restingUntilMs.get(timer._id) ?? 0)) return;
          if (await sendDue(options, schedule, timer, toMs)) restingUntilMs.delete(timer._id);
          else restingUntilMs.set(timer._id, performance.now() + RETRY_MS);
        }),
      );
    },
    onGain: () => reconcile(options, new Date(clock.now())),
  };
}

/** Sends the command of the due time, and of those that became due meanwhile. False when it cannot be sent. */
async function sendDue(
  { store, clock, logger, queue }: SchedulesOptions,
  schedule: Schedule,
  timer: TimerDocument,
  toMs: number,
): Promise<boolean> {
  const { name } = schedule;
  let { dueAt } = timer;
  let failed = timer.failure !== undefined;
  while (dueAt.getTime() <= toMs) {
    const failure = await sendOne(schedule, dueAt, queue);
    const now = new Date(clock.now());
    if (failure !== undefined) {
      const { since } = timer.failure ?? { since: now };
      await store.changeSchedule(timer._id, dueAt, { set: { failure: { ...failure, since } } });
      logger.error({ schedule: name, dueAt, ...failure }, 'the command of a schedule cannot be queued; it stays due');
      return false;
    }
    const lateMs = Math.max(0, now.getTime() - dueAt.getTime());
    if (lateMs > LATE_MS) logger.warn({ schedule: name, dueAt, lateMs }, 'a schedule sends its command late');
    const next = timeAfter(schedule, dueAt, now);
    const last = { dueAt, queuedAt: now, lateMs };
    const moved = await store.changeSchedule(timer._id, dueAt, {
      set: { dueAt: next, last },
      ...(failed ? { unset: ['failure'] as const } : {}),
    });
    // Somebody else was faster, and sees to the rest.
    if (!moved) return true;
    dueAt = next;
    failed = false;
  }
  return true;
}

function timeAfter(schedule: Schedule, dueAt: Date, now: Date): Date {
  const next = nextTime(schedule, dueAt);
  return next.getTime() < now.getTime() - CATCH_UP_MS ? nextTime(schedule, now) : next;
}

/** Undefined when it is queued. Rejects when MongoDB does not take it. */
async function sendOne(
  schedule: Schedule,
  dueAt: Date,
  queue: SchedulesOptions['queue'],
): Promise<{ readonly code: string; readonly message: string } | undefined> {
  let invalid: CommandInvalid | undefined;
  try {
    const { aggregate, id, type, data }: Dispatch = schedule.command(new Date(dueAt));
    invalid = await queue({
      aggregate,
      id,
      type,
      data,
      commandId: `${schedule.name}@${dueAt.toISOString()}`,
      meta: { correlationId: newId(), causationId: null, actor: `schedule:${schedule.name}` },
    });
  } catch (error) {
    if (isMillraceError(error) && error.retryable) throw error;
    const code = isMillraceError(error) ? error.code : 'HANDLER_FAILED';
    return { code, message: messageOf(error) };
  }
  if (invalid === undefined) return undefined;
  const issues = invalid.issues.map(({ path, message }) => `${path.map(String).join('.') || 'data'}: ${message}`);
  return { code: 'BAD_INPUT', message: clip(`The command's data is refused: ${issues.join('; ')}`) };
}

const clip = (text: string): string => (text.length > 2_000 ? `${text.slice(0, 2_000)}…` : text);
function messageOf(error: unknown): string {
  try {
    return clip(error instanceof Error ? error.message : String(error));
  } catch {
    return 'something that has no text was thrown';
  }
}

/** Makes the records what this process declares; called by one process at a time, and harmless from several. */
async function reconcile({ store, model, logger }: SchedulesOptions, now: Date): Promise<void> {
  const known = new Map((await store.schedules()).map((timer) => [timer.name, timer]));
  for (const schedule of model.schedules.values()) {
    const timer = known.get(schedule.name);
    if (timer === undefined) await store.addSchedule(newTimer(store.logId, schedule, now));
    else await adopt(store, schedule, timer, now);
  }
  for (const timer of known.values()) {
    if (model.schedules.has(timer.name)) continue;
    const { unknownSince } = timer;
    if (unknownSince === undefined) await store.changeSchedule(timer._id, timer.dueAt, { set: { unknownSince: now } });
    else if (now.getTime() - unknownSince.getTime() > UNKNOWN_MAX_MS) {
      logger.info({ schedule: timer.name }, 'a schedule that no module declares any more is removed');
      await store.removeSchedule(timer._id, unknownSince);
    }
  }
}

const newTimer = (logId: string, schedule: Schedule, now: Date): TimerDocument => ({
  _id: scheduleTimerId(logId, schedule.name),
  logId,
  kind: 'schedule',
  name: schedule.name,
  dueAt: nextTime(schedule, now),
  setAt: now,
  correlationId: null,
  cron: schedule.cron,
  timeZone: schedule.timeZone,
});

/** A time that was due under the old expression is still owed; otherwise the new one counts from now. */
async function adopt(
  store: SchedulesOptions['store'],
  schedule: Schedule,
  timer: TimerDocument,
  now: Date,
): Promise<void> {
  const { cron, timeZone } = schedule;
  const changed = timer.cron !== cron || timer.timeZone !== timeZone;
  if (!changed && timer.unknownSince === undefined) return;
  const gone = timer.unknownSince !== undefined && now.getTime() - timer.unknownSince.getTime() > UNKNOWN_MAX_MS;
  const anew = gone || (changed && timer.dueAt > now);
  await store.changeSchedule(timer._id, timer.dueAt, {
    set: { cron, timeZone, ...(anew ? { dueAt: nextTime(schedule, now) } : {}) },
    unset: ['unknownSince'],
  });
}
