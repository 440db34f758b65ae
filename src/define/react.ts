import { MillraceError } from '../errors.ts';
import type { SagaModel } from './consumer-model.ts';
import type { AnyRecorded, EventMeta } from './event.ts';
import { plainCopy } from './plain-value.ts';
import type { SagaContext, SentRejected } from './saga.ts';
import {
  KEYS_MAX_COUNT,
  type SagaInputKind,
  type SagaInstance,
  type SagaStep,
  type SagaTimer,
  SENT_SHOWN,
  TIMELINE_CAP,
  TIMERS_SHOWN,
} from './saga-instance.ts';
import { type CheckedReaction, checkReaction, type SagaTargets } from './saga-reaction.ts';
import { describeIssues } from './schema.ts';

/** What an instance is given. */
export type SagaInput =
  | { readonly kind: 'event'; readonly event: AnyRecorded }
  /**
   * A timer that is due; ignored unless the instance has it, with exactly this time. `lateMs`: by MongoDB's clock; without it
   * that of this process counts.
   */
  | { readonly kind: 'timer'; readonly name: string; readonly dueAt: Date; readonly lateMs?: number | undefined }
  /** `meta`: of the refused command. */
  | { readonly kind: 'refusal'; readonly rejection: SentRejected; readonly at: Date; readonly meta: EventMeta };

/** A command to be sent. */
export interface SagaCommand {
  readonly commandId: string;
  readonly aggregate: string;
  readonly id: string;
  readonly type: string;
  readonly data: unknown;
  readonly meta: EventMeta;
}

/** What an input does: all of it is written together, or nothing. */
export interface SagaEffect {
  readonly instance: SagaInstance;
  readonly commands: readonly SagaCommand[];
  /** Timers set; one of the same name is replaced. */
  readonly timers: readonly SagaTimer[];
  /** Names of timers that are no more: fired, cancelled, ended. */
  readonly timersGone: readonly string[];
  /** Correlation keys that now lead here and did not before. */
  readonly newKeys: readonly string[];
  /** The instance ends with this. */
  readonly ends: boolean;
}

export interface ReactOptions {
  readonly saga: SagaModel;
  readonly targets: SagaTargets;
  /** Id of the instance. */
  readonly id: string;
  /** Correlation keys of the input, of a saga with `keys`; those that lead here are among them. */
  readonly keys?: readonly string[];
  /** Undefined while there is none. */
  readonly instance: SagaInstance | undefined;
  readonly input: SagaInput;
  readonly handledAt: Date;
  /** Commands in a chain; a longer one is refused with CHAIN_TOO_LONG. */
  readonly maxDepth: number;
  /** Of one command. */
  readonly dataMaxBytes: number;
  /** The nth (from 0) id of a purpose that an input of this instance makes: the same whenever it is handled again. */
  readonly newId: (purpose: 'command' | 'timer' | 'id', inputId: string, index: number) => string;
}

/** A timer that waits so long begins a chain of its own: what repeats in such steps is no endless loop. */
const CHAIN_BREAK_MS = 1_000;

/**
 * One step of an instance. Pure: the same instance and input give the same effect, ids included. Undefined when the input changes
 * nothing: there is no instance and none begins, it has ended, the handler has no answer, the timer is not (any more) set.
 *
 * Throws SAGA_REACTION_INVALID, SAGA_COMMAND_INVALID (issues of the command's schema in the details) and CHAIN_TOO_LONG: trying
 * again does not help there. What the handler throws passes.
 */
export function reactSaga(options: ReactOptions): SagaEffect | undefined {
  const { saga, input } = options;
  const instance = isForgotten(options) ? undefined : options.instance;
  if (instance === undefined && !mayStart(saga, input)) return undefined;
  if (instance?.status === 'ENDED') return input.kind === 'refusal' ? told(options, instance, input) : undefined;
  const timer = input.kind === 'timer' ? instance?.timers.find((one) => isSame(one, input)) : undefined;
  if (input.kind === 'timer' && timer === undefined) return undefined;
  const facts = factsOf(input, timer, options.handledAt);
  const place = `Saga "${saga.name}", instance "${options.id}", ${describe(input)}`;
  const before = instance ?? blank(facts, options);
  const state = frozenState(before.state, place);
  const answer = handle(options, state, facts);
  const { dataMaxBytes } = options;
  const reaction = checkReaction(saga.saga, options.targets, answer, place, { now: facts.at, dataMaxBytes });
  // A timer that fired and a refusal that was told are no more, whatever the handler says.
  if (reaction === undefined && input.kind === 'event') return undefined;
  if (reaction !== undefined && reaction.send.length > 0 && facts.depth >= options.maxDepth) {
    throw new MillraceError(
      'CHAIN_TOO_LONG',
      `${place}: ${facts.depth} commands have led to one another, more are not sent (COMMAND_MAX_DEPTH). Commands that cause one another without end need a stop, or a timer of a second or more between them.`,
    );
  }
  const effect = effectOf(options, { ...before, state }, facts, reaction ?? NOTHING);
  const keyCount = effect.instance.keys.length;
  if (keyCount <= KEYS_MAX_COUNT || keyCount === before.keys.length) return effect;
  throw new MillraceError(
    'SAGA_REACTION_INVALID',
    `${place}: ${keyCount} correlation keys would lead to the instance, at most ${KEYS_MAX_COUNT} are possible. End it and begin another, or let \`keys\` answer with fewer. Nothing was written.`,
  );
}

