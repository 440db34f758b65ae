import { setTimeout as pause } from 'node:timers/promises';
import type { Model, ProjectorModel } from '../../define/model.ts';
import { DOCUMENT_ID_MAX_LENGTH, idProblem } from '../../define/stream-key.ts';
import type { View } from '../../define/view.ts';
import { isMillraceError, MillraceError } from '../../errors.ts';
import type { ViewDocument } from '../../store/documents.ts';
import type { ChangePlace, PartitionState, ViewBuild, ViewStore } from '../../store/view-documents.ts';
import { batchByKey, shareByKey } from '../concurrency/coalesce.ts';
import type { SortInput, ViewRecord } from '../contract/runtime.ts';
import { rebuilding } from './rebuilding.ts';
import { typeRank } from './scalar.ts';
import type { ServedViews } from './served-views.ts';
import { type CheckedFilter, filterKey } from './view-filter.ts';
import { planList, type ViewPlan } from './view-plan.ts';
import { createViewProgress, type ViewProgress } from './view-progress.ts';
import { countList, type ListKey, type ListSlice, readSlice } from './view-scan.ts';

/** One generation of a view as this process reads it. Who holds one goes on with that generation. */
export interface ViewHandle {
  readonly view: View;
  readonly build: ViewBuild;
  readonly progress: ViewProgress;
  /** False: of an older generation than this code's, which is read until the new one is built. */
  readonly isOwn: boolean;
  /** False: of a live view. Each read folds; everything else throws VIEW_NOT_STORED. */
  readonly isStored: boolean;
  /**
   * How a list of it is read. Throws like `planList`; VIEW_BEHIND with reason REBUILDING where only this code's own generation has the
   * index, as the reads of lists do.
   */
  plan(filter: CheckedFilter, sort?: readonly SortInput[]): ViewPlan;
  /** Document or tombstone; reads of one turn of the event loop share a round trip. */
  read(id: string): Promise<ViewDocument | undefined>;
  /** Part of a list; equal reads of one turn share a round trip. */
  readSlice(plan: ViewPlan, slice: ListSlice): Promise<readonly ViewDocument[]>;
  /** Documents of a list, counted up to `limit`; equal counts of one turn share a round trip. */
  count(plan: ViewPlan, limit: number): Promise<number>;
  /** Documents and tombstones that changed, see `changedSince`; equal reads of one turn share a round trip. */
  readChanges(places: readonly ChangePlace[], limit: number): Promise<readonly ViewDocument[]>;
}

export interface ViewHandles {
  /** The generation that is read now, or the live view. Throws UNKNOWN_VIEW. */
  get(name: string): ViewHandle;
  /** Undefined when this process has no such view. */
  of(name: string, generation: number): ViewHandle | undefined;
  /** Only of a generation that this process has read. */
  known(name: string, generation: number): ViewHandle | undefined;
}

export function createViewHandles(
  model: Model,
  store: ViewStore,
  served?: Pick<ServedViews, 'generationOf'>,
  live: ReadonlyMap<string, ViewHandle> = new Map(),
): ViewHandles {
  const handles = new Map<string, ViewHandle>();
  const known = (name: string, generation: number): ViewHandle | undefined => handles.get(`${name}/${generation}`);
  const of: ViewHandles['of'] = (name, generation) => {
    const found = known(name, generation);
    const consumer = model.projectorOf.get(name);
    if (found !== undefined || consumer === undefined) return found;
    const made = handleOf(store, readAs(consumer, generation), consumer);
    handles.set(`${name}/${generation}`, made);
    return made;
  };
  return {
    get(name) {
      const consumer = model.projectorOf.get(name);
      const stored = consumer && of(name, served?.generationOf(name) ?? consumer.generation);
      const handle = stored ?? live.get(name);
      if (handle !== undefined) return handle;
      throw new MillraceError('UNKNOWN_VIEW', `There is no view "${String(name).slice(0, 100)}".`);
    },
    of,
    known,
  };
}

/** The projector of a generation, as far as this code knows it. `exact`: it does; else it may route events in another way. */
function readAs(
  consumer: ProjectorModel,
  generation: number,
): { readonly consumer: ProjectorModel; readonly exact: boolean } {
  if (consumer.generation === generation) return { consumer, exact: true };
  if (consumer.previous?.generation === generation) return { consumer: consumer.previous, exact: true };
  return { consumer: { ...consumer, generation, version: generation }, exact: false };
}

