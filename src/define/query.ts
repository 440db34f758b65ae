import type { Schema, SchemaInput, SchemaOutput } from './schema.ts';
import type { Doc, View } from './view.ts';

/** Equality, or a range or set, on a field. */
export type FieldFilter<T> =
  | T
  | {
      readonly eq?: T;
      readonly in?: readonly T[];
      readonly gt?: T;
      readonly gte?: T;
      readonly lt?: T;
      readonly lte?: T;
    };
export type Filter<D> = { readonly [F in keyof D & string]?: FieldFilter<D[F]> };
export type Sort<D> = { readonly [F in keyof D & string]?: 1 | -1 };

export interface ListOptions<D> {
  readonly filter?: Filter<D>;
  readonly sort?: Sort<D>;
  /** Default 50, at most 1,000. */
  readonly limit?: number;
}
export interface ViewReader<D> {
  get(id: string): Promise<D | undefined>;
  /** Needs a declared index that serves filter and sort; otherwise INDEX_MISSING names the index to add. */
  list(options?: ListOptions<D>): Promise<readonly D[]>;
}
/** Reads only: a query has no way to write. */
export type Reader = <V extends View>(of: V) => ViewReader<Doc<V>>;

export interface Query<N extends string = string, I extends Schema = Schema, O extends Schema = Schema> {
  readonly kind: 'query';
  readonly name: N;
  readonly description: string | undefined;
  readonly input: I;
  readonly output: O;
  readonly run: (input: SchemaOutput<I>, read: Reader) => Promise<SchemaOutput<O>>;
}
/** Top type of queries. */
export interface AnyQuery {
  readonly kind: 'query';
  readonly name: string;
  readonly description: string | undefined;
  readonly input: Schema;
  readonly output: Schema;
  readonly run: (input: never, read: Reader) => Promise<unknown>;
}

export function query<const N extends string, I extends Schema, O extends Schema>(spec: {
  readonly name: N;
  readonly description?: string;
  readonly input: I;
  readonly output: O;
  readonly run: (input: SchemaOutput<I>, read: Reader) => Promise<NoInfer<SchemaOutput<O>>>;
}): Query<N, I, O> {
  return { kind: 'query', description: spec.description, ...spec };
}
export type QueryInput<Q> = Q extends Query<string, infer I, infer _O> ? SchemaInput<I> : never;
export type QueryOutput<Q> = Q extends Query<string, infer _I, infer O> ? SchemaOutput<O> : never;
