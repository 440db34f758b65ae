import type { Dispatch } from './aggregate.ts';

/** A command that is sent at times of a cron expression. */
export interface Schedule {
  readonly kind: 'schedule';
  readonly name: string;
  readonly description: string | undefined;
  /** Five or six fields (seconds first). */
  readonly cron: string;
  /** IANA name; default UTC. */
  readonly timeZone: string;
  readonly command: (dueAt: Date) => Dispatch;
}
export interface ScheduleSpec {
  readonly name: string;
  readonly description?: string;
  readonly cron: string;
  readonly timeZone?: string;
  /** The command for one due time; see `command()`. */
  readonly command: (dueAt: Date) => Dispatch;
}
/** Declares a schedule. Each due time sends its command once; times missed while everything was down send one, late. */
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
