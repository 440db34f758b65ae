import { CronExpressionParser } from 'cron-parser';
import type { Model } from '../../define/model.ts';
import { checkFunction, invalid } from '../../define/refuse.ts';
import type { Schedule } from '../../define/schedule.ts';

/**
 * The next time of a schedule after `after`, by its time zone. A time that a clock change leaves out comes an hour later that
 * day; one that a clock change repeats comes once.
 */
export function nextTime({ cron, timeZone }: Pick<Schedule, 'cron' | 'timeZone'>, after: Date): Date {
  return CronExpressionParser.parse(cron, { currentDate: after, tz: timeZone }).next().toDate();
}

/** Throws DEFINITION_INVALID for a schedule that no time belongs to, or whose expression or time zone nobody can read. */
export function checkSchedules(model: Pick<Model, 'schedules'>): void {
  for (const schedule of model.schedules.values()) checkSchedule(schedule);
}

function checkSchedule(schedule: Schedule): void {
  const { name, cron, timeZone } = schedule;
  const place = `Schedule "${name}"`;
  checkFunction(schedule.command, 'command', place);
  if (typeof cron !== 'string') throw invalid(place, `cron is ${typeof cron}. Use a text like "0 9 * * 1-5".`);
  const fields = cron.trim().split(/\s+/);
  if (fields.length !== 5 && fields.length !== 6) {
    throw invalid(
      place,
      `cron "${cron}" has ${fields.length} ${fields.length === 1 ? 'field' : 'fields'}. Use five (minute hour day month weekday), or six with seconds before them.`,
    );
  }
  // "H" stands for a random number: every process would have its own times.
  if (fields.some((field) => /H/.test(field))) {
    throw invalid(place, `cron "${cron}" holds "H", a random number. Use a fixed one.`);
  }
  if (!isTimeZone(timeZone)) {
    throw invalid(
      place,
      `timeZone "${String(timeZone)}" is not known. Use an IANA name like "Europe/Berlin", or "UTC".`,
    );
  }
  try {
    nextTime(schedule, new Date());
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw invalid(place, `cron "${cron}" has no next time (${cause}). Use five or six fields that some day fits.`);
  }
}

function isTimeZone(name: unknown): boolean {
  if (typeof name !== 'string' || !/^[A-Za-z]/.test(name)) return false;
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
