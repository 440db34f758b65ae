import { MillraceError } from '../../errors.ts';
import type { ViewDocument } from '../../store/documents.ts';
import type { FilterInput } from '../contract/runtime.ts';
import { compareValues, isScalar, type Scalar, scalarProblem, typeRank } from './scalar.ts';

export type Operator = 'eq' | 'in' | 'gt' | 'gte' | 'lt' | 'lte';
const operators: ReadonlySet<string> = new Set<Operator>(['eq', 'in', 'gt', 'gte', 'lt', 'lte']);
const ranging: ReadonlySet<string> = new Set<Operator>(['gt', 'gte', 'lt', 'lte']);
export const isOperator = (name: string): name is Operator => operators.has(name);

/** Most values of one `in`. */
export const IN_MAX_COUNT = 1_000;

/** Conditions on one field; all of them hold at once. */
export interface FieldConditions {
  /** As stored: `id` is `_id`. */
  readonly field: string;
  readonly eq?: Scalar;
  readonly in?: readonly Scalar[];
  readonly gt?: Scalar;
  readonly gte?: Scalar;
  readonly lt?: Scalar;
  readonly lte?: Scalar;
}
export type CheckedFilter = readonly FieldConditions[];

/**
 * Checks types of names and values, so that nothing in a filter can be read as an operator of MongoDB. Whether an index
 * serves it is for the plan. Throws BAD_INPUT.
 */
export function checkFilter(filter: FilterInput | undefined): CheckedFilter {
  const checked: FieldConditions[] = [];
  for (const [name, conditions] of filter ?? []) {
    const entries = [...conditions].map(([operator, value]) => checkCondition(name, operator, value));
    const field = storedField(name);
    // Mostly a variable that was not given. Passing it over would widen the answer to everything, in silence.
    if (entries.length === 0) {
      throw new MillraceError('BAD_INPUT', `Filter on "${name}": no operator is given. Give it one, or leave it out.`, {
        details: { field: name },
      });
    }
    const ranks = new Set(entries.filter(([operator]) => ranging.has(operator)).map(([, value]) => typeRank(value)));
    if (ranks.size > 1) throw new MillraceError('BAD_INPUT', `Filter on "${name}": a range needs values of one type.`);
    checked.push({ field, ...Object.fromEntries(entries) });
  }
  return checked.sort((a, b) => (a.field < b.field ? -1 : 1));
}

/** Name of a field in MongoDB. Throws BAD_INPUT for a name that no author's field can have. */
export function storedField(name: unknown): string {
  if (name === 'id') return '_id';
  if (typeof name !== 'string' || !/^[^_$.\p{Cc}][^.\p{Cc}]{0,127}$/u.test(name)) {
    throw new MillraceError('BAD_INPUT', `${JSON.stringify(String(name)).slice(0, 100)} is not a field of this view.`);
  }
  return name;
}

function checkCondition(name: string, operator: string, value: unknown): [Operator, Scalar | readonly Scalar[]] {
  const bad = (problem: string): MillraceError =>
    new MillraceError('BAD_INPUT', `Filter on "${name}": ${problem}.`, { details: { field: name, operator } });
  if (!isOperator(operator)) throw bad(`"${String(operator).slice(0, 40)}" is not an operator`);
  if (operator === 'in') {
    if (!Array.isArray(value)) throw bad('"in" needs a list');
    if (value.length > IN_MAX_COUNT) throw bad(`"in" takes at most ${IN_MAX_COUNT} values, got ${value.length}`);
    return [operator, value.map((item) => checkValue(item, operator, bad))];
  }
  if (operator !== 'eq' && value === null) throw bad(`"${operator}" cannot compare with null`);
  return [operator, checkValue(value, operator, bad)];
}

function checkValue(value: unknown, operator: string, bad: (problem: string) => MillraceError): Scalar {
  const problem = scalarProblem(value);
  if (problem !== undefined || !isScalar(value)) throw bad(`the value of "${operator}" ${problem ?? 'is no scalar'}`);
  return value;
}

/** The same conditions for MongoDB; every value stands behind an operator. */
export function mongoFilter(filter: CheckedFilter): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    filter.map(({ field, ...conditions }) => [
      field,
      Object.fromEntries(Object.entries(conditions).map(([operator, value]) => [`$${operator}`, value])),
    ]),
  );
}

/** Equal filters have equal keys. */
export function filterKey(filter: CheckedFilter): string {
  const tagged = filter.map(({ field, ...conditions }) => [
    field,
    Object.entries(conditions)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([operator, value]) => [operator, ...(Array.isArray(value) ? value : [value]).map((v) => [typeRank(v), v])]),
  ]);
  return JSON.stringify(tagged);
}

type Test = (value: unknown) => boolean;
const compiled = new WeakMap<CheckedFilter, (document: ViewDocument) => boolean>();

/**
 * Whether a document (no tombstone) matches, exactly as MongoDB would decide: an array matches when one of its elements
 * does, `null` stands for a missing field too, and values of different types are never less or greater. What it costs does
 * not grow with the values of an `in`.
 */
export function matches(filter: CheckedFilter, document: ViewDocument): boolean {
  const known = compiled.get(filter) ?? compile(filter);
  compiled.set(filter, known);
  return known(document);
}

function compile(filter: CheckedFilter): (document: ViewDocument) => boolean {
  const fields = filter.map(({ field, ...conditions }) => ({
    field,
    tests: Object.entries(conditions).map(([operator, operand]) => testOf(operator as Operator, operand)),
  }));
  return (document) =>
    fields.every(({ field, tests }) => {
      const value: unknown = Object.hasOwn(document, field) ? document[field] : undefined;
      if (!Array.isArray(value)) return tests.every((test) => test(value));
      return tests.every((test) => value.some(test));
    });
}

function testOf(operator: Operator, operand: Scalar | readonly Scalar[]): Test {
  if (operator !== 'in') return (value) => compares(value, operator, operand);
  const sets = new Map<number, Set<unknown>>();
  for (const one of Array.isArray(operand) ? operand : []) {
    const rank = typeRank(one);
    sets.set(rank, (sets.get(rank) ?? new Set()).add(plain(one)));
  }
  return (value) => sets.get(typeRank(value))?.has(plain(value)) === true;
}

/** Equal values of one type as the same value of JavaScript. No operand is NaN. */
const plain = (value: unknown): unknown => (value instanceof Date ? value.getTime() : (value ?? null));

function compares(value: unknown, operator: Exclude<Operator, 'in'>, operand: unknown): boolean {
  if (typeRank(value) !== typeRank(operand)) return false;
  if (typeof value === 'number' && Number.isNaN(value)) return false;
  const order = compareValues(value, operand);
  switch (operator) {
    case 'eq':
      return order === 0;
    case 'gt':
      return order > 0;
    case 'gte':
      return order >= 0;
    case 'lt':
      return order < 0;
    case 'lte':
      return order <= 0;
  }
}
