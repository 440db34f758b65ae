import { MillraceError } from '../../errors.ts';
import type { ViewDocument } from '../../store/documents.ts';
import {
  type Edge,
  FIRST,
  type IndexKeys,
  type IndexScan,
  LAST,
  successor,
  type ViewBuild,
  type ViewStore,
} from '../../store/view-documents.ts';
import { compareValues, isScalar, type Scalar } from './scalar.ts';
import { type FieldConditions, matches, mongoFilter } from './view-filter.ts';
import type { IndexPlan, Order, ViewPlan } from './view-plan.ts';

/** A place in a list: the values of its order's fields; the last one is the id. */
export type ListKey = readonly Scalar[];

/** What to read of a list. `after` and `before` are exclusive unless `inclusive`; `turned` walks it from its end. */
export interface ListSlice {
  readonly inclusive?: boolean;
  readonly after?: ListKey | undefined;
  readonly before?: ListKey | undefined;
  readonly turned: boolean;
  readonly limit: number;
  /** Only what the list is sorted by and the marks of delivery: enough to know which documents there are. */
  readonly keysOnly?: boolean;
}

/** Reads a slice of a list by keyset: what it costs does not depend on how deep in the list it lies. */
export function readSlice(
  store: ViewStore,
  build: ViewBuild,
  plan: ViewPlan,
  slice: ListSlice,
): Promise<readonly ViewDocument[]> {
  return plan.kind === 'ids' ? readByIds(store, build, plan, slice) : readParts(store, build, plan, slice);
}

/** How many documents a list has, up to `limit`: so many keys of the index are walked, all parts together. */
export async function countList(store: ViewStore, build: ViewBuild, plan: ViewPlan, limit: number): Promise<number> {
  if (plan.kind === 'ids') {
    const all: ListSlice = { turned: false, limit };
    return (await readByIds(store, build, plan, all)).length;
  }
  return store.count(build, { index: plan.index, filter: mongoFilter(plan.filter), limit });
}

/** Where a document stands in a list. Throws BAD_INPUT when it is sorted by something that has no order. */
export function listKey(order: Order, document: ViewDocument): ListKey {
  return order.map(({ field }) => {
    const value: unknown = (Object.hasOwn(document, field) ? document[field] : null) ?? null;
    if (isScalar(value)) return value;
    throw new MillraceError('BAD_INPUT', `Lists cannot be sorted by "${field}": it holds lists or objects.`);
  });
}

/** Order of two places in a list. */
export function compareKeys(order: Order, a: ListKey, b: ListKey): number {
  for (const [place, { direction }] of order.entries()) {
    const difference = compareValues(a[place], b[place]) * direction;
    if (difference !== 0) return difference;
  }
  return 0;
}

async function readByIds(
  store: ViewStore,
  build: ViewBuild,
  plan: Extract<ViewPlan, { kind: 'ids' }>,
  { after, before, inclusive = false, turned, limit }: ListSlice,
): Promise<readonly ViewDocument[]> {
  const documents = plan.ids.length === 0 ? [] : await store.byIds(build, plan.ids);
  const sorted = documents
    .filter((document) => document._deleted === undefined && matches(plan.filter, document))
    .map((document) => ({ document, key: listKey(plan.order, document) }))
    .filter(({ key }) => after === undefined || compareKeys(plan.order, key, after) > (inclusive ? -1 : 0))
    .filter(({ key }) => before === undefined || compareKeys(plan.order, key, before) < (inclusive ? 1 : 0))
    .sort((a, b) => compareKeys(plan.order, a.key, b.key) * (turned ? -1 : 1));
  return sorted.slice(0, limit).map(({ document }) => document);
}

/** A part of the index while it is merged with the others. */
interface Part {
  from: readonly Edge[];
  to: readonly Edge[];
  buffer: readonly ViewDocument[];
  next: number;
  exhausted: boolean;
}

async function readParts(
  store: ViewStore,
  build: ViewBuild,
  plan: IndexPlan,
  slice: ListSlice,
): Promise<readonly ViewDocument[]> {
  const backward = plan.backward !== slice.turned;
  const parts = plan.parts.flatMap((fixed): Part[] => {
    const bounds = boundsOf(plan, fixed, slice);
    return bounds === undefined ? [] : [{ ...bounds, buffer: [], next: 0, exhausted: false }];
  });
  const chunk = parts.length < 2 ? slice.limit : Math.max(8, Math.ceil((2 * slice.limit) / parts.length));
  const filter = mongoFilter(plan.filter);
  const fields = slice.keysOnly === true ? plan.index.map(([field]) => field) : undefined;
  const fill = async (part: Part): Promise<void> => {
    const limit = Math.min(chunk, slice.limit);
    const { from, to } = part;
    // MongoDB refuses bounds with nothing between them.
    const empty = compareEdges(plan.index, from, to) >= 0;
    part.buffer = empty
      ? []
      : await store.scan(build, { index: plan.index, from, to, backward, filter, limit, fields });
    part.next = 0;
    part.exhausted = part.buffer.length < limit;
    const last = part.buffer.at(-1);
    if (last === undefined) return;
    const key = plan.index.map(([field]) => indexValue(last, field));
    if (backward) part.to = key;
    else part.from = [...key.slice(0, -1), successor(last._id)];
  };

  await Promise.all(parts.map(fill));
  if (parts.length === 1) return parts[0]?.buffer ?? [];
  const merged: ViewDocument[] = [];
  while (merged.length < slice.limit) {
    const part = leading(parts, plan.order, slice.turned);
    const document = part?.buffer[part.next];
    if (part === undefined || document === undefined) break;
    // A document with a list in a fixed field lies in several parts, at the same place.
    if (merged.at(-1)?._id !== document._id) merged.push(document);
    part.next++;
    if (part.next === part.buffer.length && !part.exhausted) await fill(part);
  }
  return merged;
}

