import type { ViewCheck } from './json.ts';
import type { Schema, SchemaOutput } from './schema.ts';

export interface IndexSpec {
  readonly [field: string]: 1 | -1;
}

/** A named read-model document. Lists filter and sort on declared indexes only (and on `id`, the document's key). */
export interface View<N extends string = string, S extends Schema = Schema> {
  readonly kind: 'view';
  readonly name: N;
  readonly schema: S;
  readonly indexes: readonly IndexSpec[];
  readonly description: string | undefined;
}
export type Doc<V> = V extends View<string, infer S> ? SchemaOutput<S> : never;
/** Fields that hold one value, so that an index, a filter and a sort can work with them. */
export type ScalarField<D> = {
  [F in keyof D & string]: [D[F]] extends [string | number | boolean | null | undefined] ? F : never;
}[keyof D & string];

/**
 * Declares a view. Its schema is an object of JSON fields whose names do not begin with `_` or `$`; the field `id`, where
 * there is one, is the document's key. An index names top-level fields with one value each (1 up, -1 down); the id
 * needs no index. Checked at start: DEFINITION_INVALID or SCHEMA_NOT_DERIVABLE.
 */
export function view<const N extends string, S extends Schema>(
  name: N,
  schema: S & ViewCheck<S>,
  options: {
    readonly indexes?: readonly { readonly [F in ScalarField<SchemaOutput<S>>]?: 1 | -1 }[];
    readonly description?: string;
  } = {},
): View<N, S> {
  const indexes = (options.indexes ?? []) as readonly IndexSpec[];
  return { kind: 'view', name, schema, indexes, description: options.description };
}