/** It ended so long before this happened that it is as if it had never been, whether it is still there or not. */
const isForgotten = ({ instance, input }: ReactOptions): boolean =>
  input.kind === 'event' && instance?.expiresAt !== undefined && input.event.at > instance.expiresAt;

const NOTHING: CheckedReaction = { state: undefined, send: [], timers: new Map(), keys: [], end: false };

/**
 * Which instances an input with these correlation keys belongs to, and which keys then lead there too. `leadsTo`: the instance
 * that a key leads to. Keys that lead nowhere yet lead to the one that the others lead to; a new instance is named by the first.
 */
export function instancesOf(
  keys: readonly string[],
  leadsTo: (key: string) => string | undefined,
): readonly { readonly id: string; readonly keys: readonly string[] }[] {
  const found = new Set<string>();
  for (const key of keys) {
    const id = leadsTo(key);
    if (id !== undefined) found.add(id);
  }
  const [first = keys[0]] = found;
  if (first === undefined) return [];
  // Of several instances nobody can say whose the other keys are.
  return found.size > 1 ? Array.from(found, (id) => ({ id, keys: [] })) : [{ id: first, keys }];
}

function mayStart({ saga }: SagaModel, input: SagaInput): boolean {
  return input.kind === 'event' && (saga.starts === undefined || saga.starts.includes(input.event.type));
}

const isSame = (timer: SagaTimer, { name, dueAt }: { readonly name: string; readonly dueAt: Date }): boolean =>
  timer.name === name && timer.dueAt.getTime() === dueAt.getTime();

/** What is known of an input, whatever its kind. */
interface Facts {
  readonly kind: SagaInputKind;
  readonly name: string;
  readonly at: Date;
  /** Unique among the inputs of an instance. */
  readonly inputId: string;
  readonly causeId: string;
  readonly position: number | null;
  readonly lateMs: number | null;
  readonly refusal: { readonly code: string; readonly reason: string } | null;
  readonly meta: EventMeta;
  readonly depth: number;
}

const REASON_MAX_LENGTH = 1_000;

function factsOf(input: SagaInput, timer: SagaTimer | undefined, handledAt: Date): Facts {
  const common = { kind: input.kind, position: null, lateMs: null, refusal: null };
  if (input.kind === 'event') {
    const { id, type, at, position, meta } = input.event;
    return { ...common, name: type, at, inputId: id, causeId: id, position, meta, depth: meta.depth ?? 0 };
  }
  if (input.kind === 'refusal') {
    const { commandId, type, code, reason } = input.rejection;
    const refusal = { code, reason: reason.slice(0, REASON_MAX_LENGTH) };
    const ids = { inputId: `refusal/${commandId}`, causeId: commandId };
    return { ...common, ...ids, name: type, at: input.at, refusal, meta: input.meta, depth: input.meta.depth ?? 0 };
  }
  if (timer === undefined) throw new MillraceError('INTERNAL', 'A timer was handled that the instance does not have.');
  const { name, dueAt, setAt, setBy, meta } = timer;
  const waitedMs = dueAt.getTime() - setAt.getTime();
  return {
    ...common,
    name,
    at: dueAt,
    inputId: `timer/${name}/${setBy}`,
    causeId: meta.causationId ?? meta.correlationId,
    lateMs: (input.kind === 'timer' ? input.lateMs : undefined) ?? Math.max(0, handledAt.getTime() - dueAt.getTime()),
    meta,
    depth: waitedMs >= CHAIN_BREAK_MS ? 0 : (meta.depth ?? 0),
  };
}

function describe(input: SagaInput): string {
  if (input.kind === 'event') return `event "${input.event.type}" at position ${input.event.position}`;
  if (input.kind === 'timer') return `timer "${input.name}" due ${input.dueAt.toISOString()}`;
  return `refusal of "${input.rejection.type}" (${input.rejection.code})`;
}

function blank(facts: Facts, { handledAt, saga }: ReactOptions): SagaInstance {
  return {
    status: 'ACTIVE',
    state: saga.saga.initial(),
    startedAt: facts.at,
    updatedAt: handledAt,
    endedAt: null,
    keys: [],
    timers: [],
    stepCount: 0,
    timeline: [],
    correlationId: facts.meta.correlationId,
  };
}

