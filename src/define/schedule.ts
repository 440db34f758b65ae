import type { Dispatch } from './aggregate.ts';

/** A command that is sent at times of a cron expression. */
export interface Schedule {
  readonly kind: 'schedule';
  readonly name: string;
  readonly description: string | undefined;
  readonly cron: string;
  /** IANA name; default UTC. */
  readonly timeZone: string;
  readonly command: (dueAt: Date) => Dispatch;
}
export interface ScheduleSpec {
  readonly name: string;
  readonly description?: string;
  /** Five fields (minute hour day month weekday), or six with seconds before them: "0 9 * * 1-5". */
  readonly cron: string;
  /**
   * IANA name, like "Europe/Berlin"; default UTC. A time that a clock change leaves out comes an hour later that day; one that a
   * clock change repeats comes once.
   */
  readonly timeZone?: string;
  /** The command for one due time; see `command()`. Pure: it may be asked twice, and must answer the same. */
  readonly command: (dueAt: Date) => Dispatch;
}

/**
 * Declares a schedule. Each due time queues its command once, with the commandId `<name>@<due time in ISO 8601>` and a flow of
 * its own, whose actor is `schedule:<name>`. Of the times that everything was down for more than a minute, the first is sent,
 * late, and those that were missed after it are not. A changed `cron` or `timeZone` counts from the deployment on; a time that
 * was due before it is still sent. A command that cannot be queued (the function throws, or the schema refuses the data) keeps
 * its time due until mended code is deployed: see `schedules` in GraphQL.
 *
 * Checked at start: DEFINITION_INVALID for an expression or time zone that cannot be read, or that no day fits.
 */
export function schedule(spec: ScheduleSpec): Schedule {
  return {
    kind: 'schedule',
    name: spec.name,
    description: spec.description,
    cron: spec.cron,
    timeZone: spec.timeZone ?? 'UTC',
    command: spec.command,
  };
}
