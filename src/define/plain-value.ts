import type { Issue } from './schema.ts';

/** Deepest nesting of a plain value. */
const MAX_DEPTH = 32;
const MAX_ISSUES = 20;

/** A frozen deep copy, as it will be when it is read back from the database; or why there is none. */
export type PlainCopy =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly issues: readonly Issue[] };

/**
 * Copies what is stored: JSON values, and dates where `dates` allows them. Members that are `undefined` are left out. Anything
 * else (functions, Maps, instances of classes, NaN) would come back from the database as something different, or not at all: it is
 * refused with its path.
 */
export function plainCopy(value: unknown, options: { readonly dates?: boolean } = {}): PlainCopy {
  const issues: Issue[] = [];
  const path: (string | number)[] = [];
  const refuse = (message: string): null => {
    if (issues.length < MAX_ISSUES) issues.push({ path: [...path], message });
    return null;
  };
  const inside = <T>(step: string | number, run: () => T): T => {
    path.push(step);
    const result = run();
    path.pop();
    return result;
  };
  const copy = (part: unknown): unknown => {
    if (typeof part === 'string') return part.isWellFormed() ? part : refuse('must be well-formed Unicode');
    if (typeof part === 'boolean' || part === null) return part;
    if (typeof part === 'number') return Number.isFinite(part) ? part : refuse(`must be a finite number, is ${part}`);
    if (typeof part !== 'object') return refuse(`must be plain JSON, is ${typeof part}`);
    if (path.length >= MAX_DEPTH) return refuse(`is nested deeper than ${MAX_DEPTH} levels`);
    if (Array.isArray(part)) return Object.freeze(part.map((item, index) => inside(index, () => copy(item))));
    if (part instanceof Date && options.dates === true) {
      return Number.isNaN(part.getTime()) ? refuse('must be a valid date') : new Date(part);
    }
    return isPlainObject(part) ? record(part) : refuse(`must be plain JSON, is ${classOf(part)}`);
  };
  const record = (part: Readonly<Record<string, unknown>>): unknown => {
    const members: [string, unknown][] = [];
    for (const [name, member] of Object.entries(part)) {
      if (member === undefined) continue;
      const problem = nameProblem(name);
      members.push([name, inside(name, () => (problem === undefined ? copy(member) : refuse(problem)))]);
    }
    return Object.freeze(Object.fromEntries(members));
  };
  const copied = copy(value);
  return issues.length === 0 ? { ok: true, value: copied } : { ok: false, issues };
}

function isPlainObject(value: object): value is Readonly<Record<string, unknown>> {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

function classOf(value: object): string {
  const made: unknown = value.constructor;
  return typeof made === 'function' && made.name !== '' ? `a ${made.name}` : 'an object of a class';
}

/** Names that MongoDB or JavaScript would take for something of their own. */
function nameProblem(name: string): string | undefined {
  if (name === '__proto__' || name === '_bsontype') return `a field must not be named "${name}"`;
  if (name.startsWith('$')) return 'a field name must not begin with "$"';
  return name.includes('\u0000') ? 'a field name must not contain NUL' : undefined;
}
