import type { Model } from '../define/model.ts';
import { DOCUMENT_ID_MAX_LENGTH, idProblem } from '../define/stream-key.ts';
import type { View } from '../define/view.ts';
import { MillraceError } from '../errors.ts';
import type { ViewDocument } from '../store/documents.ts';
import type { ViewBuild, ViewStore } from '../store/view-documents.ts';
import { batchByKey, shareByKey } from './coalesce.ts';
import type { ViewRecord } from './contract.ts';
import { typeRank } from './scalar.ts';
import { filterKey } from './view-filter.ts';
import type { ViewPlan } from './view-plan.ts';
import { createViewProgress, type ViewProgress } from './view-progress.ts';
import { countList, type ListKey, type ListSlice, readSlice } from './view-scan.ts';

/** A view as this process reads it: one a name. */
export interface ViewHandle {
  readonly view: View;
  readonly build: ViewBuild;
  readonly progress: ViewProgress;
  /** Document or tombstone; reads of one turn of the event loop share a round trip. */
  read(id: string): Promise<ViewDocument | undefined>;
  /** Part of a list; equal reads of one turn share a round trip. */
  readSlice(plan: ViewPlan, slice: ListSlice): Promise<readonly ViewDocument[]>;
  /** Documents of a list, counted up to `limit`; equal counts of one turn share a round trip. */
  count(plan: ViewPlan, limit: number): Promise<number>;
  /** Documents and tombstones of a partition that changed after a revision; equal reads of one turn share a round trip. */
  readChanges(
    partition: number,
    after: { readonly revision: number; readonly id?: string },
    limit: number,
  ): Promise<readonly ViewDocument[]>;
}

export interface ViewHandles {
  /** Throws UNKNOWN_VIEW. */
  get(name: string): ViewHandle;
  find(name: string): ViewHandle | undefined;
}

export function createViewHandles(model: Model, store: ViewStore): ViewHandles {
  const handles = new Map<string, ViewHandle>();
  for (const [name, consumer] of model.projectorOf) {
    const view = model.views.get(name);
    if (view === undefined) continue;
    const build: ViewBuild = { view: name, generation: consumer.generation };
    const read = batchByKey<string, ViewDocument>(async (ids) => {
      const documents = await store.byIds(build, ids);
      return new Map(documents.map((document) => [document._id, document]));
    });
    const share = shareByKey<readonly ViewDocument[]>();
    const shareCount = shareByKey<number>();
    handles.set(name, {
      view,
      build,
      progress: createViewProgress(store, consumer),
      read,
      readChanges: (partition, after, limit) =>
        share(JSON.stringify([partition, after.revision, after.id, limit]), () =>
          store.changedSince(build, partition, after, limit),
        ),
      readSlice: (plan, slice) => share(sliceKey(plan, slice), () => readSlice(store, build, plan, slice)),
      count: (plan, limit) =>
        shareCount(JSON.stringify([filterKey(plan.filter), limit]), () => countList(store, build, plan, limit)),
    });
  }
  return {
    get(name) {
      const handle = handles.get(name);
      if (handle !== undefined) return handle;
      throw new MillraceError('UNKNOWN_VIEW', `There is no view "${String(name).slice(0, 100)}".`);
    },
    find: (name) => handles.get(name),
  };
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
const records = new WeakMap<ViewDocument, ViewRecord>();

/** The author's part of a document. Many readers share it, so it is frozen (its own fields; not what they hold). */
export function toRecord(stored: ViewDocument): ViewRecord {
  const known = records.get(stored);
  if (known !== undefined) return known;
  const fields = Object.entries(stored).filter(([field]) => !marks.has(field));
  const record: ViewRecord = {
    id: stored._id,
    version: stored._version,
    document: Object.freeze(Object.fromEntries(fields)),
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
