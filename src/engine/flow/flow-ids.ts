import type { FlowStep } from '../contract/flow.ts';

/** Ids of steps: the same whoever looks, and whenever. */
export const handlingId = (eventId: string, consumer: string): string => `${eventId}/${consumer}`;
export const commandStepId = (stream: string, commandId: string): string => `${stream}#${commandId}`;

/** What the timelines of saga instances add. */
export interface SagaFacts {
  /** Timers, and refusals that sagas were told of. */
  readonly steps: readonly FlowStep[];
  /** The step that sent a command, by command id. */
  readonly senders: ReadonlyMap<string, string>;
  /** When an event was handled, by the id of the step. */
  readonly handledAt: ReadonlyMap<string, Date>;
}
