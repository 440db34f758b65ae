import type { InputCheck, OutputCheck } from './json.ts';
import type { Literal } from './literal.ts';
import type { Schema, SchemaInput, SchemaOutput } from './schema.ts';
import type { Doc, ScalarField, View } from './view.ts';

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
/** `id` is the document's key, whether or not the document has it as a field. */
export type Filter<D> = {
  readonly [F in ScalarField<D> | 'id']?: FieldFilter<F extends keyof D ? Exclude<D[F], undefined> : string>;
};
/** The first field named sorts first. */
export type Sort<D> = { readonly [F in ScalarField<D> | 'id']?: 1 | -1 };

export interface ListOptions<D> {
  readonly filter?: Filter<D>;
  readonly sort?: Sort<D>;
  /** Default 50, at most 1,000. */
  readonly limit?: number;
}
export interface ViewReader<D> {
  get(id: string): Promise<D | undefined>;
  /** Needs a declared index that serves filter and sort; otherwise INDEX_MISSING names the index to add. */
  list(options?: ListOptions<D>): Promise<D[]>;
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

type Run<I extends Schema, O extends Schema> = [O] extends [Schema]
  ? (input: SchemaOutput<I>, read: Reader) => Promise<SchemaOutput<O>>
  : (input: SchemaOutput<I>, read: Reader) => Promise<Literal>;

/**
 * Declares a read over views. `input` may transform what clients send; `output` is what GraphQL derives its type from.
 *
 *     query({ name: 'richest', input: z.object({ limit: z.int().max(100) }), output: z.array(accountView.schema),
 *       run: ({ limit }, read) => read(accountView).list({ sort: { balance: -1 }, limit }) })
 */
export function query<const N extends string, I extends Schema, O extends Schema>(spec: {
  readonly name: N;
  readonly description?: string;
  readonly input: I & InputCheck<I>;
  readonly output: O & OutputCheck<O>;
  readonly run: Run<I, O>;
}): Query<N, I, O> {
  const { name, description, input, output } = spec;
  const run = spec.run as Query<N, I, O>['run'];
  return { kind: 'query', name, description, input, output, run };
}
export type QueryInput<Q> = Q extends Query<string, infer I, infer _O> ? SchemaInput<I> : never;
export type QueryOutput<Q> = Q extends Query<string, infer _I, infer O> ? SchemaOutput<O> : never;
