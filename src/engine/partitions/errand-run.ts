import { crashPoint } from '../../crash-points.ts';
import type { ConsumerModel } from '../../define/model.ts';
import { DocumentMissing } from '../../define/write-documents.ts';
import {
  type BlockedKey,
  type DeadLetterStore,
  deadLetterId,
  type LoadedDeadLetter,
} from '../../store/dead-letters.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { PartitionStore } from '../../store/partitions.ts';
import { SideWrites } from '../../store/side-writes.ts';
import type { TransactionEnd } from '../../store/transactions.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import { type Crashes, crashed, isCrashed, isSuspect } from './careful.ts';
import { type WrittenStep, writesOf } from './commit-pipeline.ts';
import { blockedKeyOf } from './dead-letter.ts';
import { ABSENT, documentOf, stateOf } from './document-cache.ts';
import type { Errand, WaitingEvent } from './errand.ts';
import { Desk } from './errand-desk.ts';
import type { Handler, OtherInput } from './handler.ts';
import type { PartitionHead } from './partition-head.ts';

/** An errand that waits for its turn, and who waits for it. */
export interface PendingErrand {
  readonly errand: Errand;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
  /** Runs, but nothing is written. */
  readonly dry: boolean;
  /** Transactions that were lost. */
  lostCount: number;
  /** What it did cannot be stored; it is told so when it runs again. */
  poison: unknown;
}

export interface ErrandRunOptions {
  readonly logId: string;
  readonly consumer: ConsumerModel;
  readonly handler: Handler;
  readonly store: Pick<PartitionStore, 'documents' | 'commit' | 'mark'>;
  readonly deadLetters: Pick<DeadLetterStore, 'byIds' | 'parked' | 'begin'>;
  /** Without it nothing is done with care. */
  readonly crashes?: (() => Crashes) | undefined;
  readonly decode: DecodeOnce;
}

/** What one errand is about, and everything that was read for it. */
interface Case {
  readonly pending: PendingErrand;
  readonly key: string;
  readonly id: string;
  readonly blocked: BlockedKey | undefined;
  loaded: LoadedDeadLetter | undefined;
  waiting: readonly WaitingEvent[];
  /** The failing input when it is no event. */
  otherInput: OtherInput | undefined;
}
export type Answer = () => void;
export interface ErrandsEnd {
  /** `nothing`: there was nothing to write. */
  readonly end: TransactionEnd | { readonly kind: 'nothing' };
  readonly written: WrittenStep | undefined;
  /** Tells those who wait; to be called unless the transaction was lost. */
  readonly answers: readonly Answer[];
  /** Dead ones that are no longer: their jobs may go. */
  readonly released: readonly { readonly id: string; readonly delivery: number }[];
}

/** Events that one transaction of errands handles. */
export const EVENTS_MAX_COUNT = 500;
const LARGE_COUNT = 50;

/** The next errands that can be done together: one a key, not more events than a transaction should handle. */
export function takeErrands(head: PartitionHead, logId: string, alone: boolean): readonly PendingErrand[] {
  const byId = new Map(Array.from(head.blocked.values(), (key) => [key._id, key]));
  const taken: PendingErrand[] = [];
  const ids = new Set<string>();
  let eventCount = 0;
  for (const pending of [...head.errands]) {
    if (taken.length > 0 && (alone || eventCount >= EVENTS_MAX_COUNT)) break;
    const { errand } = pending;
    const id = 'key' in errand.of ? deadLetterId(logId, head.ref, errand.of.key) : errand.of.deadLetter;
    if (ids.has(id)) continue;
    const count = 1 + (errand.waiting === true ? Math.min(EVENTS_MAX_COUNT, byId.get(id)?.parkedCount ?? 0) : 0);
    if (taken.length > 0 && eventCount + count > EVENTS_MAX_COUNT) continue;
    ids.add(id);
    eventCount += count;
    taken.push(pending);
  }
  const set = new Set(taken);
  head.errands.splice(0, head.errands.length, ...head.errands.filter((pending) => !set.has(pending)));
  return taken;
}

