import type { AnyRecorded } from '../../define/event.ts';
import { parseStreamKey } from '../../define/stream-key.ts';
import type { AuditPlace } from '../../store/audit.ts';
import type { DeadLetterPlace } from '../../store/dead-letter-reads.ts';
import type { AuditDocument, DeadLetterDocument, LogDocument, OperationDocument } from '../../store/documents.ts';
import type { OperatorStore } from '../../store/operator-store.ts';
import { checkAuditFilter, checkDeadLetterFilter } from '../audit/operator-input.ts';
import { batchByKey } from '../concurrency/coalesce.ts';
import type { AuditEntry, DeadLetter, DeadLetterFilter, Operation, Operators } from '../contract/operators.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import { decodeRecordCursor, encodeRecordCursor } from '../views/cursor.ts';
import { readPage, readPageInput } from '../views/page.ts';

/** Groups are few when errors are alike; a list longer than this helps nobody. */
const GROUPS_MAX_COUNT = 100;

export type OperatorReads = Pick<
  Operators,
  | 'deadLetters'
  | 'deadLetter'
  | 'parkedEvents'
  | 'eventAt'
  | 'deadLetterGroups'
  | 'deadLetterCounts'
  | 'operation'
  | 'operations'
  | 'audit'
>;

/** What operators look at. */
export function createOperatorReads(deps: {
  readonly logId: string;
  readonly store: OperatorStore;
  readonly decode: DecodeOnce;
}): OperatorReads {
  const { logId, store, decode } = deps;
  const eventAt = batchByKey<number, AnyRecorded>(async (positions) => {
    const found = await store.deadLetters.events(positions);
    return new Map(found.map((document) => [document._id, readable(decode, document)]));
  });
  const letterPlace = (cursor: string): DeadLetterPlace => {
    const [at, id] = decodeRecordCursor(cursor, logId, 'deadLetters', ['number', 'string']);
    return { firstFailedAt: new Date(Number(at)), id: String(id) };
  };
  const auditPlace = (cursor: string): AuditPlace => {
    const [at, id] = decodeRecordCursor(cursor, logId, 'audit', ['number', 'string']);
    return { at: new Date(Number(at)), id: String(id) };
  };
  return {
    async deadLetters(filter, page) {
      const match = checkDeadLetterFilter(filter);
      return readPage(
        readPageInput(page, letterPlace),
        (slice) => store.deadLetters.scan(match, slice),
        (document) => ({
          cursor: encodeRecordCursor(logId, 'deadLetters', [document.firstFailedAt.getTime(), document._id]),
          node: deadLetterOf(document),
        }),
      );
    },
    async deadLetter(id) {
      const found = await store.deadLetters.find(id);
      return found && deadLetterOf(found);
    },
    parkedEvents: async (id, page) =>
      readPage(
        readPageInput(page, (cursor) => Number(decodeRecordCursor(cursor, logId, 'parked', ['number'])[0])),
        (slice) => store.deadLetters.parked(id, slice),
        ({ position }) => ({ cursor: encodeRecordCursor(logId, 'parked', [position]), node: { position } }),
      ),
    eventAt,
    async deadLetterGroups(filter) {
      const groups = await store.deadLetters.groups(checkDeadLetterFilter(filter), GROUPS_MAX_COUNT);
      return groups.map((group) => ({
        ...group,
        consumers: [...group.consumers].sort(),
        sample: deadLetterOf(group.sample),
      }));
    },
    async deadLetterCounts() {
      return (await store.deadLetters.counts()).map(({ consumer, retryingCount, deadCount, parkedCount }) => ({
        consumer,
        retryingCount,
        deadCount,
        parkedCount,
      }));
    },
    async operation(id) {
      const found = await store.operations.find(id);
      return found && operationOf(found);
    },
    operations: async (page) =>
      readPage(
        readPageInput(page, (cursor) => String(decodeRecordCursor(cursor, logId, 'operations', ['string'])[0])),
        (slice) => store.operations.scan(slice),
        (document) => ({
          cursor: encodeRecordCursor(logId, 'operations', [document._id]),
          node: operationOf(document),
        }),
      ),
    async audit(filter, page) {
      const match = checkAuditFilter(filter);
      return readPage(
        readPageInput(page, auditPlace),
        (slice) => store.audit.scan(match, slice),
        (document) => ({
          cursor: encodeRecordCursor(logId, 'audit', [document.at.getTime(), document._id]),
          node: auditEntryOf(document),
        }),
      );
    },
  };
}

export function deadLetterOf(document: DeadLetterDocument): DeadLetter {
  const { _id, logId: _logId, operation: _operation, ...rest } = document;
  return { id: _id, ...rest };
}

export function operationOf(document: OperationDocument): Operation {
  const {
    _id,
    logId: _logId,
    rest: _rest,
    after: _after,
    left: _left,
    position: _position,
    filter,
    ...shown
  } = document;
  return { id: _id, ...shown, filter: filterOf(filter) };
}

/** As the operation was given it: only this code writes it. */
export const filterOf = (stored: unknown): DeadLetterFilter =>
  typeof stored === 'object' && stored !== null ? stored : {};

const auditEntryOf = ({ _id, logId: _logId, ...rest }: AuditDocument): AuditEntry => ({ id: _id, ...rest });

/** Who looks for a cause needs the event most when today's code cannot read it. */
function readable(decode: DecodeOnce, document: LogDocument): AnyRecorded {
  const decoded = decode(document);
  if (decoded.ok) return decoded.event;
  const { _id: position, id, type, schemaVersion, data, stream, version, commandId, at, meta } = document;
  return {
    id,
    type,
    schemaVersion,
    data,
    position,
    stream: { ...parseStreamKey(stream), version },
    commandId,
    at,
    meta,
  };
}
