import { createHash } from 'node:crypto';
import type { AnyRecorded } from '../../define/event.ts';
import type { Model, SagaModel } from '../../define/model.ts';
import { consumerKeys } from '../../define/project.ts';
import { instancesOf, reactSaga, type SagaEffect, type SagaInput } from '../../define/react.ts';
import type { SagaTimer } from '../../define/saga-instance.ts';
import { type SagaTargets, targetsOf } from '../../define/saga-reaction.ts';
import { describeIssues } from '../../define/schema.ts';
import { MillraceError } from '../../errors.ts';
import type {
  DeadLetterDocument,
  QueuedCommandDocument,
  SagaKeyDocument,
  TimerDocument,
} from '../../store/documents.ts';
import { type SagaStore, sagaKeyId } from '../../store/sagas.ts';
import { SideWrites } from '../../store/side-writes.ts';
import { sagaTimerId } from '../../store/timers.ts';
import type { ViewBuild } from '../../store/view-documents.ts';
import { queuedCommand } from '../commands/queued-command.ts';
import type { ErrandDesk } from '../partitions/errand.ts';
import type { Effect, Handler, HandlerInput, KeyRoute, OtherInput } from '../partitions/handler.ts';
import { dueTimer, instanceOf, refusalInput, timerOf } from './saga-input.ts';

export interface SagaHandlerOptions {
  readonly model: Model;
  readonly consumer: SagaModel;
  readonly logId: string;
  /** Of one command. */
  readonly dataMaxBytes: number;
  /** Commands in a chain. */
  readonly maxDepth: number;
  /** This process carries out what its sagas send as soon as it is written. */
  readonly direct: boolean;
  readonly store: Pick<SagaStore, 'refusal' | 'keys'>;
}

/**
 * How sagas handle what they are given: the instance's next document, with its commands and timers to be written beside it. Pure
 * but for the time at which it says it was handled.
 */
export class SagaHandler implements Handler {
  readonly build: ViewBuild;
  readonly route: KeyRoute | undefined;
  readonly #options: SagaHandlerOptions;
  readonly #targets: SagaTargets;

  constructor(options: SagaHandlerOptions) {
    const { name, generation, saga } = options.consumer;
    this.#options = options;
    this.#targets = targetsOf(options.model);
    this.build = { kind: 'saga', view: name, generation };
    this.route = saga.manyKeys ? sagaRoute(options) : undefined;
  }

  handle(event: AnyRecorded, input: HandlerInput): Effect | undefined {
    const { consumer } = this.#options;
    // When it is tried again, its keys lead here already, unless there is no living instance to say so.
    const unsaid = consumer.saga.manyKeys && instanceOf(input.state)?.status !== 'ACTIVE';
    const keys = input.keys ?? (unsaid ? consumerKeys(consumer, event) : []);
    return this.#react({ kind: 'event', event }, input, keys);
  }

  /** Undefined: the input changes nothing. Throws what the author's handler throws, and what its answer is refused with. */
  react(input: SagaInput, { key, document, ref }: Pick<ErrandDesk, 'key' | 'document' | 'ref'>): Effect | undefined {
    return this.#react(input, { key, state: document, partition: ref.partition }, []);
  }

  retryInput(record: DeadLetterDocument): OtherInput {
    return record.input === 'timer' ? this.#timerAgain(record) : this.#refusalAgain(record);
  }

  /** The key flows again: timers that became due meanwhile ring once more. */
  released({ key, document, ref, side }: ErrandDesk): void {
    for (const timer of instanceOf(document)?.timers ?? []) {
      side.put('timers', this.#timerDocument(timer, key, ref.partition));
    }
  }

  /** The record of a timer of this saga; without it nothing rings. */
  timerId(key: string, name: string): string {
    const { logId, consumer } = this.#options;
    return sagaTimerId(logId, { consumer: consumer.name, generation: consumer.generation, key, name });
  }

  #timerAgain({ inputType }: DeadLetterDocument): OtherInput {
    return {
      run: (desk) => {
        const timer = timerOf(desk.document, inputType);
        const effect = timer && this.react(dueTimer(timer), desk);
        if (effect !== undefined) desk.apply(effect, { position: desk.checkpoint, commandId: '' });
      },
      skip: (desk) => {
        const instance = instanceOf(desk.document);
        if (instance === undefined) return;
        const timers = instance.timers.filter(({ name }) => name !== inputType);
        desk.apply({ next: { ...instance, timers } }, { position: desk.checkpoint, commandId: '' });
      },
    };
  }

