import type { AnyRecorded } from '../../define/event.ts';

export type StepKind = 'COMMAND' | 'EVENT' | 'PROJECTOR' | 'SAGA' | 'OBSERVER' | 'SERVICE' | 'TIMER';
export type StepState = 'PENDING' | 'RUNNING' | 'DONE' | 'REJECTED' | 'RETRYING' | 'DEAD' | 'CANCELLED';

/** One hop of what an entry (request, webhook, schedule) set in motion. */
export interface FlowStep {
  /** The same step has the same id whenever it is asked for. */
  readonly id: string;
  /** The step that caused this one; null for an entry, or when its cause lies outside the flow. */
  readonly parentId: string | null;
  readonly kind: StepKind;
  /** Type of the command or event; name of the consumer; saga and name of the timer. */
  readonly name: string;
  /** What it is about: `aggregate/id` of a command or event; keys of a consumer. */
  readonly subject: string;
  readonly status: StepState;
  /** Tries so far that are known of; 0 before the first. */
  readonly attempts: number;
  /** When it began; of a timer or a delayed command that waits: when it is due. Null when nobody wrote it down. */
  readonly startedAt: Date | null;
  /** Null while it is under way, and for what is not timed (the log keeps no time of a projector's work). */
  readonly durationMs: number | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  /** Of an EVENT; null when this process cannot read it, or it is not placed in the log yet. */
  readonly event: AnyRecorded | null;
  /** True on the last step that is told of when there are more than FLOW_MAX_STEPS. */
  readonly truncated: boolean;
}

/** Everything that one correlation id set in motion, as far as it came. */
export interface Flow {
  readonly correlationId: string;
  /** Nothing is under way any more: all is done, refused, cancelled or dead. What waits for a time in the future does not count. */
  readonly settled: boolean;
  /** There are more than FLOW_MAX_STEPS; the oldest are here. */
  readonly truncated: boolean;
  /** Causes before what they caused. */
  readonly steps: readonly FlowStep[];
}

export const FLOW_MAX_STEPS = 2_000;

export interface SettledOptions {
  /** Default 10,000. Throws NOT_SETTLED naming what is under way. */
  readonly timeoutMs?: number | undefined;
  /** Timers and delayed commands that are due within this time count as under way, too; default 0. */
  readonly dueWithinMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How far a consumer is with all events of one command. */
export interface ConsumerProgress {
  readonly name: string;
  readonly kind: 'projector' | 'saga' | 'observer';
  readonly state: StepState;
}

/** How far the consumers of a command's events are. */
export interface CommandProgress {
  /** Every consumer that handles one of its events, in the order of the modules; none before they are in the log. */
  readonly consumers: readonly ConsumerProgress[];
  /** Every one is done, or dead; also when there is none to wait for. */
  readonly settled: boolean;
}

export interface FlowReader {
  /** Undefined when nothing is known of it. Throws BAD_INPUT. */
  flow(correlationId: string): Promise<Flow | undefined>;
  /**
   * Each step as it is, then again whenever it changes; causes before what they caused. Steps that changed twice between two looks
   * are told once. Does not end by itself: it may begin before the flow does. Throws BAD_INPUT by the call.
   */
  watchFlow(correlationId: string, signal: AbortSignal): AsyncIterable<FlowStep>;
  /** The flow once it is settled. Never hangs: throws NOT_SETTLED at the deadline, SHUTTING_DOWN when the process stops. */
  settled(correlationId: string, options?: SettledOptions): Promise<Flow>;
}
