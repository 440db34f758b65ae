import { MillraceError } from '../errors.ts';
import type { CommandModel, Model } from './model.ts';
import { type PlainCopy, plainCopy } from './plain-value.ts';
import type { Saga } from './saga.ts';
import { describeIssues, type Issue, parse, type Schema } from './schema.ts';
import { DOCUMENT_ID_MAX_LENGTH, idProblem } from './stream-key.ts';

/** What a reaction asks for, checked. */
export interface CheckedReaction {
  /** Undefined: unchanged. */
  readonly state: { readonly value: unknown } | undefined;
  readonly send: readonly CheckedDispatch[];
  /** Due time by name; null cancels. */
  readonly timers: ReadonlyMap<string, Date | null>;
  readonly keys: readonly string[];
  readonly end: boolean;
}
export interface CheckedDispatch {
  readonly aggregate: string;
  readonly id: string;
  readonly type: string;
  /** A plain copy of the raw input. */
  readonly data: unknown;
}

/** The commands that an aggregate or service takes, by type; undefined: there is none of this name; `any`: nobody knows. */
export type SagaTargets = (name: string) => ReadonlyMap<string, CommandModel> | 'any' | undefined;

export const targetsOf =
  ({ aggregates, services }: Pick<Model, 'aggregates' | 'services'>): SagaTargets =>
  (name) =>
    (aggregates.get(name) ?? services.get(name))?.commands;

/** Most commands of one reaction. */
const SEND_MAX_COUNT = 1_000;
/** Most timers set or cancelled by one reaction. */
const TIMERS_MAX_COUNT = 100;
/** Last moment that every reader of a date understands. */
const LATEST_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);
const FIELDS: ReadonlySet<string> = new Set(['state', 'send', 'timers', 'keys', 'end']);

/**
 * Checks what a handler of a saga answered. `now`: the time of the input, which `afterMs` counts from. Undefined when it does
 * nothing. Throws SAGA_REACTION_INVALID, or SAGA_COMMAND_INVALID with the issues of the command's schema in its details.
 */
export function checkReaction(
  saga: Saga,
  targets: SagaTargets,
  answer: unknown,
  place: string,
  input: { readonly now: Date; readonly dataMaxBytes: number },
): CheckedReaction | undefined {
  if (answer === undefined) return undefined;
  const refuse = (what: string): MillraceError =>
    new MillraceError('SAGA_REACTION_INVALID', `${place}: the handler ${what} Nothing was written.`);
  if (!isRecord(answer)) {
    const shown =
      answer instanceof Promise ? 'a promise: sagas are pure, what waits belongs into a service' : nameOf(answer);
    throw refuse(`answers with ${shown}. Return { state, send, timers, keys, end } or undefined.`);
  }
  const stray = Object.keys(answer).find((name) => !FIELDS.has(name));
  if (stray !== undefined)
    throw refuse(`answers with an unknown field "${stray}". There are ${[...FIELDS].join(', ')}.`);
  const { state, send = [], timers = {}, keys = [], end = false } = answer;
  if (typeof end !== 'boolean') throw refuse('answers with an `end` that is neither true nor false.');
  if (!Array.isArray(send)) throw refuse('answers with a `send` that is no array. Use [command(…)].');
  if (send.length > SEND_MAX_COUNT) {
    throw refuse(
      `sends ${send.length} commands at once; at most ${SEND_MAX_COUNT} are possible. Send the rest later, by a timer.`,
    );
  }
  if (!isRecord(timers)) throw refuse('answers with `timers` that are no object keyed by name.');
  const checked = {
    state: state === undefined ? undefined : { value: plainState(state, refuse) },
    send: send.map((dispatch: unknown, index) =>
      checkDispatch(targets, dispatch, `${place}: command ${index + 1} of ${send.length}`, input.dataMaxBytes),
    ),
    timers: checkTimers(saga, timers, input.now, refuse),
    keys: checkKeys(saga, keys, refuse),
    end,
  };
  const set = [...checked.timers].find(([, dueAt]) => dueAt !== null);
  if (end && set !== undefined) throw refuse(`ends the instance and sets its timer "${set[0]}". Do one of the two.`);
  return checked;
}

type Refuse = (what: string) => MillraceError;

function plainState(state: unknown, refuse: Refuse): unknown {
  const copy = plainCopy(state, { dates: true });
  if (copy.ok) return copy.value;
  throw refuse(
    `answers with a state that cannot be stored: ${describeIssues(copy.issues)}. Use JSON values and dates.`,
  );
}