function leading(parts: readonly Part[], order: Order, turned: boolean): Part | undefined {
  let best: { readonly part: Part; readonly key: ListKey } | undefined;
  for (const part of parts) {
    const document = part.buffer[part.next];
    if (document === undefined) continue;
    const key = listKey(order, document);
    if (best === undefined || compareKeys(order, key, best.key) * (turned ? -1 : 1) < 0) best = { part, key };
  }
  return best?.part;
}

function indexValue(document: ViewDocument, field: string): Scalar {
  const value: unknown = document[field] ?? null;
  if (isScalar(value)) return value;
  throw new MillraceError('BAD_INPUT', `Lists cannot be sorted by "${field}": it holds lists or objects.`);
}

/** Ends of one part of the index; undefined when nothing can lie between them. */
function boundsOf(
  plan: IndexPlan,
  fixed: readonly Scalar[],
  { after, before, inclusive = false }: ListSlice,
): Pick<IndexScan, 'from' | 'to'> | undefined {
  const open = plan.index.slice(fixed.length);
  let from: readonly Edge[] = [...fixed, ...rangeEdge(plan.range, open, 'from')];
  let to: readonly Edge[] = [...fixed, ...rangeEdge(plan.range, open, 'to')];
  // Walked backward, what comes after a key in the list comes before it in the index.
  const lower = plan.backward ? before : after;
  const upper = plan.backward ? after : before;
  if (lower !== undefined) from = later(plan.index, from, keyEdge(plan, fixed, lower, !inclusive));
  if (upper !== undefined) to = earlier(plan.index, to, keyEdge(plan, fixed, upper, inclusive));
  return compareEdges(plan.index, from, to) < 0 ? { from, to } : undefined;
}

/** Where the part begins or ends by the conditions on the field after the fixed ones. */
function rangeEdge(range: FieldConditions | undefined, open: IndexKeys, side: 'from' | 'to'): readonly Edge[] {
  const fill = (edge: Edge, count: number): readonly Edge[] => Array.from({ length: count }, () => edge);
  const outside = side === 'from' ? FIRST : LAST;
  const [, direction] = open[0] ?? ['_id', 1];
  if (range === undefined) return fill(outside, open.length);
  // In a descending index the values of a range come upside down.
  const low = (side === 'from') === (direction === 1);
  const inclusive = low ? range.gte : range.lte;
  const exclusive = low ? range.gt : range.lt;
  const value = inclusive ?? exclusive;
  if (value === undefined) {
    return [typeEnd(range.gt ?? range.gte ?? range.lt ?? range.lte, low), ...fill(outside, open.length - 1)];
  }
  const includes = inclusive !== undefined;
  if (open.length === 1) return [idEdge(value, (side === 'from') === includes)];
  return [value, ...fill((side === 'from') === includes ? FIRST : LAST, open.length - 1)];
}

/** `_id` is the last field and ascending: "from this one" and "up to before this one" are it, the others its successor. */
const idEdge = (value: Scalar, itself: boolean): Edge =>
  itself || typeof value !== 'string' ? value : successor(value);

/** Comparisons stay inside a type: a range that is open on one side ends where the type ends. */
function typeEnd(value: Scalar | undefined, low: boolean): Edge {
  if (typeof value === 'string') return low ? '' : {};
  if (typeof value === 'number') return low ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (typeof value === 'boolean') return !low;
  if (value instanceof Date) return new Date(low ? -8.64e15 : 8.64e15);
  return low ? FIRST : LAST;
}

/** The edge in this part at a place in the list, or just beyond it. */
function keyEdge(plan: IndexPlan, fixed: readonly Scalar[], key: ListKey, beyond: boolean): readonly Edge[] {
  const edges: Edge[] = [...fixed];
  for (const [place, { field, direction }] of plan.order.entries()) {
    const value = key[place] ?? null;
    const fixedPlace = plan.index.findIndex(([name]) => name === field);
    if (fixedPlace >= fixed.length) {
      edges.push(field === '_id' && beyond && typeof value === 'string' ? successor(value) : value);
      continue;
    }
    const difference = compareValues(fixed[fixedPlace], value) * direction * (plan.backward ? -1 : 1);
    // What this part has in common with the key so far lies wholly on one side of it.
    if (difference !== 0) {
      const filler = difference > 0 ? FIRST : LAST;
      while (edges.length < plan.index.length) edges.push(filler);
      return edges;
    }
  }
  return edges;
}

const later = (index: IndexKeys, a: readonly Edge[], b: readonly Edge[]): readonly Edge[] =>
  compareEdges(index, a, b) >= 0 ? a : b;
const earlier = (index: IndexKeys, a: readonly Edge[], b: readonly Edge[]): readonly Edge[] =>
  compareEdges(index, a, b) <= 0 ? a : b;

/** Order of two edges in an index. */
function compareEdges(index: IndexKeys, a: readonly Edge[], b: readonly Edge[]): number {
  for (const [place, [, direction]] of index.entries()) {
    const left = a[place];
    const right = b[place];
    if (left === right) continue;
    if (left === FIRST || right === LAST) return -1;
    if (left === LAST || right === FIRST) return 1;
    const difference = compareValues(left, right) * direction;
    if (difference !== 0) return difference;
  }
  return 0;
}
