import type { AnyRecorded, EventMeta } from '../../define/event.ts';
import { parseStreamKey } from '../../define/stream-key.ts';
import { isMillraceError } from '../../errors.ts';
import type { LogDocument } from '../../store/documents.ts';
import { type CommitHead, commandKey, type QueuedHead, type RejectionHead } from '../../store/flow-reads.ts';
import type { FlowStep, StepState } from '../contract/flow.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import type { Handling } from './flow-consumers.ts';
import { commandStepId, handlingId, type SagaFacts } from './flow-ids.ts';

/** What was read of a flow. */
export interface FlowFacts {
  readonly events: readonly LogDocument[];
  readonly handlings: readonly Handling[];
  /** By `commandKey`. */
  readonly queued: ReadonlyMap<string, QueuedHead>;
  readonly heads: ReadonlyMap<string, CommitHead>;
  readonly rejections: ReadonlyMap<string, RejectionHead>;
  readonly isService: (target: string) => boolean;
  readonly decode: DecodeOnce;
  /** What saga instances wrote down, by the ids of steps and commands. */
  readonly sagas: SagaFacts;
}
const subjectOf = (stream: string): string => {
  const { aggregate, id } = parseStreamKey(stream);
  return `${aggregate}/${id}`;
};

/** The steps of a flow, causes before what they caused, the oldest first. Pure. */
export function flowSteps(facts: FlowFacts): readonly FlowStep[] {
  const steps = new Map<string, FlowStep>();
  const add = (step: FlowStep): void => {
    if (!steps.has(step.id)) steps.set(step.id, step);
  };
  const eventIds = new Set(facts.events.map(({ id }) => id));
  const commandIds = new Map<string, string>();
  for (const [stream, id] of commandsOf(facts)) commandIds.set(id, commandStepId(stream, id));
  const parentOf = (id: string, meta: EventMeta, sender: string | undefined): string | null => {
    const sent = facts.sagas.senders.get(id);
    if (sent !== undefined) return sent;
    const { causationId, actor } = meta;
    if (causationId === null) return null;
    const saga = sender ?? (actor?.startsWith('saga:') === true ? actor.slice('saga:'.length) : undefined);
    if (eventIds.has(causationId)) return saga === undefined ? causationId : handlingId(causationId, saga);
    return commandIds.get(causationId) ?? null;
  };
  const caused = new Map(facts.events.map((event) => [commandKey(event), event]));
  const withCaused = { ...facts, caused };
  for (const [stream, id] of commandsOf(facts)) add(commandStep(withCaused, stream, id, parentOf));
  const seen = new Map(facts.events.map((event) => [event.id, event]));
  for (const head of facts.heads.values()) {
    for (const { id, type } of head.events) if (!seen.has(id)) add(unplacedStep(head, id, type));
  }
  for (const event of facts.events) add(eventStep(event, facts.decode));
  for (const handling of facts.handlings) add(handlingStep(handling, facts.sagas));
  for (const step of facts.sagas.steps) add(step);
  return inOrder(steps);
}

/** Address and id of every command that is known of, each once, the oldest first. */
function* commandsOf(facts: FlowFacts): Generator<readonly [stream: string, id: string]> {
  const known = new Set<string>();
  const all = [
    ...Array.from(facts.queued.values(), (one) => [one.stream, one.commandId] as const),
    ...Array.from(facts.heads.values(), (one) => [one.stream, one.command.id] as const),
    ...Array.from(facts.rejections.values(), (one) => [one.stream, one.command.id] as const),
    ...facts.events.map((one) => [one.stream, one.commandId] as const),
  ];
  for (const [stream, id] of all) {
    const key = commandKey({ stream, commandId: id });
    if (!known.has(key)) yield [stream, id];
    known.add(key);
  }
}

type ParentOf = (id: string, meta: EventMeta, sender: string | undefined) => string | null;

/** `caused`: an event of each command, by `commandKey`. */
type CommandFacts = FlowFacts & { readonly caused: ReadonlyMap<string, LogDocument> };

function commandStep(facts: CommandFacts, stream: string, id: string, parentOf: ParentOf): FlowStep {
  const key = commandKey({ stream, commandId: id });
  const queued = facts.queued.get(key);
  const head = facts.heads.get(key);
  const rejection = facts.rejections.get(key);
  const event = facts.caused.get(key);
  const meta = queued?.meta ?? head?.meta ?? rejection?.meta ?? event?.meta;
  const common = {
    id: commandStepId(stream, id),
    parentId: meta === undefined ? null : parentOf(id, meta, queued?.sender?.consumer),
    kind: facts.isService(parseStreamKey(stream).aggregate) ? ('SERVICE' as const) : ('COMMAND' as const),
    subject: subjectOf(stream),
    event: null,
    truncated: false,
  };
  if (queued !== undefined) return { ...common, ...queuedPart(queued) };
  if (rejection !== undefined && head === undefined) {
    const { command, code, reason, at } = rejection;
    const error = { code, message: reason };
    return { ...common, name: command.type, status: 'REJECTED', attempts: 1, startedAt: at, durationMs: null, error };
  }
  // Its commit may have been removed; what it caused was not.
  const name = head?.command.type ?? '(unknown)';
  const startedAt = head?.at ?? event?.at ?? null;
  return { ...common, name, status: 'DONE', attempts: 1, startedAt, durationMs: null, error: null };
}

