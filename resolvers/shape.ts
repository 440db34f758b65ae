import type { JsonSchema } from '../src/index.ts';
import { isGraphqlName } from './names.ts';

/**
 * What GraphQL can say of a JSON Schema. Whatever it cannot say (unions, records, tuples, intersections of anything but
 * objects) is JSON: less is promised, nothing is refused.
 */
export type Shape = { readonly nullable: boolean; readonly description: string | undefined } & (
  | { readonly kind: 'scalar'; readonly scalar: DerivedScalar }
  | { readonly kind: 'enum'; readonly values: readonly string[]; readonly name: string | undefined }
  | { readonly kind: 'list'; readonly items: Shape }
  | ObjectShape
);
export interface ObjectShape {
  readonly kind: 'object';
  readonly nullable: boolean;
  readonly description: string | undefined;
  /** Name that the author gave the schema (`meta({ id })`), else undefined. */
  readonly name: string | undefined;
  /** Equal for schemas that describe the same data, whatever their descriptions say. */
  readonly fingerprint: string;
  /** The node of the JSON Schema: a schema that contains itself comes back to the same one. */
  readonly source: JsonSchema;
  /** Read late, because a schema may contain itself. */
  readonly fields: () => readonly FieldShape[];
}
export interface FieldShape {
  readonly name: string;
  readonly shape: Shape;
  readonly required: boolean;
}
export type DerivedScalar = 'ID' | 'String' | 'Int' | 'SafeInt' | 'Float' | 'Boolean' | 'DateTime' | 'JSON';

/** What a shape is for: the data of a command, the arguments of a query, or what comes out. */
export type ShapeUse = 'command' | 'query' | 'output';

interface Source {
  readonly root: JsonSchema;
  readonly use: ShapeUse;
}
const INT32_MAX = 2 ** 31 - 1;
const INT32_MIN = -(2 ** 31);

/** The shape of a whole JSON Schema document. */
export function shapeOf(root: JsonSchema, use: ShapeUse): Shape {
  return readNode(root, { root, use }, undefined, 0);
}

function readNode(node: unknown, source: Source, name: string | undefined, depth: number): Shape {
  if (!isRecord(node) || depth > 64) return scalar('JSON');
  const description = typeof node.description === 'string' ? node.description : undefined;
  const shape = readPlain(node, source, name ?? givenName(node), depth);
  return description === undefined ? shape : { ...shape, description };
}

function readPlain(
  node: JsonSchema,
  source: Source,
  name: string | undefined,
  depth: number,
  origin: JsonSchema = node,
): Shape {
  if (typeof node.$ref === 'string') {
    const target = follow(node.$ref, source.root);
    return target === undefined ? scalar('JSON') : readNode(target.node, source, target.name, depth + 1);
  }
  const variants = Array.isArray(node.anyOf) ? node.anyOf : Array.isArray(node.oneOf) ? node.oneOf : undefined;
  if (variants !== undefined) return readVariants(variants, source, name, depth);
  if (Array.isArray(node.allOf)) {
    return node.allOf.length === 1 ? readNode(node.allOf[0], source, name, depth + 1) : scalar('JSON');
  }
  if (Array.isArray(node.type)) {
    const types: readonly unknown[] = node.type.filter((type) => type !== 'null');
    const nullable = types.length < node.type.length;
    const values = Array.isArray(node.enum) ? { enum: node.enum.filter((value) => value !== null) } : {};
    const rest =
      types.length === 1 ? readPlain({ ...node, type: types[0], ...values }, source, name, depth, node) : undefined;
    return { ...(rest ?? scalar('JSON')), nullable };
  }
  if (Array.isArray(node.enum)) return readValues(node.enum, name);
  if ('const' in node) return readValues([node.const], name);
  return readType(node, source, name, depth, origin);
}

function readType(
  node: JsonSchema,
  source: Source,
  name: string | undefined,
  depth: number,
  origin: JsonSchema,
): Shape {
  switch (node.type) {
    case 'string':
      return scalar(node.format === 'date-time' ? 'DateTime' : 'String');
    case 'boolean':
      return scalar('Boolean');
    case 'number':
      return scalar('Float');
    case 'integer':
      return scalar(fitsInt(node, source.use) ? 'Int' : 'SafeInt');
    case 'array': {
      if (Array.isArray(node.prefixItems) || !isRecord(node.items)) return scalar('JSON');
      const items = readNode(node.items, source, undefined, depth + 1);
      return items.kind === 'list' ? scalar('JSON') : { kind: 'list', items, nullable: false, description: undefined };
    }
    case 'object':
      return readObject(node, source, name, origin);
    default:
      // No type means any value, null included.
      return { ...scalar('JSON'), nullable: true };
  }
}

function readObject(node: JsonSchema, source: Source, name: string | undefined, origin: JsonSchema): Shape {
  const { properties, additionalProperties: more } = node;
  const known = isRecord(properties) ? properties : {};
  // A record (keys chosen by the data) has no fields to name.
  const open = !isRecord(properties) || (more !== undefined && more !== false);
  if (Object.keys(known).length === 0 && open) return scalar('JSON');
  const required = new Set(Array.isArray(node.required) ? node.required : []);
  return {
    kind: 'object',
    nullable: false,
    description: undefined,
    name,
    fingerprint: fingerprintOf(node, source.root, []),
    source: origin,
    fields: () =>
      Object.entries(known).map(([field, member]) => ({
        name: field,
        shape: readNode(member, source, undefined, 0),
        required: required.has(field),
      })),
  };
}

