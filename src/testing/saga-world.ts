import type { Dispatch } from '../define/aggregate.ts';
import type { SagaModel } from '../define/consumer-model.ts';
import type { EventModel } from '../define/model.ts';
import { consumerKeys } from '../define/project.ts';
import { instancesOf, reactSaga, type SagaCommand, type SagaInput } from '../define/react.ts';
import type { SagaInstance, SagaTimer } from '../define/saga-instance.ts';
import type { SagaTargets } from '../define/saga-reaction.ts';
import { MillraceError } from '../errors.ts';
import { numberedUuid, type SpecContext } from './context.ts';
import { deepFreeze } from './freeze.ts';
import { type AnyGiven, recorder } from './recorder.ts';

interface WorldFacts {
  readonly model: SagaModel;
  readonly context: SpecContext;
  readonly events: ReadonlyMap<string, EventModel>;
  readonly targets: SagaTargets;
}
type Sent = SagaCommand & { readonly instance: string };

/** As the platform's defaults. */
const MAX_DEPTH = 100;
const DATA_MAX_BYTES = 65_536;
/** Timers that set each other at once, without end. */
const FIRINGS_MAX_COUNT = 10_000;

/** All instances of one saga, with a clock of their own. */
export class SagaWorld {
  readonly instances = new Map<string, SagaInstance>();
  now: Date;
  /** The instance that the last input belonged to. */
  id: string | undefined;
  /** Since the stage before. */
  sent: Dispatch[] = [];
  readonly #facts: WorldFacts;
  readonly #past: AnyGiven[] = [];
  readonly #leadsTo = new Map<string, string>();
  readonly #allSent: Sent[] = [];
  #idCount = 0;

  constructor(facts: WorldFacts) {
    this.#facts = facts;
    this.now = new Date(facts.context.now);
  }

  get instance(): SagaInstance | undefined {
    return this.id === undefined ? undefined : this.instances.get(this.id);
  }

  /** For the next stage: nothing sent yet. */
  copy(): SagaWorld {
    const copy = new SagaWorld(this.#facts);
    for (const [id, instance] of this.instances) copy.instances.set(id, instance);
    for (const [key, id] of this.#leadsTo) copy.#leadsTo.set(key, id);
    copy.#past.push(...this.#past);
    copy.#allSent.push(...this.#allSent);
    copy.#idCount = this.#idCount;
    copy.now = this.now;
    copy.id = this.id;
    return copy;
  }

  handle(given: AnyGiven): void {
    const { model, events, context } = this.#facts;
    const at = given.at ?? this.now;
    if (at > this.now) this.advance(at.getTime() - this.now.getTime());
    // Numbered as in the log: what happened before counts.
    const record = recorder(events, `saga "${model.name}"`, context);
    for (const past of this.#past) record(past, at);
    this.#past.push(given);
    const event = deepFreeze(record(given, at));
    const keys = consumerKeys(model, event);
    const leadsTo = model.saga.manyKeys ? (key: string) => this.#leadsTo.get(key) : (key: string) => key;
    for (const target of instancesOf(keys, leadsTo)) this.#react(target.id, { kind: 'event', event }, target.keys);
    this.advance(0);
  }

  advance(ms: number): void {
    if (!(ms >= 0 && Number.isFinite(ms))) {
      throw new MillraceError('BAD_INPUT', `spec: the clock moves forward only, not by ${ms} ms.`);
    }
    const end = new Date(this.now.getTime() + ms);
    for (let count = 0; ; count++) {
      const next = this.#next(end);
      if (next === undefined) break;
      if (count === FIRINGS_MAX_COUNT) {
        throw new MillraceError('BAD_INPUT', `spec: timer "${next.timer.name}" fires again and again at one time.`);
      }
      const { name, dueAt } = next.timer;
      if (dueAt > this.now) this.now = dueAt;
      this.#react(next.id, { kind: 'timer', name, dueAt });
    }
    this.now = end;
  }

  reject(refusal: { readonly code: string; readonly reason?: string; readonly command?: Dispatch }): void {
    const { code, reason = code, command } = refusal;
    const wanted = command === undefined ? undefined : shown(command);
    const sent = this.#allSent.findLast((one) => wanted === undefined || shown(one) === wanted);
    if (sent === undefined) {
      throw new MillraceError('BAD_INPUT', 'spec: the saga sent no such command, so none can be refused.');
    }
    const { commandId, aggregate, id, type, data, meta } = sent;
    const rejection = { commandId, aggregate, id, type, data, code, reason };
    this.#react(sent.instance, { kind: 'refusal', rejection, at: this.now, meta });
    this.advance(0);
  }

  /** The timer that is due first, up to `end`. */
  #next(end: Date): { readonly id: string; readonly timer: SagaTimer } | undefined {
    let first: { readonly id: string; readonly timer: SagaTimer } | undefined;
    for (const [id, { timers }] of this.instances) {
      for (const timer of timers) {
        if (timer.dueAt <= end && (first === undefined || timer.dueAt < first.timer.dueAt)) first = { id, timer };
      }
    }
    return first;
  }

  #react(id: string, input: SagaInput, keys: readonly string[] = []): void {
    const { model, targets, context } = this.#facts;
    const effect = reactSaga({
      saga: model,
      targets,
      id,
      ...(model.saga.manyKeys ? { keys } : {}),
      instance: this.instances.get(id),
      input,
      handledAt: this.now,
      maxDepth: MAX_DEPTH,
      dataMaxBytes: DATA_MAX_BYTES,
      newId: (purpose, inputId, index) => {
        if (purpose === 'command') return numberedUuid(this.#allSent.length + index + 1);
        return purpose === 'id' ? context.newId(++this.#idCount) : `${this.#past.length}/${inputId.slice(0, 100)}`;
      },
    });
    if (this.instances.has(id) || effect !== undefined) this.id = id;
    if (effect === undefined) return;
    this.instances.set(id, deepFreeze(effect.instance));
    for (const key of effect.instance.keys) this.#leadsTo.set(key, id);
    for (const sent of effect.commands) this.#allSent.push({ ...sent, instance: id });
    this.sent.push(...effect.commands.map(({ aggregate, id: to, type, data }) => ({ aggregate, id: to, type, data })));
  }
}

const shown = ({ aggregate, id, type, data }: Dispatch): string => JSON.stringify([aggregate, id, type, data]);