  #refusalAgain({ eventId, consumer, generation, partition, key }: DeadLetterDocument): OtherInput {
    const commandId = eventId ?? '';
    let command: QueuedCommandDocument | undefined;
    const tell = (desk: ErrandDesk): void => {
      if (command !== undefined) desk.side.set('queued_commands', command._id, { tell: undefined });
    };
    return {
      load: async () => {
        command = await this.#options.store.refusal({ consumer, generation, partition, key }, commandId);
      },
      run: (desk) => {
        const effect = command && this.react(refusalInput(command), desk);
        if (effect !== undefined) desk.apply(effect, { position: desk.checkpoint, commandId });
        tell(desk);
      },
      skip: tell,
    };
  }

  #react(input: SagaInput, { key, state, partition }: HandlerInput, keys: readonly string[]): Effect | undefined {
    const { consumer, logId, dataMaxBytes, maxDepth } = this.#options;
    const effect = reactSaga({
      saga: consumer,
      targets: this.#targets,
      id: key,
      keys: consumer.saga.manyKeys ? keys : [],
      instance: instanceOf(state),
      input,
      handledAt: new Date(),
      maxDepth,
      dataMaxBytes,
      newId: (purpose, inputId, index) =>
        deterministicId([logId, consumer.name, consumer.generation, key, inputId, purpose, index]),
    });
    if (effect === undefined) return undefined;
    return { next: { ...effect.instance }, side: this.#beside(effect, key, partition), leads: effect.newKeys };
  }

  #beside(effect: SagaEffect, key: string, partition: number): SideWrites {
    const { consumer, model, logId, dataMaxBytes, direct } = this.#options;
    const { name, generation } = consumer;
    const { instance, ends, newKeys } = effect;
    const side = new SideWrites();
    const sender = { consumer: name, generation, partition, key };
    for (const { aggregate, id, type, data, commandId, meta } of effect.commands) {
      const request = { aggregate, id, type, data, commandId, meta, sender, direct };
      const queued = queuedCommand({ model, logId, dataMaxBytes }, request);
      if ('kind' in queued) throw unqueueable(name, key, type, describeIssues(queued.issues));
      side.put('queued_commands', queued);
    }
    for (const gone of effect.timersGone) side.remove('timers', this.timerId(key, gone));
    for (const timer of effect.timers) side.put('timers', this.#timerDocument(timer, key, partition));
    // They go with it.
    const leads = ends ? instance.keys : newKeys;
    if (this.route !== undefined) side.merge(this.route.note(leads, key, partition, instance.expiresAt));
    return side;
  }

  #timerDocument({ name, dueAt, setAt, meta }: SagaTimer, key: string, partition: number): TimerDocument {
    const { logId, consumer } = this.#options;
    return {
      _id: this.timerId(key, name),
      logId,
      kind: 'saga',
      name,
      dueAt,
      setAt,
      correlationId: meta.correlationId,
      consumer: consumer.name,
      generation: consumer.generation,
      partition,
      key,
      causationId: meta.causationId,
      depth: meta.depth ?? 0,
    };
  }
}

/** Sagas with several correlation keys: where each leads is a record of its own. */
function sagaRoute({ consumer, logId, store }: SagaHandlerOptions): KeyRoute {
  const ref = { consumer: consumer.name, generation: consumer.generation };
  return {
    read: (keys) => store.keys(ref, keys),
    targets: instancesOf,
    note(keys, instance, partition, expiresAt) {
      const side = new SideWrites();
      for (const key of keys) {
        const leads = { _id: sagaKeyId(logId, ref, key), ...ref, partition, key, instance };
        const document: SagaKeyDocument = expiresAt === undefined ? leads : { ...leads, expiresAt };
        side.put('saga_keys', document);
      }
      return side;
    },
  };
}

/** The layout of a UUIDv8 (RFC 9562), from what names its purpose: the same whenever it is asked for again. */
function deterministicId(of: readonly (string | number)[]): string {
  const hex = createHash('sha256').update(JSON.stringify(of)).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

const unqueueable = (saga: string, key: string, type: string, why: string): MillraceError =>
  new MillraceError(
    'SAGA_COMMAND_INVALID',
    `Saga "${saga}", instance "${key}": the command "${type}" cannot be queued: ${why}. Nothing was written.`,
  );
