import { setTimeout as pause } from 'node:timers/promises';
import { MillraceError } from '../../errors.ts';
import type { DeadLetterMatch, DeadLetterTotals } from '../../store/dead-letter-reads.ts';
import type { AuditDocument, DeadLetterDocument, OperationDocument } from '../../store/documents.ts';
import type { InstanceStore } from '../../store/instances.ts';
import type { LeaseStore } from '../../store/leases.ts';
import type { OperatorStore } from '../../store/operator-store.ts';
import { consumerId, type GenerationRef } from '../../store/partitions.ts';
import { auditEntry } from '../audit/audit-entry.ts';
import { checkCall, checkRate, operationMatch, RATE_DEFAULT } from '../audit/operator-input.ts';
import { written } from '../audit/written.ts';
import { newId } from '../concurrency/new-id.ts';
import { oneAtATime } from '../concurrency/one-at-a-time.ts';
import type { DeadLetterFilter, Operation, OperatorCall, Operators } from '../contract/operators.ts';
import { isLiving } from '../processes/membership.ts';
import { deadLetterOf, filterOf, operationOf } from './operator-reads.ts';

export type DeadLetterOperations = Pick<
  Operators,
  'retryDeadLetters' | 'skipDeadLetters' | 'skipDeadLetter' | 'stopOperation'
>;

/** How long who skips one waits for the worker that does it. */
const DONE_MAX_MS = 10_000;
const DONE_LOOK_MS = 50;

interface Deps {
  readonly logId: string;
  readonly store: OperatorStore;
  readonly leases: LeaseStore;
  readonly instances: Pick<InstanceStore, 'list'>;
}

/** Starts and stops operations over dead letters; workers do them (operation-runner.ts). */
export function createDeadLetterOperations(deps: Deps): DeadLetterOperations {
  const { logId, store } = deps;
  const start = async (
    kind: OperationDocument['kind'],
    filter: DeadLetterFilter,
    ratePerSecond: number | undefined,
    given: OperatorCall,
  ): Promise<Operation> => {
    const call = checkCall(given);
    const rate = checkRate(ratePerSecond);
    const match = operationMatch(filter);
    const single = match.ids?.length === 1;
    if (single) await refuseSingle(deps, kind, filter, match);
    const begin = async (): Promise<Operation> => {
      if (!single) await refuseOverlap(store, match);
      const totals = await store.deadLetters.totals(match);
      const { count: totalCount, generations: rest } = totals;
      const operation = newOperation({ logId, kind, filter, match, rate, call, totalCount, rest });
      await written(() => store.operations.start(operation, startEntry(operation, totals)));
      return operationOf(operation);
    };
    // One alone is safe beside others: whoever comes second finds it changed.
    if (single) return begin();
    // Two that overlap cannot both begin.
    const id = `${logId}/operations-start`;
    return oneAtATime(deps.leases, { id, who: 'Another operation is being started.' }, begin);
  };

  return {
    retryDeadLetters: (filter, ratePerSecond, call) => start('retryDeadLetters', filter, ratePerSecond, call),
    skipDeadLetters: (filter, ratePerSecond, call) => start('skipDeadLetters', filter, ratePerSecond, call),
    async skipDeadLetter(id, given, position) {
      const call = checkCall(given);
      const found = await store.deadLetters.find(id);
      if (found === undefined) throw unknownDeadLetter(id);
      if (position !== undefined && found.position !== position) throw movedOn(found, position);
      await refuseUnrun(deps, found);
      const ids = { ids: [id] };
      const match = operationMatch(ids);
      const made = newOperation({
        logId,
        kind: 'skipDeadLetters',
        filter: ids,
        match,
        rate: RATE_DEFAULT,
        call,
        totalCount: 1,
        rest: [{ consumer: found.consumer, generation: found.generation }],
      });
      // Its entry in the audit is written with what it does.
      await written(() => store.operations.start({ ...made, position: found.position }, undefined));
      const done = await untilOver(store, made._id);
      if (done.state === 'FAILED') throw unrun(found);
      const left = await store.deadLetters.find(id);
      if (done.doneCount === 0) throw left === undefined ? unknownDeadLetter(id) : movedOn(left, found.position);
      return left && deadLetterOf(left);
    },
    async stopOperation(id, given) {
      const call = checkCall(given);
      const before = await store.operations.find(id);
      if (before === undefined) throw unknownOperation(id);
      if (before.state !== 'RUNNING') return operationOf(before);
      const now = new Date();
      const audit = auditEntry(logId, call, {
        at: now,
        action: 'operation.stop',
        target: id,
        before: { state: before.state, doneCount: before.doneCount, totalCount: before.totalCount },
        after: { state: 'STOPPED' },
      });
      // Refused: it came to its end meanwhile.
      await written(() => store.operations.stop(id, now, audit), { refusedIsFine: true });
      const after = await store.operations.find(id);
      if (after === undefined) throw unknownOperation(id);
      return operationOf(after);
    },
  };
}

async function untilOver(store: OperatorStore, id: string): Promise<OperationDocument> {
  const deadlineMs = performance.now() + DONE_MAX_MS;
  for (;;) {
    const operation = await store.operations.find(id);
    if (operation === undefined) throw unknownOperation(id);
    if (operation.state !== 'RUNNING') return operation;
    if (performance.now() > deadlineMs) {
      throw new MillraceError(
        'OPERATION_RUNNING',
        `No worker has done it within ${DONE_MAX_MS} ms. Operation "${id}" stays and is done when one runs; stop it if it should not be.`,
        { details: { operation: id } },
      );
    }
    await pause(DONE_LOOK_MS);
  }
}

