import type { EventSchema } from './event.ts';
import type { Schema, SchemaInput, SchemaOutput } from './schema.ts';

/**
 * Compile-time checks of schemas. Each check is `unknown` for a good schema and a sentence for a bad one; a spec says
 * `schema: S & Check<S>`, so a bad schema fails with "… is not assignable to type '<sentence>'".
 */

type Unnamed = bigint | symbol | ((...args: never[]) => unknown);

/** Whatever in `T` JSON cannot hold; never when all of it can. `any` and `unknown` pass; looks six levels deep. */
export type NotJson<T, Depth extends readonly 0[] = []> = 0 extends 1 & T
  ? never
  : unknown extends T
    ? never
    : Depth['length'] extends 6
      ? never
      : T extends string | number | boolean | null | undefined
        ? never
        : T extends Unnamed
          ? T
          : T extends readonly (infer I)[]
            ? NotJson<I, [...Depth, 0]>
            : { [K in keyof T]-?: NotJson<T[K], [...Depth, 0]> }[keyof T];

type IsNever<T> = [T] extends [never] ? true : false;

/** Data that is stored and read back through its own schema: JSON in, the same JSON out. */
type StoredCheck<S> =
  IsNever<NotJson<SchemaOutput<S>>> extends false
    ? 'must be JSON: no Date, Map, Set, function, bigint or symbol'
    : [SchemaOutput<S>] extends [SchemaInput<S>]
      ? unknown
      : 'must accept its own output: no transform that changes the type';

export type EventChecks<E> = { readonly [K in keyof E]: StoredCheck<EventSchema<E[K]>> };

/** Input that a client sends as JSON; it may be transformed. */
export type InputCheck<S> =
  IsNever<NotJson<SchemaInput<S>>> extends false
    ? 'must take JSON: no Date, Map, Set, function, bigint or symbol as input'
    : unknown;
export type CommandChecks<C> = { readonly [K in keyof C]: InputCheck<C[K]> };

export type OutputCheck<S> = StoredCheck<S>;

type Marked<D> = Extract<keyof D, `_${string}` | `$${string}`>;
/** A document: an object of named JSON fields; `_` and `$` begin the platform's and MongoDB's own names. */
export type ViewCheck<S extends Schema> =
  SchemaOutput<S> extends readonly unknown[]
    ? 'must be an object'
    : SchemaOutput<S> extends object
      ? IsNever<Marked<SchemaOutput<S>>> extends false
        ? 'no field may begin with _ or $'
        : StoredCheck<S>
      : 'must be an object';