function readVariants(variants: readonly unknown[], source: Source, name: string | undefined, depth: number): Shape {
  const rest = variants.filter((variant) => !(isRecord(variant) && variant.type === 'null'));
  const nullable = rest.length < variants.length;
  if (rest.length === 1) return { ...readNode(rest[0], source, name, depth + 1), nullable };
  const values = rest.flatMap((variant) =>
    !isRecord(variant) ? [undefined] : Array.isArray(variant.enum) ? variant.enum : [variant.const],
  );
  if (values.every((value) => typeof value === 'string')) return { ...readValues(values, name), nullable };
  const shapes = rest.map((variant) => readNode(variant, source, undefined, depth + 1));
  const scalars = new Set(shapes.map((shape) => (shape.kind === 'scalar' ? shape.scalar : 'JSON')));
  const [only] = scalars;
  const same = scalars.size === 1 && only !== undefined ? only : 'JSON';
  return { ...scalar(same), nullable: nullable || shapes.some((shape) => shape.nullable) };
}

function readValues(values: readonly unknown[], name: string | undefined): Shape {
  const given = values.filter((value) => value !== null);
  const nullable = given.length < values.length;
  const [first] = given;
  if (given.every((value): value is string => typeof value === 'string')) {
    if (given.length > 1 && given.every(isEnumValue)) {
      return { kind: 'enum', values: [...new Set(given)], name, nullable, description: undefined };
    }
    return { ...scalar('String'), nullable };
  }
  if (given.every((value) => typeof value === 'number')) return { ...scalar('Float'), nullable };
  if (given.every((value) => typeof value === 'boolean')) return { ...scalar('Boolean'), nullable };
  return { ...scalar('JSON'), nullable: nullable || first === undefined };
}

/**
 * GraphQL's Int holds 32 bits. An integer is an Int when its upper bound says that it fits; an argument may leave its
 * lower bound open, because nothing useful is below it. Any other integer is a SafeInt, and so is every integer of a
 * command: GraphQL refuses a wrong Int itself, but wrong money is data that the author's schema answers for.
 */
function fitsInt(node: JsonSchema, use: ShapeUse): boolean {
  if (use === 'command') return false;
  const upper = bound(node.maximum, node.exclusiveMaximum, Math.min);
  const lower = bound(node.minimum, node.exclusiveMinimum, Math.max);
  if (upper === undefined || upper > INT32_MAX) return false;
  const open = lower === undefined || lower <= Number.MIN_SAFE_INTEGER;
  return open ? use === 'query' : lower >= INT32_MIN;
}

function bound(inclusive: unknown, exclusive: unknown, pick: (...of: number[]) => number): number | undefined {
  const given = [inclusive, exclusive].filter((value) => typeof value === 'number');
  return given.length === 0 ? undefined : pick(...given);
}

/** Equal texts mean equal data: descriptions, titles and names of definitions are left out. */
function fingerprintOf(node: unknown, root: JsonSchema, above: readonly unknown[]): string {
  if (Array.isArray(node)) return `[${node.map((item) => fingerprintOf(item, root, above)).join(',')}]`;
  if (!isRecord(node)) return JSON.stringify(node) ?? 'null';
  if (typeof node.$ref === 'string') {
    const target = follow(node.$ref, root)?.node;
    const loop = above.indexOf(target);
    return loop >= 0 ? `"loop ${above.length - loop}"` : fingerprintOf(target, root, above);
  }
  const below = [...above, node];
  const parts = Object.keys(node)
    .filter((key) => !['$schema', '$defs', '$id', 'id', 'title', 'description', 'examples'].includes(key))
    .sort()
    .map((key) => `${JSON.stringify(key)}:${fingerprintMember(key, node[key], root, below)}`);
  return `{${parts.join(',')}}`;
}

function fingerprintMember(key: string, value: unknown, root: JsonSchema, above: readonly unknown[]): string {
  // Names of properties are the author's: "title" is a keyword in a schema and a field in `properties`.
  if (key !== 'properties' || !isRecord(value)) return fingerprintOf(value, root, above);
  const parts = Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${fingerprintOf(value[name], root, above)}`);
  return `{${parts.join(',')}}`;
}

function follow(
  ref: string,
  root: JsonSchema,
): { readonly node: unknown; readonly name: string | undefined } | undefined {
  if (ref === '#') return { node: root, name: givenName(root) };
  if (!ref.startsWith('#/')) return undefined;
  const steps = ref.slice(2).split('/');
  let node: unknown = root;
  for (const step of steps) {
    const key = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~');
    if (!isRecord(node) || !Object.hasOwn(node, key)) return undefined;
    node = node[key];
  }
  const last = steps.at(-1);
  // Generated names ("__schema0", "0") say nothing.
  return { node, name: last !== undefined && isGraphqlName(last) ? last : undefined };
}

function givenName(node: JsonSchema): string | undefined {
  return typeof node.id === 'string' && isGraphqlName(node.id) ? node.id : undefined;
}

const scalar = (name: DerivedScalar): Shape => ({
  kind: 'scalar',
  scalar: name,
  nullable: false,
  description: undefined,
});
const isEnumValue = (value: string): boolean => isGraphqlName(value) && !['true', 'false', 'null'].includes(value);
const isRecord = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