const startEntry = (operation: OperationDocument, totals: DeadLetterTotals): AuditDocument =>
  auditEntry(operation.logId, operation, {
    at: operation.startedAt,
    action: operation.kind === 'skipDeadLetters' ? 'deadLetters.skip' : 'deadLetters.retry',
    target: operation._id,
    before: { filter: operation.filter, ...totals },
    after: { operation: operation._id, ratePerSecond: operation.ratePerSecond },
  });

/** Who names one dead letter wants to know what is wrong with it. */
async function refuseSingle(
  deps: Deps,
  kind: OperationDocument['kind'],
  filter: DeadLetterFilter,
  match: DeadLetterMatch,
): Promise<void> {
  const { store } = deps;
  const id = filter.ids?.[0] ?? '';
  const found = await store.deadLetters.find(id);
  if (found === undefined) throw unknownDeadLetter(id);
  await refuseUnrun(deps, found);
  if (kind === 'retryDeadLetters') refuseBusy(found);
  const [matching] = await store.deadLetters.inOrderOfId(match, null, 1);
  if (matching === undefined) {
    throw new MillraceError('BAD_INPUT', `Dead letter "${id}" does not match the rest of the filter.`);
  }
}

/** Workers run, but none of them this consumer. Without any worker it waits for one. */
async function refuseUnrun({ logId, instances }: Deps, letter: DeadLetterDocument): Promise<void> {
  const living = (await instances.list()).filter(isLiving);
  const run = living.flatMap(({ consumers = [] }) => consumers).filter((id) => id.startsWith(`${logId}/`));
  if (run.length > 0 && !run.includes(consumerId(logId, letter))) throw unrun(letter);
}

const unrun = ({ _id, consumer, generation }: DeadLetterDocument): MillraceError =>
  new MillraceError(
    'CONSUMER_NOT_RUNNING',
    `Dead letter "${_id}" stays as it is: no process runs consumer "${consumer}" (generation ${generation}). Start a worker with that code; if no code has it any more, retire that generation.`,
    { details: { consumer, generation } },
  );

/** One whose next try is due is being tried, or about to be. */
function refuseBusy({ _id, state, nextAttemptAt, attempts }: DeadLetterDocument): void {
  if (state !== 'RETRYING' || nextAttemptAt === null || nextAttemptAt.getTime() > Date.now()) return;
  throw new MillraceError(
    'DEAD_LETTER_BUSY',
    `Dead letter "${_id}" is being tried right now (tries so far: ${attempts}). Look again in a second.`,
    { details: { id: _id, nextAttemptAt: nextAttemptAt.toISOString() } },
  );
}

const movedOn = ({ _id, position, inputType }: DeadLetterDocument, wanted: number): MillraceError =>
  new MillraceError(
    'DEAD_LETTER_BUSY',
    `Dead letter "${_id}" does not wait at position ${wanted} any more, but at ${position} (${inputType}). Look at it before you skip that.`,
    { details: { id: _id, position: String(position) } },
  );
export const unknownDeadLetter = (id: string): MillraceError =>
  new MillraceError(
    'UNKNOWN_DEAD_LETTER',
    `There is no dead letter "${id.slice(0, 100)}": it was healed or skipped, so its key flows again, or it never was.`,
  );
const unknownOperation = (id: string): MillraceError =>
  new MillraceError('UNKNOWN_OPERATION', `There is no operation "${id.slice(0, 100)}".`);

/** Two operators at once: the second one is told of the first. */
async function refuseOverlap(store: OperatorStore, match: DeadLetterMatch): Promise<void> {
  for (const other of await store.operations.running()) {
    const theirs = operationMatch(filterOf(other.filter));
    if (theirs.ids?.length === 1 || !mayOverlap(match, theirs)) continue;
    throw new MillraceError(
      'OPERATION_RUNNING',
      `Operation "${other._id}" is at work on dead letters that may be the same ones (${other.doneCount} of ${other.totalCount} so far, because: ${other.reason}). Wait for its end, or stop it.`,
      { details: { operation: other._id, doneCount: other.doneCount, totalCount: other.totalCount } },
    );
  }
}

const FIELDS = ['consumer', 'key', 'state', 'fingerprint', 'inputType', 'correlationId'] as const;

/** False only when no dead letter can match both. */
export function mayOverlap(one: DeadLetterMatch, other: DeadLetterMatch): boolean {
  const apart = FIELDS.some(
    (field) => one[field] !== undefined && other[field] !== undefined && one[field] !== other[field],
  );
  if (apart) return false;
  const { ids } = other;
  if (one.ids !== undefined && ids !== undefined && !one.ids.some((id) => ids.includes(id))) return false;
  const before = (until: Date | undefined, since: Date | undefined): boolean =>
    until !== undefined && since !== undefined && until <= since;
  return !before(one.until, other.since) && !before(other.until, one.since);
}

function newOperation(of: {
  readonly logId: string;
  readonly kind: OperationDocument['kind'];
  readonly filter: DeadLetterFilter;
  readonly match: DeadLetterMatch;
  readonly rate: number;
  readonly call: OperatorCall;
  readonly totalCount: number;
  readonly rest: readonly GenerationRef[];
}): OperationDocument {
  const now = new Date();
  const filter = Object.fromEntries(Object.entries(of.filter).filter(([, value]) => value != null));
  return {
    _id: newId(),
    logId: of.logId,
    kind: of.kind,
    state: of.totalCount === 0 ? 'DONE' : 'RUNNING',
    filter: of.match.state === undefined ? filter : { ...filter, state: of.match.state },
    ratePerSecond: of.rate,
    reason: of.call.reason,
    actor: of.call.actor,
    totalCount: of.totalCount,
    doneCount: 0,
    rest: of.rest,
    after: null,
    left: [],
    error: null,
    startedAt: now,
    updatedAt: now,
    finishedAt: of.totalCount === 0 ? now : null,
  };
}
