import type { View } from '../../define/view.ts';
import { MillraceError } from '../../errors.ts';
import { type IndexKeys, indexKeysOf } from '../../store/view-documents.ts';
import type { SortInput } from '../contract/runtime.ts';
import type { Scalar } from './scalar.ts';
import { type CheckedFilter, type FieldConditions, storedField } from './view-filter.ts';

export interface OrderField {
  /** As stored: `id` is `_id`. */
  readonly field: string;
  readonly direction: 1 | -1;
}

/**
 * How a list is read. `ids`: few documents, named by id, sorted here. `index`: parts of one index, one for each
 * combination of fixed values, walked and merged; nothing outside of the answer is read but for one document a part.
 */
export type ViewPlan =
  | { readonly kind: 'ids'; readonly ids: readonly string[]; readonly filter: CheckedFilter; readonly order: Order }
  | IndexPlan;
export interface IndexPlan {
  readonly kind: 'index';
  readonly index: IndexKeys;
  /** Values of the first fields of the index; one array a part. */
  readonly parts: readonly (readonly Scalar[])[];
  /** Conditions on the field that follows them, if there are any. */
  readonly range: FieldConditions | undefined;
  /** Whether a forward page walks the index backward. */
  readonly backward: boolean;
  readonly filter: CheckedFilter;
  readonly order: Order;
}
/** A total order: it ends with `_id`. */
export type Order = readonly OrderField[];

/** Most parts of an index in one list: the product of the sizes of all `in`. */
export const PARTS_MAX_COUNT = 100;

/**
 * Chooses the index that serves filter and sort: fields of `eq` and `in` first, then the sort, whose first field may
 * have a range. `id` always works. Without a sort: by id, or, where the filter has a range or the index more fields, in
 * the order of the index. Ties are broken by the rest of the index and at last by id, so the order is total.
 * Throws INDEX_MISSING naming the index to declare, or BAD_INPUT.
 */
export function planList(view: View, filter: CheckedFilter, sort: readonly SortInput[] = []): ViewPlan {
  const wanted = checkSort(sort);
  const ids = idsOf(filter);
  if (ids !== undefined) return { kind: 'ids', ids, filter, order: endWithId(wanted) };

  const fixed = filter.filter((one) => one.eq !== undefined || one.in !== undefined);
  const ranges = filter.filter((one) => !fixed.includes(one));
  const range = ranges[0];
  const free = wanted.filter((one) => !fixed.some(({ field }) => field === one.field));
  const suggestion = suggest(fixed, range, free);
  if (ranges.length > 1 || (range !== undefined && free[0] !== undefined && free[0].field !== range.field)) {
    throw unservable(view, ranges, free);
  }

  const indexes: readonly IndexKeys[] = [...view.indexes.map(indexKeysOf), [['_id', 1]]];
  const candidates = indexes.filter((index) => serves(index, fixed, range, free)).sort((a, b) => a.length - b.length);
  const index = candidates[0];
  if (index === undefined) {
    throw new MillraceError(
      'INDEX_MISSING',
      `View "${view.name}" has no index that serves this filter and sort. Add ${suggestion} to its \`indexes\`.`,
      { details: { view: view.name, index: suggestion } },
    );
  }
  return indexPlan(index, fixed, range, wanted, free, filter);
}

function checkSort(sort: readonly SortInput[]): Order {
  const order: OrderField[] = [];
  for (const { field: name, direction } of sort) {
    const field = storedField(name);
    if (direction !== 1 && direction !== -1)
      throw new MillraceError('BAD_INPUT', `Sort by "${name}": direction must be 1 or -1.`);
    if (order.some((one) => one.field === field)) throw new MillraceError('BAD_INPUT', `Sort names "${name}" twice.`);
    order.push({ field, direction });
    // Ids are unique: nothing after them can change the order.
    if (field === '_id') break;
  }
  return order;
}

const endWithId = (order: Order): Order =>
  order.at(-1)?.field === '_id' ? order : [...order, { field: '_id', direction: order.at(-1)?.direction ?? 1 }];

function idsOf(filter: CheckedFilter): readonly string[] | undefined {
  const onId = filter.find(({ field }) => field === '_id');
  const values = onId?.eq !== undefined ? [onId.eq] : onId?.in;
  if (values === undefined) return undefined;
  return [...new Set(values.filter((value) => typeof value === 'string'))];
}

/** Whether an index begins with the fixed fields, in any order, goes on with the sort, and has the range right there. */
function serves(index: IndexKeys, fixed: CheckedFilter, range: FieldConditions | undefined, free: Order): boolean {
  const head = index.slice(0, fixed.length);
  if (!fixed.every(({ field }) => head.some(([name]) => name === field))) return false;
  const rest = index.slice(fixed.length);
  if (range !== undefined && rest[0]?.[0] !== range.field) return false;
  const turn = turnOf(rest, free);
  return free.every(({ field, direction }, place) => {
    const [name, own] = rest[place] ?? [];
    return name === field && own === direction * turn;
  });
}

const turnOf = (rest: IndexKeys, free: Order): 1 | -1 =>
  free[0] === undefined || rest[0]?.[1] === free[0].direction ? 1 : -1;

function indexPlan(
  index: IndexKeys,
  fixed: CheckedFilter,
  range: FieldConditions | undefined,
  wanted: Order,
  free: Order,
  filter: CheckedFilter,
): IndexPlan {
  const rest = index.slice(fixed.length);
  const turn = turnOf(rest, free);
  const ties = rest.slice(free.length).map(([field, own]): OrderField => ({ field, direction: own === turn ? 1 : -1 }));
  const head = index.slice(0, fixed.length).map(([field]) => valuesOf(fixed, field));
  const count = head.reduce((product, values) => product * values.length, 1);
  if (count > PARTS_MAX_COUNT) {
    throw new MillraceError(
      'BAD_INPUT',
      `The filter's \`in\` lists make ${count} combinations; at most ${PARTS_MAX_COUNT} are served. Ask for fewer values.`,
    );
  }
  const parts = head.reduce<readonly (readonly Scalar[])[]>(
    (all, values) => all.flatMap((part) => values.map((value) => [...part, value])),
    [[]],
  );
  return { kind: 'index', index, parts, range, backward: turn === -1, filter, order: [...wanted, ...ties] };
}

function valuesOf(fixed: CheckedFilter, field: string): readonly Scalar[] {
  const one = fixed.find((conditions) => conditions.field === field);
  const values = one?.eq !== undefined ? [one.eq] : (one?.in ?? []);
  return [
    ...new Map(
      values.map((value) => [`${typeof value}${value instanceof Date ? value.getTime() : value}`, value]),
    ).values(),
  ];
}

function suggest(fixed: CheckedFilter, range: FieldConditions | undefined, free: Order): string {
  const fields = new Map<string, number>(fixed.map(({ field }) => [field, 1]));
  if (range !== undefined && free.length === 0) fields.set(range.field, 1);
  for (const { field, direction } of free) fields.set(field, direction);
  fields.delete('_id');
  return `{ ${[...fields].map(([field, direction]) => `${field}: ${direction}`).join(', ')} }`;
}

function unservable(view: View, ranges: CheckedFilter, free: Order): MillraceError {
  const names = ranges.map(({ field }) => (field === '_id' ? 'id' : field)).join('", "');
  const cause =
    ranges.length > 1
      ? `ranges on "${names}" at once cannot be served by one index; keep one of them`
      : `a range on "${names}" needs the sort to begin with it, not with "${free[0]?.field}"`;
  return new MillraceError('INDEX_MISSING', `View "${view.name}": ${cause}.`, { details: { view: view.name } });
}