/** What handlers get cannot be changed by them: it is what the next input meets again when this one fails. */
function frozenState(state: unknown, place: string): unknown {
  const copy = plainCopy(state, { dates: true });
  if (copy.ok) return copy.value;
  throw new MillraceError(
    'SAGA_REACTION_INVALID',
    `${place}: \`initial\` answers with a state that cannot be stored: ${describeIssues(copy.issues)}. Use JSON values and dates.`,
  );
}

function handle(options: ReactOptions, state: unknown, facts: Facts): unknown {
  const { id, input, newId, saga } = options;
  let count = 0;
  const ctx: SagaContext = { id, now: new Date(facts.at), newId: () => newId('id', facts.inputId, count++) };
  if (input.kind === 'event') return saga.saga.onEvent(state, input.event, ctx);
  if (input.kind === 'refusal') return saga.saga.onRejected(state, input.rejection, ctx);
  const timer = { name: input.name, dueAt: new Date(input.dueAt), lateMs: facts.lateMs ?? 0 };
  return saga.saga.onTimer(state, timer, ctx);
}

function effectOf(options: ReactOptions, before: SagaInstance, facts: Facts, reaction: CheckedReaction): SagaEffect {
  const { saga, handledAt } = options;
  const { keepEndedMs } = saga.saga;
  const meta: EventMeta = { ...facts.meta, causationId: facts.causeId, depth: facts.depth };
  const commands = reaction.send.map((dispatch, index) => ({
    ...dispatch,
    commandId: options.newId('command', facts.inputId, index),
    meta: { ...meta, actor: `saga:${saga.name}`, depth: facts.depth + 1 },
  }));
  const setBy = options.newId('timer', facts.inputId, 0);
  const set: SagaTimer[] = [];
  for (const [name, dueAt] of reaction.timers) {
    if (dueAt !== null) set.push({ name, dueAt, setAt: facts.at, setBy, meta });
  }
  const fired = facts.kind === 'timer' ? facts.name : undefined;
  const touched = (name: string): boolean => name === fired || reaction.timers.has(name);
  const kept = reaction.end ? [] : before.timers.filter(({ name }) => !touched(name));
  const timers = [...kept, ...set];
  const left = new Set(timers.map(({ name }) => name));
  const known = new Set(before.keys);
  const newKeys = [...new Set([options.id, ...(options.keys ?? []), ...reaction.keys])].filter(
    (key) => !known.has(key),
  );
  const step = stepOf(before, facts, handledAt, reaction, commands);
  return {
    instance: {
      ...before,
      status: reaction.end ? 'ENDED' : 'ACTIVE',
      state: reaction.state === undefined ? before.state : reaction.state.value,
      updatedAt: handledAt,
      endedAt: reaction.end ? facts.at : null,
      ...(reaction.end && Number.isFinite(keepEndedMs) && { expiresAt: new Date(handledAt.getTime() + keepEndedMs) }),
      keys: [...before.keys, ...newKeys],
      timers,
      stepCount: step.number,
      timeline: [...before.timeline.slice(1 - TIMELINE_CAP), step],
    },
    commands,
    timers: set,
    timersGone: before.timers.map(({ name }) => name).filter((name) => !left.has(name)),
    newKeys,
    ends: reaction.end,
  };
}

function stepOf(
  before: SagaInstance,
  facts: Facts,
  handledAt: Date,
  reaction: CheckedReaction,
  commands: readonly SagaCommand[],
): SagaStep {
  const { kind, name, at, position, causeId, lateMs, refusal } = facts;
  const sent = commands
    .slice(0, SENT_SHOWN)
    .map(({ commandId, aggregate, id, type }) => ({ commandId, aggregate, id, type }));
  const timers = Array.from(reaction.timers, ([timer, dueAt]) => ({ name: timer, dueAt })).slice(0, TIMERS_SHOWN);
  return {
    number: before.stepCount + 1,
    kind,
    name,
    at,
    handledAt,
    position,
    causeId,
    tenant: facts.meta.tenant,
    lateMs,
    refusal,
    sent,
    sentCount: commands.length,
    timers,
    ended: reaction.end,
  };
}

/** An instance that has ended cannot react, but its timeline says that one of its commands was refused. */
function told(options: ReactOptions, instance: SagaInstance, input: SagaInput): SagaEffect {
  const facts = factsOf(input, undefined, options.handledAt);
  const step = stepOf(instance, facts, options.handledAt, NOTHING, []);
  const timeline = [...instance.timeline.slice(1 - TIMELINE_CAP), step];
  return {
    instance: { ...instance, updatedAt: options.handledAt, stepCount: step.number, timeline },
    commands: [],
    timers: [],
    timersGone: [],
    newKeys: [],
    ends: false,
  };
}
