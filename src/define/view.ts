import type { Schema, SchemaOutput } from './schema.ts';

export interface IndexSpec {
  readonly [field: string]: 1 | -1;
}

/** A named read-model document. Lists filter and sort on declared indexes only (and on `id`). */
export interface View<N extends string = string, S extends Schema = Schema> {
  readonly kind: 'view';
  readonly name: N;
  readonly schema: S;
  readonly indexes: readonly IndexSpec[];
  readonly description: string | undefined;
}
export type Doc<V> = V extends View<string, infer S> ? SchemaOutput<S> : never;
type Field<S extends Schema> = keyof SchemaOutput<S> & string;

export function view<const N extends string, S extends Schema>(
  name: N,
  schema: S,
  options: {
    readonly indexes?: readonly { readonly [F in Field<S>]?: 1 | -1 }[];
    readonly description?: string;
  } = {},
): View<N, S> {
  const indexes = (options.indexes ?? []).map((index) => ({ ...index }) as IndexSpec);
  return { kind: 'view', name, schema, indexes, description: options.description };
}
