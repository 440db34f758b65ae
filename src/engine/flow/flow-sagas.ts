import type { SagaStep } from '../../define/saga-instance.ts';
import { deadLetterId } from '../../store/dead-letters.ts';
import type { DeadLetterDocument } from '../../store/documents.ts';
import type { FlowReads, InstanceHead, QueuedHead } from '../../store/flow-reads.ts';
import type { FlowStep, StepState } from '../contract/flow.ts';
import type { Handling } from './flow-consumers.ts';
import { commandStepId, handlingId, type SagaFacts } from './flow-ids.ts';

/** Instances of one flow that are looked at. */
const INSTANCES_MAX_COUNT = 500;

export interface FlowSagasDeps {
  readonly logId: string;
  readonly reads: Pick<FlowReads, 'instances' | 'deadLetters'>;
}
/** What the flow holds besides sagas. */
export interface AroundSagas {
  readonly handlings: readonly Handling[];
  readonly queued: readonly QueuedHead[];
}

/** What instances of sagas wrote down of a flow: when they handled its events, what they sent, which timers they set. */
export async function readSagas(deps: FlowSagasDeps, around: AroundSagas): Promise<SagaFacts> {
  const facts: Facts = { steps: [], senders: new Map(), handledAt: new Map() };
  const wanted = new Map<string, { readonly generation: number; readonly ids: Set<string> }>();
  const want = (name: string, generation: number, id: string): void => {
    const known = wanted.get(name) ?? { generation, ids: new Set<string>() };
    if (known.ids.size < INSTANCES_MAX_COUNT) known.ids.add(id);
    wanted.set(name, known);
  };
  for (const { consumer, keys } of around.handlings) {
    if (consumer.kind === 'saga') for (const key of keys) want(consumer.name, consumer.generation, key);
  }
  for (const { sender } of around.queued) {
    if (sender !== undefined) want(sender.consumer, sender.generation, sender.key);
  }
  const events = new Set(around.handlings.map(({ event }) => event.id));
  const dead = new Map<string, DeadLetterDocument>();
  const commands = new Map(around.queued.map((one) => [one.commandId, one]));
  for (const [saga, { generation, ids }] of wanted) {
    const of = { consumer: saga, generation };
    const instances = await deps.reads.instances(of, [...ids]);
    const letters = await deps.reads.deadLetters([...ids].map((id) => deadLetterId(deps.logId, of, id)));
    for (const letter of letters) if (letter.state === 'DEAD') dead.set(letter._id, letter);
    for (const instance of instances) {
      const letter = letters.find(({ key }) => key === instance._id);
      new Timeline(facts, { saga, instance, letter, events, commands }).read();
    }
  }
  const told = new Set(facts.steps.map(({ id }) => id));
  for (const command of around.queued) {
    const { sender, tell } = command;
    if (tell !== true || sender === undefined) continue;
    // Its sender has still to hear of it, and will not while it is dead.
    const failed = dead.get(deadLetterId(deps.logId, sender, sender.key));
    const step = refusalStep(sender.consumer, command, failed?.state ?? 'PENDING', failed && { failed });
    if (!told.has(step.id)) facts.steps.push(step);
  }
  return facts;
}

interface Facts extends SagaFacts {
  readonly steps: FlowStep[];
  readonly senders: Map<string, string>;
  readonly handledAt: Map<string, Date>;
}
interface Reading {
  readonly saga: string;
  readonly instance: InstanceHead;
  readonly letter: DeadLetterDocument | undefined;
  /** Ids of the events of the flow that sagas handle. */
  readonly events: ReadonlySet<string>;
  readonly commands: ReadonlyMap<string, QueuedHead>;
}
/** A timer as it was set. */
interface SetTimer {
  readonly id: string;
  readonly parentId: string;
  readonly dueAt: Date;
}

/** Reads the steps of one instance in order. An instance may belong to several flows; only what this one caused is taken. */
class Timeline {
  readonly #facts: Facts;
  readonly #reading: Reading;
  readonly #waiting = new Map<string, SetTimer>();

  constructor(facts: Facts, reading: Reading) {
    this.#facts = facts;
    this.#reading = reading;
  }

