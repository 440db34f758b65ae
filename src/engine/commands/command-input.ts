import { createHash } from 'node:crypto';
import type { Issue } from '../../define/schema.ts';

/** Deepest nesting of a command's data. */
export const DATA_MAX_DEPTH = 32;

/**
 * The raw input of a command as canonical JSON (object keys sorted), which is what idempotency compares. Refuses what is
 * not plain JSON and names that would bite later in MongoDB or JavaScript; `issues` then says where and why.
 */
export function canonicalInput(data: unknown): { readonly json: string; readonly issues: readonly Issue[] } {
  const issues: Issue[] = [];
  const path: (string | number)[] = [];
  const refuse = (message: string): string => {
    if (issues.length < 20) issues.push({ path: [...path], message });
    return 'null';
  };
  const write = (value: unknown): string => {
    switch (typeof value) {
      case 'string':
        return value.isWellFormed() ? JSON.stringify(value) : refuse('must be well-formed Unicode');
      case 'boolean':
        return value ? 'true' : 'false';
      case 'number':
        return Number.isFinite(value) ? JSON.stringify(value) : refuse(`must be a finite number, is ${value}`);
      case 'object':
        if (value === null) return 'null';
        if (path.length >= DATA_MAX_DEPTH) return refuse(`is nested deeper than ${DATA_MAX_DEPTH} levels`);
        if (Array.isArray(value)) return list(value);
        return isPlainObject(value)
          ? record(value)
          : refuse('must be plain JSON: an object, array, string, number, boolean or null');
      default:
        return refuse(`must be plain JSON, is ${typeof value}`);
    }
  };
  const list = (values: readonly unknown[]): string => {
    const parts = values.map((value, index) => {
      path.push(index);
      const part = write(value);
      path.pop();
      return part;
    });
    return `[${parts.join(',')}]`;
  };
  const record = (value: Readonly<Record<string, unknown>>): string => {
    let json = '';
    for (const key of Object.keys(value).sort()) {
      const member = value[key];
      if (member === undefined) continue;
      path.push(key);
      const problem = nameProblem(key);
      const part = problem === undefined ? write(member) : refuse(problem);
      path.pop();
      json += `${json === '' ? '' : ','}${JSON.stringify(key)}:${part}`;
    }
    return `{${json}}`;
  };
  return { json: write(data), issues };
}

function isPlainObject(value: object): value is Readonly<Record<string, unknown>> {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

function nameProblem(key: string): string | undefined {
  if (key === '__proto__') return 'a field must not be named "__proto__"';
  if (key.startsWith('$')) return 'a field name must not begin with "$"';
  // BSON takes such an object for one of its own types, and refuses it with everything that is sent beside it.
  if (key === '_bsontype') return 'a field must not be named "_bsontype"';
  if (key.includes('\u0000')) return 'a field name must not contain NUL';
  return undefined;
}

/** What two tries of one command must have in common: its type and its raw input. */
export function inputHash(type: string, json: string): string {
  return createHash('sha256').update(type).update('\n').update(json).digest('base64url');
}

/** Aggregate id for a creating command that came without one: the same for every try of the command. */
export function derivedId(tenant: string, aggregate: string, commandId: string): string {
  const hex = createHash('sha256')
    .update(JSON.stringify([tenant, aggregate, commandId]))
    .digest('hex');
  // The layout of a UUIDv8 (RFC 9562): 122 bits of our own.
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
