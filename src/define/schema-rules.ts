import { MillraceError } from '../errors.ts';
import { invalid } from './refuse.ts';
import { type JsonSchema, jsonSchemaOf, type Schema } from './schema.ts';

/** What schemas must be at start, whatever the compiler was told. */

/** Throws DEFINITION_INVALID when `schema` is no Standard Schema. */
export function checkStandard(schema: unknown, place: string): void {
  if ((typeof schema === 'object' || typeof schema === 'function') && schema !== null && '~standard' in schema) return;
  throw invalid(place, 'is no Standard Schema. Use a schema of zod, valibot or another library of that family.');
}

/**
 * A schema that data is stored by and read back through: JSON only, and it must accept its own output. Throws
 * SCHEMA_NOT_DERIVABLE or DEFINITION_INVALID. Returns the JSON Schema of its output.
 */
export function checkStored(schema: Schema, place: string): JsonSchema {
  checkStandard(schema, place);
  const output = jsonSchemaOf(schema, 'output', place);
  const input = jsonSchemaOf(schema, 'input', place);
  refuseBinary(output, place);
  if (fingerprint(input) === fingerprint(output)) return output;
  throw invalid(
    place,
    'puts out something else than it takes in, so it could not read back what it stored. Remove its transforms; a command or an upcast is the place for them.',
  );
}

/** A schema that takes what clients send; it may transform. Returns the JSON Schema of its input. */
export function checkInput(schema: Schema, place: string): JsonSchema {
  checkStandard(schema, place);
  const input = jsonSchemaOf(schema, 'input', place);
  refuseBinary(input, place);
  return input;
}

/**
 * The named fields of an object schema, or undefined when it is no object with fields known by name.
 * `$ref` at the root is followed.
 */
export function fieldsOf(schema: JsonSchema): ReadonlyMap<string, JsonSchema> | undefined {
  const root = resolve(schema, schema);
  if (root.type !== 'object' || !isRecord(root.properties)) return undefined;
  const open = root.additionalProperties;
  if (open === true || isRecord(open)) return undefined;
  return new Map(
    Object.entries(root.properties).map(([name, field]) => [name, isRecord(field) ? resolve(field, schema) : {}]),
  );
}

/** True when a field holds one string, number or boolean, or null: what an index, a filter and a sort can work with. */
export function isScalar(field: JsonSchema): boolean {
  const types = field.type;
  if (typeof types === 'string') return scalarTypes.has(types);
  if (Array.isArray(types)) return types.every((type) => scalarTypes.has(type));
  if ('const' in field) return typeof field.const !== 'object' || field.const === null;
  if (Array.isArray(field.enum)) return field.enum.every((value) => typeof value !== 'object' || value === null);
  const options = field.anyOf ?? field.oneOf;
  return Array.isArray(options) && options.every((option) => isRecord(option) && isScalar(option));
}
const scalarTypes: ReadonlySet<unknown> = new Set(['string', 'number', 'integer', 'boolean', 'null']);

const isRecord = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function resolve(schema: JsonSchema, root: JsonSchema): JsonSchema {
  let current = schema;
  // A chain of references longer than this is a circle.
  for (let step = 0; step < 16; step++) {
    const ref = current.$ref;
    if (typeof ref !== 'string') return current;
    let target: unknown = root;
    for (const part of ref.replace(/^#\/?/, '').split('/')) {
      if (part !== '') target = isRecord(target) ? target[part.replaceAll('~1', '/').replaceAll('~0', '~')] : undefined;
    }
    if (!isRecord(target)) return current;
    current = target;
  }
  return current;
}

/** zod describes a File as a string; JSON has no such thing. */
function refuseBinary(schema: unknown, place: string): void {
  if (!JSON.stringify(schema).includes('"contentEncoding":"binary"')) return;
  throw new MillraceError(
    'SCHEMA_NOT_DERIVABLE',
    `${place}: no JSON Schema can be derived (a File is not JSON). Store the file elsewhere and put its address here.`,
  );
}

/**
 * What two JSON Schemas must share to describe the same data. Defaults make a field optional on the way in and present
 * on the way out, and zod closes objects on the way out only: both are harmless, since output is accepted as input.
 */
function fingerprint(value: unknown): string {
  return JSON.stringify(value, (key, inner: unknown) => {
    if (key === 'required' && Array.isArray(inner)) return undefined;
    if (key === 'additionalProperties' && inner === false) return undefined;
    if (!isRecord(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