function checkTimers(
  saga: Saga,
  timers: Readonly<Record<string, unknown>>,
  now: Date,
  refuse: Refuse,
): ReadonlyMap<string, Date | null> {
  const entries = Object.entries(timers).filter(([, value]) => value !== undefined);
  if (entries.length > TIMERS_MAX_COUNT) {
    throw refuse(`sets ${entries.length} timers at once; at most ${TIMERS_MAX_COUNT} are possible.`);
  }
  return new Map(
    entries.map(([name, value]) => {
      if (!saga.timerNames.includes(name)) {
        const known = saga.timerNames.join(', ') || 'none';
        throw refuse(`names a timer "${name}", which has no handler in \`onTimer\` (${known}). Add it there.`);
      }
      if (value === 'cancel') return [name, null];
      const dueMs = dueMsOf(value, now);
      if (dueMs === undefined) {
        throw refuse(`sets the timer "${name}" to ${nameOf(value)}. Use { afterMs }, { at } or 'cancel'.`);
      }
      if (dueMs <= LATEST_MS) return [name, new Date(dueMs)];
      throw refuse(
        `sets the timer "${name}" to no time up to the year 9999. Use a finite \`afterMs\` or a valid \`at\`.`,
      );
    }),
  );
}

/** NaN when it is no time. A time in the past is one: such a timer fires at once. */
function dueMsOf(value: unknown, now: Date): number | undefined {
  if (!isRecord(value)) return undefined;
  if (typeof value.afterMs === 'number') return new Date(now.getTime() + value.afterMs).getTime();
  return value.at instanceof Date ? value.at.getTime() : undefined;
}

function checkKeys(saga: Saga, keys: unknown, refuse: Refuse): readonly string[] {
  if (!Array.isArray(keys)) throw refuse('answers with `keys` that are no array.');
  if (keys.length > 0 && !saga.manyKeys) throw refuse('adds `keys`, but the saga has no `keys` function. Declare one.');
  return keys.map((key: unknown) => {
    const problem = idProblem(key, DOCUMENT_ID_MAX_LENGTH);
    if (problem !== undefined || typeof key !== 'string') throw refuse(`adds a key that ${problem}.`);
    return key;
  });
}

/** One command as it will be queued. Throws SAGA_COMMAND_INVALID. */
function checkDispatch(targets: SagaTargets, dispatch: unknown, place: string, dataMaxBytes: number): CheckedDispatch {
  const refuse = (what: string, issues: readonly Issue[] = []): MillraceError =>
    new MillraceError('SAGA_COMMAND_INVALID', `${place} ${what} Nothing was written.`, { details: { issues } });
  if (!isRecord(dispatch)) throw refuse(`is ${nameOf(dispatch)}. Make it with command(to, id, { type, data }).`);
  const { aggregate, id, type } = dispatch;
  if (typeof aggregate !== 'string' || typeof type !== 'string') {
    throw refuse('names no aggregate or no type. Make it with command(to, id, { type, data }).');
  }
  const commands = targets(aggregate);
  if (commands === undefined) {
    throw refuse(`goes to "${aggregate}", which is no aggregate or service of any module. Add it to a module's parts.`);
  }
  const command = commands === 'any' ? undefined : commands.get(type);
  if (command === undefined && commands !== 'any') {
    throw refuse(`is "${type}", which "${aggregate}" does not have (${[...commands.keys()].join(', ')}).`);
  }
  const wrongId = idProblem(id);
  if (wrongId !== undefined || typeof id !== 'string') {
    throw refuse(`(${aggregate} ${type}) has an id that ${wrongId}.`, [{ path: ['id'], message: wrongId ?? '' }]);
  }
  const data = checkData(dispatch.data, dataMaxBytes, command?.schema);
  if (!data.ok) {
    throw refuse(`(${aggregate} "${id}", ${type}) does not parse: ${describeIssues(data.issues)}.`, data.issues);
  }
  const secret = command?.unstored.find((field) => isRecord(data.value) && Object.hasOwn(data.value, field));
  if (secret !== undefined) {
    throw refuse(
      `(${aggregate} ${type}) holds the field "${secret}", which must not be stored (\`store: false\`): it cannot wait for a worker.`,
    );
  }
  return { aggregate, id, type, data: data.value };
}

/** A copy of the raw data that the schema takes. */
function checkData(data: unknown, maxBytes: number, schema: Schema | undefined): PlainCopy {
  const copy = plainCopy(data);
  if (!copy.ok) return copy;
  const bytes = jsonBytes(copy.value, maxBytes);
  if (bytes > maxBytes) {
    const message = `must not be larger than ${maxBytes} bytes of JSON, has ${bytes}`;
    return { ok: false, issues: [{ path: [], message }] };
  }
  const parsed = schema === undefined ? copy : parse(schema, copy.value);
  return parsed.ok ? copy : parsed;
}

/** Exact when it may be more than `maxBytes`. */
function jsonBytes(value: unknown, maxBytes: number): number {
  const json = JSON.stringify(value) ?? '';
  // A UTF-16 code unit becomes three bytes at most.
  return json.length * 3 <= maxBytes ? json.length : new TextEncoder().encode(json).length;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Promise);

function nameOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
