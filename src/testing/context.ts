import type { EventModel } from '../define/model.ts';
import { DEFAULT_TENANT, idProblem } from '../define/stream-key.ts';
import { MillraceError } from '../errors.ts';

/** What a spec runs with; the same every time it runs. */
export interface SpecOptions {
  /** Id of the instance, and of the stream of events that name none. Default `'1'`. */
  readonly id?: string;
  /** The time of decisions and events. Default 2000-01-01T00:00:00Z. */
  readonly now?: Date;
  /** Default `'command-1'`. */
  readonly commandId?: string;
  /** Makes the ids that `ctx.newId()` hands out, from 1, 2, 3, … Default: UUIDs that end in that number. */
  readonly newId?: (count: number) => string;
}

export interface SpecContext {
  readonly id: string;
  readonly now: Date;
  readonly commandId: string;
  readonly newId: (count: number) => string;
}

export const SPEC_NOW = '2000-01-01T00:00:00.000Z';
export const SPEC_TENANT = DEFAULT_TENANT;

/** Throws BAD_INPUT for an id that no stream can have. */
export function specContext(options: SpecOptions): SpecContext {
  const id = options.id ?? '1';
  checkId(id);
  return {
    id,
    now: options.now ?? new Date(SPEC_NOW),
    commandId: options.commandId ?? 'command-1',
    newId: options.newId ?? numberedUuid,
  };
}

/** Throws UNKNOWN_EVENT naming the events that there are. */
export function knownEvent(events: ReadonlyMap<string, EventModel>, type: string, place: string): EventModel {
  const found = events.get(type);
  if (found !== undefined) return found;
  throw new MillraceError(
    'UNKNOWN_EVENT',
    `spec: ${place} knows no event "${type}", only ${[...events.keys()].join(', ')}.`,
  );
}

export function checkId(id: string): void {
  const problem = idProblem(id);
  if (problem !== undefined) throw new MillraceError('BAD_INPUT', `spec: the id ${problem}. Give it another.`);
}

/** A valid UUIDv7 that is the same in every run. */
export const numberedUuid = (count: number): string =>
  `00000000-0000-7000-8000-${count.toString(16).padStart(12, '0')}`;
