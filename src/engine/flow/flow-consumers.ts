import type { ConsumerModel, Model } from '../../define/model.ts';
import { deadLetterId } from '../../store/dead-letters.ts';
import type { ConsumerDocument, DeadLetterDocument, LogDocument } from '../../store/documents.ts';
import type { FlowReads, PartitionPlace } from '../../store/flow-reads.ts';
import type { StepState } from '../contract/flow.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import { routeEvent } from '../log/route-event.ts';

/** How a consumer is with one event. */
export interface HandlingState {
  readonly state: Extract<StepState, 'PENDING' | 'DONE' | 'RETRYING' | 'DEAD'>;
  readonly attempts: number;
  readonly error: { readonly code: string; readonly message: string } | null;
  /** When it failed first; null unless it fails. */
  readonly since: Date | null;
}
/** An event that a consumer has to handle, or has handled. */
export interface Handling {
  readonly consumer: ConsumerModel;
  readonly event: LogDocument;
  /** What is blocked when it fails; of a saga, ids of instances. */
  keys: readonly string[];
  /** Partitions that must pass the event. */
  readonly partitions: readonly number[];
  current: HandlingState;
}

const PENDING: HandlingState = { state: 'PENDING', attempts: 0, error: null, since: null };
const DONE: HandlingState = { state: 'DONE', attempts: 1, error: null, since: null };

export interface HandlingDeps {
  readonly model: Model;
  readonly logId: string;
  readonly reads: Pick<FlowReads, 'consumers' | 'partitions' | 'deadLetters' | 'sagaKeys'>;
  readonly decode: DecodeOnce;
}

/**
 * Which consumers have handled some events. An event is done when its partition has passed it and its key is not blocked at it or
 * before it; what is done stays done here. No process writes anything for this.
 */
export class Handlings {
  readonly #deps: HandlingDeps;
  #fixed: ReadonlyMap<string, ConsumerDocument> = new Map();
  /** Waits for its consumers to be known: a generation is created by the first worker. */
  readonly #events: { readonly event: LogDocument; readonly routed: Set<ConsumerModel> }[] = [];
  readonly #open = new Set<Handling>();
  readonly all: Handling[] = [];

  constructor(deps: HandlingDeps) {
    this.#deps = deps;
  }

  /** False while a worker has yet to create one of the consumers: whether it handles an event is not known. */
  get complete(): boolean {
    return this.#events.length === 0;
  }