/** Runs errands on the tip of a partition that nobody else moves here, and writes what they did in one transaction. */
export async function runErrands(
  options: ErrandRunOptions,
  head: PartitionHead,
  errands: readonly PendingErrand[],
): Promise<ErrandsEnd> {
  const { tip } = head;
  if (tip === undefined) return { end: { kind: 'refused' }, written: undefined, answers: [], released: [] };
  // Errands may come by the thousand where no event does.
  head.documents.shrink(head.committedRevision);
  const answers: Answer[] = [];
  const cases = await readCases(options, head, errands, answers);
  const alone = errands.length === 1 ? cases[0] : undefined;
  const begun = await beginCarefully(options, head, alone);
  const revision = tip.revision + 1;
  const desks: Desk[] = [];
  for (const one of cases) {
    const { pending } = one;
    const input = {
      ...{ ...options, ref: head.ref, key: one.key, checkpoint: tip.checkpoint, paused: head.paused, revision },
      ...{ record: one.loaded?.record, waiting: one.waiting, poison: pending.poison, otherInput: one.otherInput },
      document: head.documents.get(one.key) ?? ABSENT,
      read: (id: string) => head.documents.get(id),
    };
    try {
      const { desk, result } = await runDesk(options, head, () => new Desk(input), pending.errand);
      answers.push(() => pending.resolve(result));
      if (!pending.dry && !desk.isEmpty) desks.push(desk);
    } catch (error) {
      answers.push(() => pending.reject(error));
    }
  }
  await endCarefully(options, head, alone);
  if (desks.length === 0) {
    if (begun !== undefined) await options.deadLetters.begin(begun, -1);
    return { end: { kind: 'nothing' }, written: undefined, answers, released: [] };
  }
  const done = await writeDesks(options, head, desks);
  if (begun !== undefined && done.end.kind !== 'committed') await options.deadLetters.begin(begun, -1);
  return { ...done, answers };
}

/** Runs an errand, again with an empty desk for each document that its handler asks for and that is not in memory. */
async function runDesk(options: ErrandRunOptions, head: PartitionHead, make: () => Desk, errand: Errand) {
  for (;;) {
    const desk = make();
    try {
      return { desk, result: errand.run(desk) };
    } catch (error) {
      if (!(error instanceof DocumentMissing)) throw error;
      await loadDocuments(options, head, [error.id]);
    }
  }
}

/**
 * What should have been done before a process died may be what killed it: counted before it begins. The id is that of a dead
 * letter whose count goes back when the outcome is lost.
 */
async function beginCarefully(
  { deadLetters, crashes, store }: ErrandRunOptions,
  head: PartitionHead,
  one: Case | undefined,
): Promise<string | undefined> {
  const record = one?.loaded?.record;
  if (one === undefined || crashes === undefined) return undefined;
  const { errand } = one.pending;
  const retried = errand.waiting === true && record !== undefined;
  const dueAt = retried ? (record.nextAttemptAt ?? record.lastFailedAt) : errand.dueAt?.();
  if (dueAt === undefined || !isSuspect(crashes(), Date.now() - dueAt.getTime())) return undefined;
  const position = markOf(one.id);
  const begunCount = retried ? (record.begun ?? 0) : head.mark?.position === position ? head.mark.count : 0;
  if (isCrashed(begunCount)) {
    one.pending.poison ??= crashed(retried ? `${record.inputType} at position ${record.position}` : `"${one.key}"`);
    return undefined;
  }
  if (!retried) {
    head.mark = { position, count: begunCount + 1 };
    await store.mark([{ ...head.ref, mark: head.mark }]);
    return undefined;
  }
  await deadLetters.begin(record._id, 1);
  return record._id;
}

/** Handlers of an errand without a record came back: its mark goes. */
async function endCarefully({ store }: ErrandRunOptions, head: PartitionHead, one: Case | undefined): Promise<void> {
  if (one === undefined || head.mark?.position !== markOf(one.id)) return;
  head.mark = undefined;
  await store.mark([{ ...head.ref, mark: undefined }]);
}

/** Tells a key's errand from events, whose positions are above 0. */
const markOf = (id: string): number => -1 - Number.parseInt(id.slice(0, 8), 16);

async function writeDesks(
  { store, handler }: ErrandRunOptions,
  head: PartitionHead,
  desks: readonly Desk[],
): Promise<Omit<ErrandsEnd, 'answers'>> {
  const from = head.tip ?? { checkpoint: 0, revision: 0 };
  const { partition } = head.ref;
  const { checkpoint } = from;
  const revision = from.revision + 1;
  const changed = desks.filter(({ documentChanged }) => documentChanged);
  const others = desks.flatMap((desk) => [...desk.others]);
  const written = [...changed.map(({ key, document }) => [key, document] as const), ...others];
  const documents = written.map(([key, document]) => documentOf(key, partition, document));
  const side = new SideWrites();
  for (const desk of desks) side.merge(desk.side);
  const blocked = new Map(head.blocked);
  for (const { before, record } of desks) {
    if (record !== undefined) blocked.set(record.key, blockedKeyOf(record));
    else if (before !== undefined) blocked.delete(before.key);
  }
  const blockedCount = blocked.size;
  const move = { ...head.ref, from, to: { checkpoint, revision }, failure: head.failure, blockedCount };
  crashPoint('before-errand');
  const end = await store.commit([move], writesOf([{ build: handler.build, documents }]), side);
  if (end.kind !== 'committed') return { end, written: undefined, released: [] };
  head.tip = move.to;
  head.committedRevision = revision;
  for (const [key, document] of written) head.documents.set(key, document);
  for (const { before, record } of desks) {
    if (before !== undefined) head.blocked.delete(before.key);
    if (record !== undefined) head.blocked.set(record.key, blockedKeyOf(record));
  }
  const deadLetters = desks.flatMap(({ before, record }) =>
    record !== undefined && (before === undefined || before.delivery !== record.delivery) ? [record] : [],
  );
  const released = desks.flatMap(({ before, record }) =>
    before?.state === 'DEAD' && before.delivery !== record?.delivery
      ? [{ id: before._id, delivery: before.delivery }]
      : [],
  );
  // What keys lead to is read again where it counts.
  head.leads.clear();
  const { build } = handler;
  const told = { build, partition, revision, checkpoint, documents, side, deadLetters, blockedCount };
  return { end, written: told, released };
}

