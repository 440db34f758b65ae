import type { Model, SagaModel } from '../../define/model.ts';
import type { SagaStep, SentRef } from '../../define/saga-instance.ts';
import { streamKey } from '../../define/stream-key.ts';
import { MillraceError } from '../../errors.ts';
import { type DeadLetterStore, deadLetterId } from '../../store/dead-letters.ts';
import type { DeadLetterDocument, SagaDocument } from '../../store/documents.ts';
import type { SagaPlace, SagaStore } from '../../store/sagas.ts';
import { queuedCommandId } from '../commands/queued-command.ts';
import { batchByKey } from '../concurrency/coalesce.ts';
import type { DeadLetter } from '../contract/operators.ts';
import type { SagaReads, SagaRecord, SagaSent, SagaTimelineStep } from '../contract/sagas.ts';
import { decodeRecordCursor, encodeRecordCursor } from '../views/cursor.ts';
import { readPage, readPageInput } from '../views/page.ts';

type KnownCommand = Awaited<ReturnType<SagaStore['commands']>>[number];

/** What people see of sagas and their instances. */
export function createSagaReads(deps: {
  readonly logId: string;
  readonly model: Pick<Model, 'consumers' | 'services'>;
  readonly sagas: Pick<SagaStore, 'instance' | 'keys' | 'list' | 'commands'>;
  readonly deadLetters: Pick<DeadLetterStore, 'byIds'>;
}): SagaReads {
  const { logId, model, sagas } = deps;
  const sagaNamed = (name: string): SagaModel => {
    const found = model.consumers.find((consumer) => consumer.name === name);
    if (found?.kind === 'saga') return found;
    const known = model.consumers.flatMap((one) => (one.kind === 'saga' ? [one.name] : []));
    throw new MillraceError(
      'UNKNOWN_CONSUMER',
      `There is no saga "${name.slice(0, 80)}". There are: ${known.join(', ') || 'none'}.`,
    );
  };
  const refOf = ({ name, generation }: SagaModel) => ({ consumer: name, generation });
  const commandOf = batchByKey<string, KnownCommand>(
    async (ids) => new Map((await sagas.commands(ids)).map((command) => [command._id, command])),
  );
  const deadLetterOf = batchByKey<string, DeadLetterDocument>(
    async (ids) => new Map((await deps.deadLetters.byIds(ids)).map(({ record }) => [record._id, record])),
  );
  const letterOf = (record: Pick<SagaRecord, 'saga' | 'generation' | 'id'>): Promise<DeadLetterDocument | undefined> =>
    deadLetterOf(deadLetterId(logId, { consumer: record.saga, generation: record.generation }, record.id));
  const sentOf = async (ref: SentRef, tenant: string): Promise<SagaSent> => {
    const { commandId, aggregate, type } = ref;
    // A command of a service has a stream of its own.
    const id = model.services.has(aggregate) ? commandId : ref.id;
    const known = await commandOf(queuedCommandId(streamKey({ tenant, aggregate, id }), commandId));
    const { state = null, attempts = 0, refusal = null, error = null } = known ?? {};
    return { commandId, aggregate, id, type, state, attempts, refusal, error };
  };
  const place = (cursor: string): SagaPlace => {
    const [at, id] = decodeRecordCursor(cursor, logId, 'sagas', ['number', 'string']);
    return { startedAt: new Date(Number(at)), id: String(id) };
  };
  return {
    async sagas({ saga: name, status, correlationId }, page) {
      const saga = sagaNamed(name);
      const filter = { status: status ?? undefined, correlationId: correlationId ?? undefined };
      return readPage(
        readPageInput(page, place),
        (slice) => sagas.list(refOf(saga), filter, slice),
        (document) => ({
          cursor: encodeRecordCursor(logId, 'sagas', [document.startedAt.getTime(), document._id]),
          node: recordOf(saga, document),
        }),
      );
    },
    async saga(name, key) {
      const saga = sagaNamed(name);
      const ref = refOf(saga);
      const id = saga.saga.manyKeys ? ((await sagas.keys(ref, [key])).get(key) ?? key) : key;
      const document = await sagas.instance(ref, id);
      if (document !== undefined) return recordOf(saga, document);
      const failed = await letterOf({ saga: name, generation: saga.generation, id });
      return failed && unborn(saga, failed);
    },
    async sagaTimeline(record) {
      const steps = record.steps.map(async (step): Promise<SagaTimelineStep> => {
        const sent = await Promise.all(step.sent.map((ref) => sentOf(ref, step.tenant)));
        return { ...withoutTenant(step), sent, error: null };
      });
      const [failed, ...done] = await Promise.all([letterOf(record), ...steps]);
      return failed === undefined ? done : [...done, failedStep(failed, record.stepCount + 1)];
    },
    async sagaDeadLetter(record): Promise<DeadLetter | undefined> {
      const found = await letterOf(record);
      if (found === undefined) return undefined;
      const { _id, logId: _logId, ...letter } = found;
      return { id: _id, ...letter };
    },
  };
}

function recordOf({ name, generation }: SagaModel, document: SagaDocument): SagaRecord {
  const { _id, status, state, keys, startedAt, updatedAt, endedAt, correlationId, stepCount, timers, timeline } =
    document;
  const facts = { status, state, keys, startedAt, updatedAt, endedAt, correlationId, stepCount };
  return {
    saga: name,
    generation,
    id: _id,
    ...facts,
    timers: timers.map(({ name: timer, dueAt, setAt }) => ({ name: timer, dueAt, setAt })),
    steps: timeline,
  };
}

/** Its first input failed: there is nothing of it but a dead letter. */
function unborn({ name, generation }: SagaModel, failed: DeadLetterDocument): SagaRecord {
  return {
    saga: name,
    generation,
    id: failed.key,
    status: 'ACTIVE',
    state: null,
    keys: [failed.key],
    startedAt: failed.firstFailedAt,
    updatedAt: failed.lastFailedAt,
    endedAt: null,
    correlationId: failed.correlationId,
    stepCount: 0,
    timers: [],
    steps: [],
  };
}

const withoutTenant = ({ tenant: _tenant, ...step }: SagaStep): Omit<SagaStep, 'tenant'> => step;

function failedStep(failed: DeadLetterDocument, number: number): SagaTimelineStep {
  const { input, inputType, firstFailedAt, lastFailedAt, position, eventId, error } = failed;
  return {
    number,
    kind: input,
    name: inputType,
    at: firstFailedAt,
    handledAt: lastFailedAt,
    position: input === 'event' ? position : null,
    causeId: eventId ?? '',
    lateMs: null,
    refusal: null,
    sent: [],
    sentCount: 0,
    timers: [],
    ended: false,
    error,
  };
}
