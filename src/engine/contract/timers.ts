import type { Page, PageInput } from './runtime.ts';

/** What is due at a time and has not fired. */
export interface PendingTimer {
  readonly id: string;
  readonly kind: 'SAGA' | 'SCHEDULE' | 'COMMAND';
  /** Of the timer or the schedule; type of the command. */
  readonly name: string;
  /** The saga; aggregate or service of a command; null for schedules. */
  readonly consumer: string | null;
  /** The saga's instance; id that a command is sent to; null for schedules. */
  readonly key: string | null;
  readonly dueAt: Date;
  readonly setAt: Date;
  /** For how long it has been due, by MongoDB's clock; 0 before its time. */
  readonly lateMs: number;
  readonly correlationId: string | null;
}
/** All that is given must hold. */
export interface TimerFilter {
  readonly kind?: PendingTimer['kind'] | null | undefined;
  /** Saga; aggregate or service. */
  readonly consumer?: string | null | undefined;
  readonly dueBefore?: Date | null | undefined;
}

/** A schedule that the modules declare. */
export interface ScheduleState {
  readonly name: string;
  readonly description: string | null;
  readonly cron: string;
  readonly timeZone: string;
  /** Null until a worker has seen it. */
  readonly nextAt: Date | null;
  /** For how long `nextAt` has been due; 0 before its time. */
  readonly lateMs: number;
  /** The last time whose command was queued. */
  readonly last: {
    readonly dueAt: Date;
    readonly queuedAt: Date;
    /** How late it was queued. */
    readonly lateMs: number;
    /** Of its command. */
    readonly commandId: string;
  } | null;
  /** Why the command of `nextAt` cannot be queued. */
  readonly failure: { readonly code: string; readonly message: string; readonly since: Date } | null;
}

export interface TimerReads {
  /** The one that is due first comes first. */
  timers(filter: TimerFilter, page: PageInput): Promise<Page<PendingTimer>>;
  /** Schedules of the modules, in their order. */
  schedules(): Promise<readonly ScheduleState[]>;
}
