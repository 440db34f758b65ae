import { isDeepStrictEqual } from 'node:util';
import type { Model, ProjectorModel } from '../../define/model.ts';
import type { Projector } from '../../define/projector.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import type { ViewDocument } from '../../store/documents.ts';
import type { EventPages } from '../../store/event-pages.ts';
import type { ViewBuild } from '../../store/view-documents.ts';
import type { PastStore } from '../../store/view-past.ts';
import type { AsOf, FieldChange, HistoryStep, PastReads, PastRecord } from '../contract/past.ts';
import type { Page } from '../contract/runtime.ts';
import type { DecodeOnce } from '../log/decode-once.ts';
import { decodeRecordCursor, encodeRecordCursor } from '../views/cursor.ts';
import { type PastDocument, type PastStep, StepFailed, type StepsInput, stepsOf } from '../views/document-steps.ts';
import { LIVE_BASIS } from '../views/live-views.ts';
import { checkCount, PAGE_DEFAULT_COUNT } from '../views/page.ts';
import { checkDocumentId, type ViewHandles } from '../views/view-handles.ts';

export interface PastDeps {
  readonly model: Model;
  readonly logId: string;
  readonly views: ViewHandles;
  readonly pages: Pick<EventPages, 'end' | 'scan'>;
  readonly past: PastStore;
  readonly decode: DecodeOnce;
  /** Events that one question looks at. */
  readonly maxEvents: number;
}

export function createPastReads(deps: PastDeps): PastReads {
  return {
    async documentAsOf(view, id, given, options) {
      const asOf = checkAsOf(given);
      const subject = await subjectOf(deps, view, id, options?.signal);
      if ('version' in asOf) return asOfVersion(subject, asOf.version);
      if ('position' in asOf && asOf.position > subject.steps.end) {
        const { end } = subject.steps;
        throw notYet(`position ${asOf.position}`, `the log ends at ${end}`, { position: String(end) });
      }
      return 'position' in asOf ? asOfPosition(subject, asOf.position) : asOfTime(subject, asOf.time);
    },
    async documentHistory(view, id, page = {}) {
      const list = `history/${view}/${checkDocumentId(id)}`;
      const limit = checkCount('first', page.first ?? PAGE_DEFAULT_COUNT);
      const after = page.after == null ? 0 : Number(decodeRecordCursor(page.after, deps.logId, list, ['number'])[0]);
      const subject = await subjectOf(deps, view, id, page.signal);
      return historyPage(subject, { limit, after }, (position) => encodeRecordCursor(deps.logId, list, [position]));
    },
  };
}

/** One document, and how its steps are read. */
interface Subject {
  readonly id: string;
  readonly steps: StepsInput;
  /** Nothing is stored: its versions are its steps. */
  readonly isLive: boolean;
  /** As the view has it; tombstones too. */
  readonly stored: () => Promise<ViewDocument | undefined>;
}

async function subjectOf(deps: PastDeps, name: string, id: string, signal: AbortSignal | undefined): Promise<Subject> {
  const { model, pages, decode, maxEvents } = deps;
  const handle = deps.views.get(name);
  const key = checkDocumentId(id);
  const { consumer, projector } = projectorOf(model, handle.build);
  const { generation } = handle.build;
  const isLive = !handle.isStored;
  const [basis, end] = await Promise.all([
    isLive ? LIVE_BASIS : deps.past.basis({ consumer: consumer.name, generation }, key),
    pages.end(),
  ]);
  const steps = { model, consumer, projector, decode, pages, basis, key, end, maxEvents, signal };
  return { id: key, steps, isLive, stored: () => handle.read(key) };
}

/**
 * The projector of the generation that is read, and as the author wrote it. Where this code does not have that one any more, the newest:
 * nobody else can say what the events mean.
 */
function projectorOf(
  model: Model,
  { view, generation }: ViewBuild,
): { consumer: ProjectorModel; projector: Projector } {
  const newest = model.projectorOf.get(view) ?? model.liveProjectorOf.get(view);
  const isPrevious = newest?.previous?.generation === generation;
  const consumer = isPrevious ? newest.previous : newest;
  const parts = model.modules.flatMap((module) => module.parts);
  const part = parts.find((one) => one.kind === 'projector' && one.name === newest?.name);
  const projector = part?.kind !== 'projector' || !isPrevious ? part : part.previous;
  if (consumer === undefined || projector?.kind !== 'projector') {
    throw new MillraceError('INTERNAL', `View "${view}" has no projector.`);
  }
  if (projector.write === undefined) return { consumer, projector };
  throw new MillraceError(
    'BAD_INPUT',
    `View "${view}" has no past: custom projector "${consumer.name}" keeps it, and any event may have changed any document.`,
  );
}

async function asOfPosition(subject: Subject, position: number): Promise<PastRecord | undefined> {
  let last: PastStep | undefined;
  for await (const step of stepsOf({ ...subject.steps, end: position })) last = step;
  return recordOf(subject, last);
}

async function asOfTime(subject: Subject, time: Date): Promise<PastRecord | undefined> {
  let last: PastStep | undefined;
  for await (const step of stepsOf(subject.steps)) {
    if (step.event.at > time) break;
    last = step;
  }
  return recordOf(subject, last);
}

