/** What a filter, a sort key or a cursor may hold. */
export type Scalar = string | number | boolean | null | Date;

/** Longest string in a filter, in UTF-16 code units. */
export const SCALAR_MAX_LENGTH = 4_096;

export function isScalar(value: unknown): value is Scalar {
  return value === null || ['string', 'number', 'boolean'].includes(typeof value) || value instanceof Date;
}

/** Why a value cannot stand in a filter, or undefined when it can. */
export function scalarProblem(value: unknown): string | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : 'must be a finite number';
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'must be a valid date' : undefined;
  if (typeof value === 'string') {
    if (value.length > SCALAR_MAX_LENGTH) return `must not be longer than ${SCALAR_MAX_LENGTH} characters`;
    return value.isWellFormed() ? undefined : 'must be well-formed Unicode';
  }
  if (isScalar(value)) return undefined;
  return `must be a string, a number, a boolean, a date or null, is ${Array.isArray(value) ? 'a list' : `an ${typeof value}`}`;
}

/** Place of a value's type in MongoDB's order; comparisons never reach over types. */
export function typeRank(value: unknown): number {
  if (value === null || value === undefined) return 1;
  if (typeof value === 'number') return 2;
  if (typeof value === 'string') return 3;
  if (value instanceof Date) return 9;
  if (typeof value === 'boolean') return 8;
  return Array.isArray(value) ? 5 : 4;
}

/** MongoDB's order of values (scalars; objects and arrays by type only). */
export function compareValues(a: unknown, b: unknown): number {
  const rank = typeRank(a) - typeRank(b);
  if (rank !== 0) return rank;
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b);
  if (typeof a === 'number' && typeof b === 'number') return compareNumbers(a, b);
  if (typeof a === 'boolean' && typeof b === 'boolean') return Number(a) - Number(b);
  if (a instanceof Date && b instanceof Date) return a.getTime() - b.getTime();
  return 0;
}

/** NaN comes before every other number. */
function compareNumbers(a: number, b: number): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(b)) - Number(Number.isNaN(a));
  return a < b ? -1 : a > b ? 1 : 0;
}

/** By UTF-8 bytes, which is by code point; JavaScript's own order is by UTF-16 code unit and differs above U+D7FF. */
export function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let place = 0; place < length; place++) {
    const left = a.charCodeAt(place);
    const right = b.charCodeAt(place);
    if (left !== right) return codePointWeight(left) - codePointWeight(right);
  }
  return a.length - b.length;
}
/** Surrogates stand for code points above U+FFFF. */
const codePointWeight = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x1_0000 : unit);
