import type { SagaInput } from '../../define/react.ts';
import type { SagaInstance, SagaTimer } from '../../define/saga-instance.ts';
import type { QueuedCommandDocument } from '../../store/documents.ts';
import type { DocumentState } from '../partitions/document-cache.ts';

/** The instance in a document; undefined while there is none. */
export function instanceOf({ author }: Pick<DocumentState, 'author'>): SagaInstance | undefined {
  // The collection of a saga holds nothing but what its handler made.
  return author as SagaInstance | undefined;
}

export const timerOf = (document: DocumentState, name: string): SagaTimer | undefined =>
  instanceOf(document)?.timers.find((timer) => timer.name === name);

export const dueTimer = ({ name, dueAt }: SagaTimer, lateMs?: number): SagaInput => ({
  kind: 'timer',
  name,
  dueAt,
  lateMs,
});

export function refusalInput(command: QueuedCommandDocument): SagaInput {
  const { commandId, target: aggregate, id, type, data, refusal, meta, finishedAt, updatedAt } = command;
  const { code, reason } = refusal ?? { code: 'REFUSED', reason: '' };
  const rejection = { commandId, aggregate, id, type, data, code, reason };
  return { kind: 'refusal', rejection, at: finishedAt ?? updatedAt, meta };
}