/** Folds as far as the view has come, since only there a version can be compared to a step. */
async function asOfVersion(subject: Subject, version: number): Promise<PastRecord | undefined> {
  const stored = await subject.stored();
  const current = stored?._version ?? 0;
  if (version > current) throw notYet(`version ${version}`, `the current version is ${current}`, { version: current });
  if (version === 0 || stored === undefined) return undefined;
  let found: PastStep | undefined;
  let count = 0;
  for await (const step of stepsOf({ ...subject.steps, end: stored._position })) {
    if (step.count === version) found = step;
    count = step.count;
  }
  const ahead = current - count;
  if (version <= ahead) {
    throw new MillraceError(
      'BAD_INPUT',
      `Version ${version} is from before the view was reset: it was built anew since then. The versions of this document that can be folded begin at ${ahead + 1}.`,
      { details: { field: 'asOf', first: ahead + 1, current } },
    );
  }
  if (ahead !== 0) {
    for await (const step of stepsOf({ ...subject.steps, end: stored._position })) {
      found = step;
      if (step.count === version - ahead) break;
    }
  }
  const record = recordOf(subject, found);
  return record && { ...record, version };
}

function recordOf(subject: Subject, step: PastStep | undefined): PastRecord | undefined {
  if (step?.after === undefined) return undefined;
  const version = isNumbered(subject, step) ? step.count : null;
  return { id: subject.id, version, document: step.after, position: step.event.position };
}

async function historyPage(
  subject: Subject,
  { limit, after }: { readonly limit: number; readonly after: number },
  cursorOf: (position: number) => string,
): Promise<Page<HistoryStep>> {
  const found: PastStep[] = [];
  let hasPreviousPage = false;
  let hasNextPage = false;
  try {
    for await (const step of stepsOf(subject.steps)) {
      if (step.event.position <= after) hasPreviousPage = true;
      else if (found.length < limit) found.push(step);
      else {
        hasNextPage = true;
        break;
      }
    }
  } catch (error) {
    // What comes before it is shown; the next page meets it.
    if (!isEndOfFold(error) || found.length === 0) throw error;
    hasNextPage = true;
  }
  const isCertain = found.every((step) => isNumbered(subject, step));
  const ahead = isCertain ? undefined : await numbersAhead(subject);
  const edges = found.map((step) => {
    const version = isNumbered(subject, step) ? step.count : step.count + (ahead ?? Number.NEGATIVE_INFINITY);
    return { cursor: cursorOf(step.event.position), node: historyStep(step, version > 0 ? version : null) };
  });
  const [startCursor, endCursor] = [edges[0]?.cursor ?? null, edges.at(-1)?.cursor ?? null];
  return { edges, pageInfo: { hasNextPage, hasPreviousPage, startCursor, endCursor } };
}

/** Versions count steps, except that a reset counts too, and that a removal is forgotten with its tombstone. */
const isNumbered = ({ steps, isLive }: Subject, step: PastStep): boolean =>
  isLive || (!steps.basis.wasReset && !step.isAfterRemoval);

/** How far the view's version is ahead of the number of steps; undefined: nobody can tell. */
async function numbersAhead({ steps, stored }: Subject): Promise<number | undefined> {
  const document = await stored();
  if (document === undefined) return undefined;
  let count = 0;
  try {
    for await (const step of stepsOf({ ...steps, end: document._position })) count = step.count;
  } catch (error) {
    if (isEndOfFold(error)) return undefined;
    throw error;
  }
  return document._version - count;
}

const isEndOfFold = (error: unknown): boolean =>
  error instanceof StepFailed || isMillraceError(error, 'HISTORY_TOO_LONG');

function historyStep({ event, before, after }: PastStep, version: number | null): HistoryStep {
  return { document: after ?? null, changes: changesOf(before ?? {}, after ?? {}), version, event };
}

function changesOf(before: PastDocument, after: PastDocument): readonly FieldChange[] {
  const fields = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...fields].flatMap((field) => {
    const [was, is] = [own(before, field), own(after, field)];
    return isDeepStrictEqual(was, is) ? [] : [{ field, before: was, after: is }];
  });
}

const own = (document: PastDocument, field: string): unknown =>
  Object.hasOwn(document, field) ? document[field] : undefined;

/** Throws BAD_INPUT. */
function checkAsOf(given: AsOf): AsOf {
  const entries = Object.entries(given ?? {}).filter(([, value]) => value !== undefined && value !== null);
  const [entry, ...more] = entries;
  if (entry === undefined || more.length > 0) throw badAsOf('say either a position, a time or a version');
  const [name, value] = entry;
  if (name === 'time') {
    if (!(value instanceof Date) || Number.isNaN(value.getTime())) throw badAsOf('`time` is no point in time');
    if (value.getTime() > Date.now()) throw notYet('that time', 'it is in the future', {});
    return { time: value };
  }
  if (!Number.isSafeInteger(value) || value < 0) throw badAsOf(`\`${name}\` must be a whole number from 0`);
  if (name === 'position') return { position: value };
  if (name === 'version') return { version: value };
  throw badAsOf(`there is no \`${name.slice(0, 40)}\``);
}

const badAsOf = (what: string): MillraceError =>
  new MillraceError('BAD_INPUT', `asOf: ${what}.`, { details: { field: 'asOf' } });
const notYet = (asked: string, is: string, details: Readonly<Record<string, unknown>>): MillraceError =>
  new MillraceError('BAD_INPUT', `asOf: nothing is known as of ${asked}: ${is}.`, {
    details: { field: 'asOf', ...details },
  });
