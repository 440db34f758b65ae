import type { EventMeta } from './event.ts';

/** What a saga was given. */
export type SagaInputKind = 'event' | 'timer' | 'refusal';

/** A timer of an instance that has not fired. */
export interface SagaTimer {
  readonly name: string;
  readonly dueAt: Date;
  /** Time of the input that set it. */
  readonly setAt: Date;
  /** Stands for that input; with the name it names this timer and no earlier one of the name. */
  readonly setBy: string;
  /** What commands that it causes carry on. */
  readonly meta: EventMeta;
}

/** A command as a step of the timeline names it. */
export interface SentRef {
  readonly commandId: string;
  /** Name of the aggregate or service. */
  readonly aggregate: string;
  readonly id: string;
  readonly type: string;
}

/** One input and what came of it. */
export interface SagaStep {
  /** Counts the steps of the instance from 1; the first ones may have been dropped. */
  readonly number: number;
  readonly kind: SagaInputKind;
  /** Event type, timer name or type of the refused command. */
  readonly name: string;
  /** Time of the input: of the event, when the timer was due, when the command was refused. */
  readonly at: Date;
  readonly handledAt: Date;
  /** Of the event; null for other inputs. */
  readonly position: number | null;
  /** Id of the event or of the refused command; for a timer, of what set it. */
  readonly causeId: string;
  /** Of the commands that it sent. */
  readonly tenant: string;
  /** Timers: how much later than due it fired. */
  readonly lateMs: number | null;
  readonly refusal: { readonly code: string; readonly reason: string } | null;
  /** The first SENT_SHOWN commands. */
  readonly sent: readonly SentRef[];
  readonly sentCount: number;
  /** Timers set (with their due time) and cancelled (null); the first TIMERS_SHOWN. */
  readonly timers: readonly { readonly name: string; readonly dueAt: Date | null }[];
  readonly ended: boolean;
}

/** An instance of a saga as it is stored. */
export interface SagaInstance {
  readonly status: 'ACTIVE' | 'ENDED';
  readonly state: unknown;
  readonly startedAt: Date;
  readonly updatedAt: Date;
  readonly endedAt: Date | null;
  /** Ended ones: what happens after this finds no instance, and some time later there is none. Absent: kept for ever. */
  readonly expiresAt?: Date;
  /** Correlation keys that lead here, the id first. */
  readonly keys: readonly string[];
  readonly timers: readonly SagaTimer[];
  readonly stepCount: number;
  /** The last TIMELINE_CAP steps, oldest first. */
  readonly timeline: readonly SagaStep[];
  /** Of the input that started it. */
  readonly correlationId: string;
}

export const TIMELINE_CAP = 200;
/** Most correlation keys of an instance. */
export const KEYS_MAX_COUNT = 1_000;
export const SENT_SHOWN = 20;
export const TIMERS_SHOWN = 20;