  read(): void {
    const { instance, letter } = this.#reading;
    for (const step of instance.timeline) this.#step(step);
    const waits = new Set(instance.timers.map(({ name }) => name));
    for (const [name, timer] of this.#waiting) {
      const own = letter?.input === 'timer' && letter.inputType === name;
      // Behind a dead letter of the instance a timer that is due does not fire.
      const failed = own || (letter?.state === 'DEAD' && timer.dueAt.getTime() <= Date.now()) ? letter : undefined;
      this.#timer(name, timer, waits.has(name) ? (failed?.state ?? 'PENDING') : 'CANCELLED', { failed });
    }
    if (letter?.input === 'refusal' && letter.eventId !== null) {
      const command = this.#reading.commands.get(letter.eventId);
      if (command !== undefined) {
        this.#facts.steps.push(refusalStep(this.#reading.saga, command, letter.state, { failed: letter }));
      }
    }
  }

  #step(step: SagaStep): void {
    const { saga, instance, events, commands } = this.#reading;
    const fired = step.kind === 'timer' ? this.#waiting.get(step.name) : undefined;
    let id: string | undefined;
    if (step.kind === 'event' && events.has(step.causeId)) {
      id = handlingId(step.causeId, saga);
      this.#facts.handledAt.set(id, step.handledAt);
    } else if (step.kind === 'refusal') {
      const command = commands.get(step.causeId);
      if (command !== undefined) {
        const told = refusalStep(saga, command, 'DONE', { step });
        this.#facts.steps.push(told);
        id = told.id;
      }
    } else if (fired !== undefined) {
      this.#waiting.delete(step.name);
      this.#timer(step.name, fired, 'DONE', { step });
      id = fired.id;
    }
    this.#changeTimers(step);
    if (id === undefined) return;
    for (const { commandId } of step.sent) this.#facts.senders.set(commandId, id);
    for (const { name, dueAt } of step.timers) {
      if (dueAt === null) continue;
      this.#waiting.set(name, { id: `${saga}/${instance._id}/${name}/${step.number}`, parentId: id, dueAt });
    }
  }

  /** What is set anew, cancelled or ended is no longer waiting. */
  #changeTimers({ timers, ended }: SagaStep): void {
    const gone = ended ? [...this.#waiting.keys()] : timers.map(({ name }) => name);
    for (const name of gone) {
      const timer = this.#waiting.get(name);
      if (timer !== undefined) this.#timer(name, timer, 'CANCELLED', {});
      this.#waiting.delete(name);
    }
  }

  #timer(
    name: string,
    { id, parentId, dueAt }: SetTimer,
    status: StepState,
    of: { readonly step?: SagaStep; readonly failed?: DeadLetterDocument | undefined },
  ): void {
    const { saga, instance } = this.#reading;
    const { step, failed } = of;
    this.#facts.steps.push({
      id,
      parentId,
      kind: 'TIMER',
      name: `${saga}: ${name}`,
      subject: instance._id,
      status,
      attempts: failed?.attempts ?? (step === undefined ? 0 : 1),
      startedAt: dueAt,
      durationMs: step?.lateMs ?? null,
      error: failed === undefined ? null : { code: failed.error.code, message: failed.error.message },
      event: null,
      truncated: false,
    });
  }
}

/** A saga hears that one of its commands was refused. */
function refusalStep(
  saga: string,
  command: QueuedHead,
  status: StepState,
  of: { readonly step?: SagaStep; readonly failed?: DeadLetterDocument } = {},
): FlowStep {
  const { step, failed } = of;
  return {
    id: `${saga}/refusal/${command.commandId}`,
    parentId: commandStepId(command.stream, command.commandId),
    kind: 'SAGA',
    name: saga,
    subject: command.sender?.key ?? command.id,
    status,
    attempts: failed?.attempts ?? (step === undefined ? 0 : 1),
    startedAt: step?.at ?? command.finishedAt ?? command.updatedAt,
    durationMs: step === undefined ? null : Math.max(0, step.handledAt.getTime() - step.at.getTime()),
    error: failed === undefined ? null : { code: failed.error.code, message: failed.error.message },
    event: null,
    truncated: false,
  };
}
