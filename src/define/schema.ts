import type { StandardJSONSchemaV1, StandardSchemaV1 } from '@standard-schema/spec';
import { MillraceError } from '../errors.ts';

/** Any schema of the Standard Schema family (zod, valibot, arktype, …). */
export type Schema = StandardSchemaV1;
export type SchemaInput<S> = S extends Schema ? StandardSchemaV1.InferInput<S> : never;
export type SchemaOutput<S> = S extends Schema ? StandardSchemaV1.InferOutput<S> : never;
export type SchemaMap = Readonly<Record<string, Schema>>;

/** One thing that is wrong with an input. `path` holds object keys and array indexes from the root. */
export interface Issue {
  readonly path: readonly (string | number)[];
  readonly message: string;
}
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly issues: readonly Issue[] };

/** A JSON Schema (draft 2020-12) as a plain object. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * Runs a schema. Schemas must be synchronous: a command is decided without waiting for anything but the store.
 * Throws DEFINITION_INVALID when a schema answers with a promise.
 */
export function parse<S extends Schema>(schema: S, value: unknown): Parsed<SchemaOutput<S>> {
  const result = schema['~standard'].validate(value);
  if (result instanceof Promise) {
    throw new MillraceError(
      'DEFINITION_INVALID',
      `A ${schema['~standard'].vendor} schema validates asynchronously. Remove async refinements and transforms; look things up in a service or a query instead.`,
    );
  }
  if (result.issues === undefined) return { ok: true, value: result.value as SchemaOutput<S> };
  return { ok: false, issues: result.issues.map(issueOf) };
}

function issueOf(issue: StandardSchemaV1.Issue): Issue {
  const path = (issue.path ?? []).map((part) => {
    const key = typeof part === 'object' ? part.key : part;
    return typeof key === 'number' ? key : String(key);
  });
  return { path, message: issue.message };
}

export function describeIssues(issues: readonly Issue[]): string {
  return issues
    .map((issue) => `${issue.path.length === 0 ? '(root)' : issue.path.join('.')}: ${issue.message}`)
    .join('; ');
}

/**
 * The JSON Schema of a schema's input or output, by Standard JSON Schema (zod ≥ 4.2 has it; for valibot wrap the schema
 * with `toStandardJsonSchema` of `@valibot/to-json-schema`). Throws SCHEMA_NOT_DERIVABLE naming `place` and the cure.
 */
export function jsonSchemaOf(schema: Schema, direction: 'input' | 'output', place: string): JsonSchema {
  const standard: Partial<StandardJSONSchemaV1.Props> & StandardSchemaV1.Props = schema['~standard'];
  if (standard.jsonSchema === undefined) {
    throw new MillraceError(
      'SCHEMA_NOT_DERIVABLE',
      `${place}: the ${standard.vendor} schema does not offer Standard JSON Schema. Use zod 4.2 or newer, or wrap a valibot schema with toStandardJsonSchema() of @valibot/to-json-schema.`,
    );
  }
  try {
    return standard.jsonSchema[direction]({ target: 'draft-2020-12' });
  } catch (cause) {
    throw new MillraceError(
      'SCHEMA_NOT_DERIVABLE',
      `${place}: no JSON Schema can be derived (${cause instanceof Error ? cause.message : String(cause)}). Use JSON types only; no transforms, dates, maps or functions.`,
      { cause },
    );
  }
}