  /** Whether a handler is known to run, or to be tried again, by itself. */
  get busy(): boolean {
    for (const { current } of this.#open) if (current.state !== 'DEAD') return true;
    return false;
  }

  add(events: readonly LogDocument[]): void {
    for (const event of events) this.#events.push({ event, routed: new Set() });
  }

  /** Looks where the open ones are. Reads come after whatever the caller has read. */
  async look(): Promise<void> {
    const { model, reads } = this.#deps;
    if (this.#events.length > 0) {
      const refs = model.consumers.map(({ name, generation }) => ({ consumer: name, generation }));
      this.#fixed = new Map((await reads.consumers(refs)).map((one) => [one._id, one]));
      this.#route();
    }
    if (this.#open.size === 0) return;
    const consumers = new Set(Array.from(this.#open, ({ consumer }) => consumer));
    const places = await reads.partitions(
      Array.from(consumers, ({ name, generation }) => ({ consumer: name, generation })),
    );
    const byConsumer = new Map<string, Map<number, PartitionPlace>>();
    for (const place of places) {
      const known = byConsumer.get(place.consumer) ?? new Map<number, PartitionPlace>();
      byConsumer.set(place.consumer, known.set(place.partition, place));
    }
    await this.#findInstances();
    const letters = await this.#letters();
    for (const one of this.#open) {
      const own = one.keys.flatMap((key) => letters.get(this.#letterId(one.consumer, key)) ?? []);
      one.current = stateOf(one, byConsumer.get(one.consumer.name) ?? new Map(), own, this.#replayed(one));
      if (one.current.state === 'DONE') this.#open.delete(one);
    }
  }

  #route(): void {
    const { model, decode } = this.#deps;
    for (const waiting of this.#events) {
      const { event, routed } = waiting;
      for (const consumer of model.consumers) {
        const fixed = this.#document(consumer);
        if (fixed === undefined || routed.has(consumer)) continue;
        routed.add(consumer);
        // Not its business: it began later, or is no more.
        if (event._id <= (fixed.startPosition ?? 0) || fixed.retiredAt !== undefined) continue;
        const route = routeEvent(model, consumer, fixed.partitionCount, decode, event);
        if (route.kind === 'skip') continue;
        const targets = route.kind === 'run' ? route.targets : [route.target];
        if (targets.length === 0) continue;
        const everywhere = route.kind === 'stuck' && route.all;
        const partitions = everywhere
          ? Array.from({ length: fixed.partitionCount }, (_, partition) => partition)
          : [...new Set(targets.map(({ partition }) => partition))];
        const handling: Handling = {
          consumer,
          event,
          keys: targets.map(({ key }) => key),
          partitions,
          current: PENDING,
        };
        this.all.push(handling);
        this.#open.add(handling);
      }
    }
    const missing = model.consumers.filter((consumer) => this.#document(consumer) === undefined);
    if (missing.length === 0) this.#events.length = 0;
  }

  /** Of sagas with several correlation keys: once an event was handled its keys lead to one instance, before that to none. */
  async #findInstances(): Promise<void> {
    const many = [...this.#open].filter(({ consumer }) => consumer.kind === 'saga' && consumer.saga.manyKeys);
    const byConsumer = new Map<ConsumerModel, Handling[]>();
    for (const one of many) byConsumer.set(one.consumer, [...(byConsumer.get(one.consumer) ?? []), one]);
    for (const [{ name, generation }, handlings] of byConsumer) {
      const of = { consumer: name, generation };
      const keys = new Set(handlings.flatMap((one) => one.keys));
      const found = await this.#deps.reads.sagaKeys(of, [...keys]);
      for (const one of handlings) {
        const led = one.keys.flatMap((key) => found.get(key) ?? []);
        // A new instance is named by the first of its keys.
        one.keys = [...new Set([...led, ...one.keys])];
      }
    }
  }

  #document({ name, generation }: ConsumerModel): ConsumerDocument | undefined {
    return this.#fixed.get(`${this.#deps.logId}/${name}/${generation}`);
  }

  #letterId({ name, generation }: ConsumerModel, key: string): string {
    return deadLetterId(this.#deps.logId, { consumer: name, generation }, key);
  }

  /** After the partitions: what failed when one of them passed an event is then there to be seen. */
  async #letters(): Promise<ReadonlyMap<string, DeadLetterDocument>> {
    const ids = new Set<string>();
    for (const { consumer, keys } of this.#open) for (const key of keys) ids.add(this.#letterId(consumer, key));
    const found = await this.#deps.reads.deadLetters([...ids]);
    return new Map(found.map((one) => [one._id, one]));
  }

  /** Observers do not run again for what they had handled before a reset, unless they replay. */
  #replayed({ consumer, event }: Handling): boolean {
    if (consumer.kind === 'observer' && consumer.run.replays) return false;
    return event._id <= (this.#document(consumer)?.replayUntil ?? 0);
  }
}

const rank = { DONE: 0, PENDING: 1, RETRYING: 2, DEAD: 3 } as const;

/** Of all its keys the worst. */
function stateOf(
  { event, partitions }: Handling,
  places: ReadonlyMap<number, PartitionPlace>,
  letters: readonly DeadLetterDocument[],
  replayed: boolean,
): HandlingState {
  const states = [
    ...partitions.map((partition) => placeState(event, places.get(partition))),
    ...letters.map((one) => letterState(event, one)),
  ];
  const worst = states.reduce((a, b) => (rank[b.state] > rank[a.state] ? b : a), DONE);
  return worst.state === 'PENDING' && replayed ? DONE : worst;
}

function placeState(event: LogDocument, place: PartitionPlace | undefined): HandlingState {
  if (place === undefined) return PENDING;
  if (place.checkpoint >= event._id) return DONE;
  const { failure } = place;
  if (failure?.position !== event._id) return PENDING;
  const { attempts, code, message, since } = failure;
  return { state: 'RETRYING', attempts, error: { code, message }, since };
}

function letterState(event: LogDocument, letter: DeadLetterDocument): HandlingState {
  const { state, attempts, position, error, inputType, firstFailedAt } = letter;
  if (position > event._id) return DONE;
  if (position === event._id) {
    // A timer or refusal that failed after this event.
    if (letter.input !== 'event') return DONE;
    return { state, attempts, error: { code: error.code, message: error.message }, since: firstFailedAt };
  }
  const message = `It waits behind "${inputType}" at position ${position}, at which the handler failed for the same key: ${error.message}`;
  // Behind a dead one nothing goes on by itself either.
  return {
    state: state === 'DEAD' ? 'DEAD' : 'PENDING',
    attempts: 0,
    error: { code: 'PARKED', message },
    since: firstFailedAt,
  };
}