const queuedStates = {
  RECEIVED: 'PENDING',
  RUNNING: 'RUNNING',
  ACCEPTED: 'DONE',
  REJECTED: 'REJECTED',
  DEAD: 'DEAD',
  CANCELLED: 'CANCELLED',
} as const satisfies Record<QueuedHead['state'], StepState>;

function queuedPart(queued: QueuedHead) {
  const { type, state, attempts, startedAt, finishedAt, notBefore, receivedAt, error, refusal } = queued;
  const begun = startedAt ?? receivedAt;
  const again = state === 'RUNNING' && attempts > 0;
  const failed = refusal === undefined ? error : { code: refusal.code, message: refusal.reason };
  return {
    name: type,
    status: again ? ('RETRYING' as const) : queuedStates[state],
    attempts: state === 'RECEIVED' ? attempts : Math.max(1, attempts),
    startedAt: state === 'RECEIVED' ? (notBefore ?? receivedAt) : begun,
    durationMs: finishedAt === undefined ? null : Math.max(0, finishedAt.getTime() - begun.getTime()),
    error: failed === undefined ? null : { code: failed.code, message: failed.message },
  };
}

function eventStep(document: LogDocument, decode: DecodeOnce): FlowStep {
  const decoded = decode(document);
  const event: AnyRecorded | null = decoded.ok ? decoded.event : null;
  const error = decoded.ok
    ? null
    : {
        code: isMillraceError(decoded.error) ? decoded.error.code : 'EVENT_INVALID',
        message: 'This process cannot read the event; newer code may.',
      };
  return {
    id: document.id,
    parentId: commandStepId(document.stream, document.commandId),
    kind: 'EVENT',
    name: document.type,
    subject: subjectOf(document.stream),
    status: 'DONE',
    attempts: 1,
    startedAt: document.at,
    durationMs: null,
    error,
    event,
    truncated: false,
  };
}

/** Stored and safe, on its way into the log. */
const unplacedStep = (head: CommitHead, id: string, type: string): FlowStep => ({
  id,
  parentId: commandStepId(head.stream, head.command.id),
  kind: 'EVENT',
  name: type,
  subject: subjectOf(head.stream),
  status: 'PENDING',
  attempts: 0,
  startedAt: head.at,
  durationMs: null,
  error: null,
  event: null,
  truncated: false,
});

const kinds = { projector: 'PROJECTOR', saga: 'SAGA', observer: 'OBSERVER' } as const;

function handlingStep({ consumer, event, keys, current }: Handling, sagas: SagaFacts): FlowStep {
  const id = handlingId(event.id, consumer.name);
  const { state, attempts, error, since } = current;
  const handledAt = sagas.handledAt.get(id);
  return {
    id,
    parentId: event.id,
    kind: kinds[consumer.kind],
    name: consumer.name,
    subject: keys.slice(0, 5).join(', '),
    status: state,
    attempts,
    startedAt: since ?? event.at,
    durationMs: handledAt === undefined ? null : Math.max(0, handledAt.getTime() - event.at.getTime()),
    error,
    event: null,
    truncated: false,
  };
}

/** By time, but nothing before what caused it. A parent that is not there is no parent. */
function inOrder(steps: ReadonlyMap<string, FlowStep>): readonly FlowStep[] {
  const time = ({ startedAt }: FlowStep): number => startedAt?.getTime() ?? Number.POSITIVE_INFINITY;
  const byTime = [...steps.values()].sort((a, b) => time(a) - time(b));
  const ordered: FlowStep[] = [];
  const placed = new Set<string>();
  for (const step of byTime) {
    // From the step up to the first cause that is placed; the set ends circles.
    const chain: FlowStep[] = [];
    for (let at: FlowStep | undefined = step; at !== undefined && !placed.has(at.id); at = parentStep(steps, at)) {
      placed.add(at.id);
      chain.push(at);
    }
    for (const one of chain.reverse()) {
      const known = one.parentId === null || steps.has(one.parentId);
      ordered.push(known ? one : { ...one, parentId: null });
    }
  }
  return ordered;
}

const parentStep = (steps: ReadonlyMap<string, FlowStep>, { parentId }: FlowStep): FlowStep | undefined =>
  parentId === null ? undefined : steps.get(parentId);

/** Nothing more happens to it by itself, now or before a time in the future. */
export function isSettled({ kind, status, startedAt }: FlowStep, now: number): boolean {
  switch (status) {
    case 'DONE':
    case 'REJECTED':
    case 'DEAD':
    case 'CANCELLED':
      return true;
    case 'PENDING':
      return (kind === 'TIMER' || kind === 'COMMAND' || kind === 'SERVICE') && (startedAt?.getTime() ?? 0) > now;
    default:
      return false;
  }
}