function handleOf(
  store: ViewStore,
  { consumer, exact }: { readonly consumer: ProjectorModel; readonly exact: boolean },
  own: ProjectorModel,
): ViewHandle {
  const view = consumer.projector.into;
  const isOwn = consumer.generation === own.generation;
  // The cure that the error names is for the generation that this code builds.
  const indexLater = (error: unknown): unknown =>
    isOwn || !isMillraceError(error, 'INDEX_MISSING')
      ? error
      : rebuilding(
          `Generation ${consumer.generation} of view "${view.name}" lacks the index for this filter and sort`,
          error,
        );
  const withIndex = <T>(reading: Promise<T>): Promise<T> =>
    reading.catch((error: unknown) => Promise.reject(indexLater(error)));
  const build: ViewBuild = { view: view.name, generation: consumer.generation };
  const read = batchByKey<string, ViewDocument>(async (ids) => {
    const documents = await store.byIds(build, ids);
    return new Map(documents.map((document) => [document._id, document]));
  });
  const share = shareByKey<readonly ViewDocument[]>();
  const shareCount = shareByKey<number>();
  return {
    view,
    build,
    progress: createViewProgress(store, consumer, { exact }),
    isOwn,
    isStored: true,
    plan(filter, sort) {
      try {
        return planList(view, filter, sort);
      } catch (error) {
        // It throws here, too, where no version has the index.
        if (!isOwn) planList(own.projector.into, filter, sort);
        throw indexLater(error);
      }
    },
    read,
    readChanges: (places, limit) =>
      share(JSON.stringify([places.map(({ partition, revision, id }) => [partition, revision, id]), limit]), () =>
        store.changedSince(build, places, limit),
      ),
    readSlice: (plan, slice) => share(sliceKey(plan, slice), () => withIndex(readSlice(store, build, plan, slice))),
    count: (plan, limit) =>
      shareCount(JSON.stringify([filterKey(plan.filter), limit]), () =>
        withIndex(countList(store, build, plan, limit)),
      ),
  };
}

const LEVEL_MAX_MS = 5_000;
const LEVEL_LOOK_MS = 50;

/**
 * Resolves when one generation holds everything that a reader may have seen in the other, or after five seconds, or when neither can
 * be asked: a read that goes over then may see a little less than the one before it, and sees it all soon.
 */
export async function untilLevel(one: ViewProgress, other: ViewProgress): Promise<void> {
  const highest = (states: readonly PartitionState[]): number =>
    Math.max(0, ...states.map(({ checkpoint }) => checkpoint));
  const untilMs = Date.now() + LEVEL_MAX_MS;
  try {
    const seen = highest(await other.refresh());
    while (Date.now() < untilMs) {
      const states = await one.refresh();
      if (states.length > 0 && states.every(({ checkpoint }) => checkpoint >= seen)) return;
      await pause(LEVEL_LOOK_MS);
    }
  } catch {
    return;
  }
}

/** Equal slices have equal keys, others never. */
function sliceKey(plan: ViewPlan, { after, before, inclusive, turned, limit, keysOnly }: ListSlice): string {
  const tagged = (key: ListKey | undefined): unknown =>
    key?.map((value) => [typeRank(value), typeof value === 'number' ? String(value) : value]);
  return JSON.stringify([
    filterKey(plan.filter),
    plan.order,
    tagged(after),
    tagged(before),
    inclusive,
    turned,
    limit,
    keysOnly,
  ]);
}

const marks: ReadonlySet<string> = new Set([
  '_id',
  '_partition',
  '_revision',
  '_position',
  '_version',
  '_origins',
  '_deleted',
]);
/** The author's part of a document, as a new object. */
export function authorsPart(stored: ViewDocument): Record<string, unknown> {
  const part: Record<string, unknown> = {};
  for (const field in stored) if (!marks.has(field)) part[field] = stored[field];
  return part;
}

const records = new WeakMap<ViewDocument, ViewRecord>();

/** The author's part of a document. Many readers share it, so it is frozen (its own fields; not what they hold). */
export function toRecord(stored: ViewDocument): ViewRecord {
  const known = records.get(stored);
  if (known !== undefined) return known;
  const record: ViewRecord = {
    id: stored._id,
    version: stored._version,
    document: Object.freeze(authorsPart(stored)),
  };
  records.set(stored, record);
  return record;
}

/** Throws BAD_INPUT for what cannot be the id of a document. */
export function checkDocumentId(id: unknown): string {
  const problem = idProblem(id, DOCUMENT_ID_MAX_LENGTH);
  if (problem === undefined && typeof id === 'string') return id;
  throw new MillraceError('BAD_INPUT', `The id ${problem}.`, { details: { field: 'id' } });
}
