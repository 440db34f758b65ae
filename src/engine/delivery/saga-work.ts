import type { Model, SagaModel } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import type { QueuedCommandDocument } from '../../store/documents.ts';
import type { GenerationRef } from '../../store/partitions.ts';
import type { SagaStore, Untold } from '../../store/sagas.ts';
import type { SideWrites } from '../../store/side-writes.ts';
import { refusalErrand, timerErrand } from '../sagas/saga-errands.ts';
import { SagaHandler } from '../sagas/saga-handler.ts';
import type { DueTimer } from '../sagas/saga-timers.ts';
import type { Delivery } from './delivery.ts';

export interface SagaWorkOptions {
  readonly model: Model;
  readonly logId: string;
  readonly store: SagaStore;
  /** `COMMAND_DATA_MAX_BYTES` and `COMMAND_MAX_DEPTH`. */
  readonly limits: { readonly dataMaxBytes: number; readonly maxDepth: number };
  /** This process carries out what its sagas send. */
  readonly direct: boolean;
  readonly logger: Logger;
}
/** Refusals that one look brings to their instances, about; also those that one read takes. */
const LOOK_MAX_COUNT = 500;
/** A look that meets nothing but instances at rest ends after so many full reads; the next one goes on there. */
const READS_MAX_COUNT = 10;
/** An instance that waits behind a dead letter rests for so long before it is tried again. */
const REST_MS = 5_000;
const RESTING_MAX_COUNT = 10_000;

/** What sagas need besides the log: their commands are carried out, their timers and refusals reach them. */
export class SagaWork {
  readonly #options: SagaWorkOptions;
  readonly #handlers = new Map<string, SagaHandler>();
  readonly #inHand = new Set<string>();
  /** By instance, until when. */
  readonly #resting = new Map<string, number>();
  /** Where the next look begins: in the nth saga, after this refusal. */
  #place: { readonly saga: number; readonly after: Untold | undefined } = { saga: 0, after: undefined };
  #delivery: Pick<Delivery, 'errand'> | undefined;
  #offer: (commands: readonly QueuedCommandDocument[]) => void = () => undefined;
  #noticed: (timesMs: readonly number[]) => void = () => undefined;

  constructor(options: SagaWorkOptions) {
    this.#options = options;
  }

  /** Who runs their partitions. */
  delivers(delivery: Pick<Delivery, 'errand'>): void {
    this.#delivery = delivery;
  }

  /** Who carries out what was just written. */
  offersTo(offer: (commands: readonly QueuedCommandDocument[]) => void): void {
    this.#offer = offer;
  }

  /** Who hears of timers that were just written, by their times in ms. */
  noticedBy(noticed: (timesMs: readonly number[]) => void): void {
    this.#noticed = noticed;
  }

  get generations(): readonly GenerationRef[] {
    return this.#options.model.consumers
      .filter(({ kind }) => kind === 'saga')
      .map(({ name, generation }) => ({ consumer: name, generation }));
  }

  handler(consumer: SagaModel): SagaHandler {
    const known = this.#handlers.get(consumer.name);
    if (known !== undefined) return known;
    const { model, logId, store, limits, direct } = this.#options;
    const created = new SagaHandler({ model, consumer, logId, store, direct, ...limits });
    this.#handlers.set(consumer.name, created);
    return created;
  }

  /** A transaction of partitions is written: what it queued begins at once, without the way over Redis. */
  written(side: SideWrites | undefined): void {
    if (side === undefined) return;
    const commands: QueuedCommandDocument[] = [];
    const timesMs: number[] = [];
    for (const [collection, operations] of side) {
      if (collection !== 'queued_commands' && collection !== 'timers') continue;
      for (const operation of operations.values()) {
        if (operation.kind !== 'put') continue;
        // Sagas put these, as SagaHandler makes them.
        if (collection === 'timers')
          timesMs.push((operation.document as { readonly dueAt?: Date }).dueAt?.getTime() ?? 0);
        else commands.push(operation.document as QueuedCommandDocument);
      }
    }
    if (commands.length > 0) this.#offer(commands);
    if (timesMs.length > 0) this.#noticed(timesMs);
  }

  /** Brings a due timer to its instance. True when it is done with. */
  async due({ consumer }: GenerationRef, { partition, key, name, dueAt, lateMs }: DueTimer): Promise<boolean> {
    const handler = this.#handlers.get(consumer);
    if (handler === undefined || this.#delivery === undefined) return false;
    const errand = timerErrand(handler, { key, name, dueAt, lateMs });
    return (await this.#delivery.errand(consumer, partition, errand)) !== 'paused';
  }

  /** Brings the refusal of a command to the instance that sent it. Never throws: the look finds what was not told. */
  async refused({
    _id,
    commandId,
    sender,
  }: Pick<QueuedCommandDocument, '_id' | 'commandId' | 'sender'>): Promise<void> {
    const handler = sender === undefined ? undefined : this.#handlers.get(sender.consumer);
    if (handler === undefined || sender === undefined || this.#delivery === undefined || this.#inHand.has(_id)) return;
    this.#inHand.add(_id);
    const { consumer, partition } = sender;
    try {
      const errand = refusalErrand(handler, this.#options.store, { sender, commandId });
      const end = await this.#delivery.errand(consumer, partition, errand);
      if (end === 'waits' || end === 'failed' || end === 'paused') this.#rest(instanceOf(sender));
    } catch (error) {
      const fields = { consumer, key: sender.key, commandId, error: String(error) };
      this.#options.logger.warn(fields, 'a saga could not be told of a refusal; it is told again');
    } finally {
      this.#inHand.delete(_id);
    }
  }

  /**
   * Tells refusals that nobody told: of processes that died, and of other processes without sagas. One look after the other passes
   * them all, however many wait behind dead letters.
   */
  async look(): Promise<void> {
    const nowMs = performance.now();
    for (const [instance, untilMs] of this.#resting) if (untilMs <= nowMs) this.#resting.delete(instance);
    const fresh: Untold[] = [];
    for (let reads = 0; reads < READS_MAX_COUNT && fresh.length < LOOK_MAX_COUNT; ) {
      const { saga, after } = this.#place;
      const of = this.generations[saga];
      if (of === undefined) {
        this.#place = { saga: 0, after: undefined };
        break;
      }
      const some = await this.#options.store.untold(of, after, LOOK_MAX_COUNT);
      const isFull = some.length === LOOK_MAX_COUNT;
      if (isFull) reads++;
      this.#place = isFull ? { saga, after: some.at(-1) } : { saga: saga + 1, after: undefined };
      fresh.push(...some.filter(({ sender }) => !this.#resting.has(instanceOf(sender))));
    }
    await Promise.all(fresh.map((one) => this.refused(one)));
  }

  #rest(instance: string): void {
    this.#resting.delete(instance);
    // It is tried again sooner.
    if (this.#resting.size >= RESTING_MAX_COUNT) this.#resting.delete(this.#resting.keys().next().value ?? '');
    this.#resting.set(instance, performance.now() + REST_MS);
  }
}

const instanceOf = ({ consumer, generation, key }: Untold['sender']): string => `${consumer}/${generation}/${key}`;