/** Everything that the errands look at, in few reads for all of them. */
async function readCases(
  options: ErrandRunOptions,
  head: PartitionHead,
  errands: readonly PendingErrand[],
  answers: Answer[],
): Promise<readonly Case[]> {
  const byId = new Map(Array.from(head.blocked.values(), (key) => [key._id, key]));
  const cases = errands.map((pending): Case => {
    const { of } = pending.errand;
    const id = 'key' in of ? deadLetterId(options.logId, head.ref, of.key) : of.deadLetter;
    const blocked = byId.get(id);
    const key = 'key' in of ? of.key : (blocked?.key ?? '');
    return { pending, key, id, blocked, loaded: undefined, waiting: [], otherInput: undefined };
  });
  const failed = new Set<Case>();
  const load = async (one: Case, read: (() => Promise<void>) | undefined): Promise<void> => {
    try {
      await read?.();
    } catch (error) {
      failed.add(one);
      answers.push(() => one.pending.reject(error));
    }
  };
  const loads = cases.map((one) => load(one, one.pending.errand.load));
  await Promise.all([readDeadLetters(options, cases), readDocuments(options, head, cases), ...loads]);
  const inputs = cases.map((one) => {
    const { record } = one.loaded ?? {};
    if (record === undefined || record.input === 'event' || one.pending.errand.waiting !== true) return undefined;
    one.otherInput = options.handler.retryInput?.(record);
    return load(one, one.otherInput?.load);
  });
  await Promise.all(inputs);
  return cases.filter((one) => !failed.has(one));
}

async function readDeadLetters({ deadLetters, decode }: ErrandRunOptions, cases: readonly Case[]): Promise<void> {
  const blocked = cases.filter(({ blocked }) => blocked !== undefined);
  if (blocked.length === 0) return;
  const small: string[] = [];
  const large: string[] = [];
  for (const { pending, id, blocked: key } of blocked) {
    if (pending.errand.waiting !== true || key === undefined || key.parkedCount === 0) continue;
    (key.parkedCount > LARGE_COUNT ? large : small).push(id);
  }
  const [records, ...parked] = await Promise.all([
    deadLetters.byIds(
      blocked.map(({ id }) => id),
      { withEvents: blocked.some(({ pending }) => pending.errand.waiting === true) },
    ),
    small.length === 0 ? [] : deadLetters.parked(small, small.length * LARGE_COUNT),
    ...large.map((id) => deadLetters.parked([id], EVENTS_MAX_COUNT)),
  ]);
  const waiting = new Map<string, WaitingEvent[]>();
  for (const { deadLetter, position, event } of parked.flat()) {
    const known = waiting.get(deadLetter) ?? [];
    known.push(waitingEvent(decode, position, event));
    waiting.set(deadLetter, known);
  }
  const byId = new Map(records.map((loaded) => [loaded.record._id, loaded]));
  for (const one of blocked) {
    one.loaded = byId.get(one.id);
    if (one.loaded === undefined || one.pending.errand.waiting !== true) continue;
    const { record, event } = one.loaded;
    const failing = record.input === 'event' ? [waitingEvent(decode, record.position, event)] : [];
    one.waiting = [...failing, ...(waiting.get(one.id) ?? [])];
  }
}

function waitingEvent(decode: DecodeOnce, position: number, document: LogDocument | undefined): WaitingEvent {
  return {
    position,
    document,
    decode: () => {
      if (document === undefined) throw new Error(`The log has no event at position ${position}.`);
      const decoded = decode(document);
      if (decoded.ok) return decoded.event;
      throw decoded.error;
    },
  };
}

function readDocuments(options: ErrandRunOptions, head: PartitionHead, cases: readonly Case[]): Promise<void> {
  const keys = cases.flatMap(({ key }) => (key !== '' && head.documents.get(key) === undefined ? [key] : []));
  return loadDocuments(options, head, keys);
}

async function loadDocuments(
  { store, handler }: ErrandRunOptions,
  head: PartitionHead,
  missing: readonly string[],
): Promise<void> {
  if (missing.length === 0) return;
  const found = handler.build === undefined ? [] : await store.documents(handler.build, missing);
  const states = new Map(found.map((document) => [document._id, stateOf(document)]));
  for (const key of missing) head.documents.set(key, states.get(key) ?? ABSENT);
}
