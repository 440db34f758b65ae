import { MillraceError } from '../errors.ts';
import type { DecideContext, Rejection } from './aggregate.ts';
import type { AggregateModel, PlainEvent } from './model.ts';
import { describeIssues, parse } from './schema.ts';

/** An instance as folded from its stream. */
export interface LoadedState {
  readonly state: unknown;
  /** Version of the last event in `state`; 0 when the instance does not exist. */
  readonly version: number;
  /** True after an event of `closes`. */
  readonly closed: boolean;
}

/** An event as decided: checked by today's schema, ready to append. */
export interface DecidedEvent extends PlainEvent {
  readonly schemaVersion: number;
}

export type Decision =
  | { readonly kind: 'events'; readonly events: readonly DecidedEvent[] }
  | { readonly kind: 'rejected'; readonly code: string; readonly reason: string };

/** What the platform itself refuses, before any `decide` is asked. */
export const platformRejections = {
  ALREADY_EXISTS: 'it exists already',
  NOT_FOUND: 'it does not exist',
  CLOSED: 'it is closed for ever',
} as const;
export type PlatformRejection = keyof typeof platformRejections;

const reject = (code: string, reason: string): Rejection => ({ rejected: code, reason });

/**
 * Decides one command against one state: the platform's rules (`creates`, `closes`), then the author's `decide`, then
 * the schemas of the events. Pure: same arguments, same answer. `command.data` is what the command's schema put out.
 *
 * Throws UNKNOWN_COMMAND; DECISION_INVALID when `decide` answers with anything but events or a declared rejection;
 * EVENT_INVALID when an event is not declared, does not parse, or follows a closing one. What `decide` throws passes.
 */
export function decideCommand(
  model: AggregateModel,
  loaded: LoadedState,
  command: PlainEvent,
  ctx: Omit<DecideContext<string>, 'reject'>,
): Decision {
  const commandModel = model.commands.get(command.type);
  if (commandModel === undefined) {
    throw new MillraceError('UNKNOWN_COMMAND', `Aggregate "${model.name}" has no command "${command.type}".`);
  }
  if (loaded.closed) return refusal(model, 'CLOSED', ctx.id);
  if (model.guarded) {
    if (commandModel.creates && loaded.version > 0) return refusal(model, 'ALREADY_EXISTS', ctx.id);
    if (!commandModel.creates && loaded.version === 0) return refusal(model, 'NOT_FOUND', ctx.id);
  }
  const { id, version, commandId, now, newId } = ctx;
  const answer: unknown = model.handle(loaded.state, command, { id, version, commandId, now, newId, reject });

  if (Array.isArray(answer)) {
    const events = new Array<DecidedEvent>(answer.length);
    for (let i = 0; i < answer.length; i++) {
      events[i] = decided(model, command.type, answer[i], i === answer.length - 1);
    }
    return { kind: 'events', events };
  }
  if (isRejection(answer)) {
    if (model.rejections.has(answer.rejected)) {
      return { kind: 'rejected', code: answer.rejected, reason: String(answer.reason) };
    }
    const declared = [...model.rejections].join(', ') || 'none';
    throw badDecision(
      model,
      command.type,
      `rejects with "${String(answer.rejected)}", which is not in \`rejections\` (${declared}). Add it there.`,
    );
  }
  return { kind: 'events', events: [decided(model, command.type, answer, true)] };
}

/** The state after `events`, which are of today's version. Throws UNKNOWN_EVENT. */
export function foldEvents(model: AggregateModel, loaded: LoadedState, events: readonly PlainEvent[]): LoadedState {
  if (events.length === 0) return loaded;
  let { state, closed } = loaded;
  for (const event of events) {
    const eventModel = model.events.get(event.type);
    if (eventModel === undefined) {
      throw new MillraceError(
        'UNKNOWN_EVENT',
        `Aggregate "${model.name}" has no event "${event.type}". Deploy the code that declares it; never remove an event that was stored.`,
      );
    }
    state = model.apply(state, event);
    closed ||= eventModel.closes;
  }
  return { state, version: loaded.version + events.length, closed };
}

function refusal(model: AggregateModel, code: PlatformRejection, id: string): Decision {
  return { kind: 'rejected', code, reason: `${model.name} "${id}": ${platformRejections[code]}` };
}

function isRejection(answer: unknown): answer is Rejection {
  return typeof answer === 'object' && answer !== null && 'rejected' in answer;
}

function decided(model: AggregateModel, command: string, event: unknown, last: boolean): DecidedEvent {
  if (!isPlainEvent(event)) {
    throw badDecision(
      model,
      command,
      `answers with ${nameOf(event)}. Return an event { type, data }, an array of events ([] for none) or reject(code, reason).`,
    );
  }
  const eventModel = model.events.get(event.type);
  if (eventModel === undefined) {
    throw badEvent(model, command, event.type, 'is not declared in `events`. Declare it there.');
  }
  if (eventModel.closes && !last) {
    throw badEvent(model, command, event.type, 'closes the stream, so it must be the last event. Put it last.');
  }
  const parsed = parse(eventModel.schema, event.data);
  if (parsed.ok) return { type: event.type, schemaVersion: eventModel.version, data: parsed.value };
  throw badEvent(model, command, event.type, `does not parse: ${describeIssues(parsed.issues)}.`);
}

function isPlainEvent(event: unknown): event is PlainEvent {
  return typeof event === 'object' && event !== null && 'type' in event && typeof event.type === 'string';
}

function nameOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (value instanceof Promise) return 'a promise';
  if (isRejection(value)) return 'a rejection inside an array';
  return typeof value === 'object' ? 'an object without `type`' : `a ${typeof value}`;
}

function badDecision(model: AggregateModel, command: string, what: string): MillraceError {
  return new MillraceError('DECISION_INVALID', `Aggregate "${model.name}", command "${command}": \`decide\` ${what}`);
}

function badEvent(model: AggregateModel, command: string, event: string, what: string): MillraceError {
  return new MillraceError(
    'EVENT_INVALID',
    `Aggregate "${model.name}", command "${command}": event "${event}" ${what} Nothing was written.`,
  );
}
