import type { InputRef, OutputRef } from '@pothos/core';
import { type JsonSchema, MillraceError } from '../src/index.ts';
import type { MillraceBuilder, MillraceSchemaTypes } from './builder.ts';

export type DerivedInput =
  | InputRef<unknown>
  | 'String'
  | 'Int'
  | 'Float'
  | 'Boolean'
  | 'ID'
  | 'SafeInt'
  | 'DateTime'
  | 'JSON';
export type DerivedOutput =
  | OutputRef<unknown>
  | 'String'
  | 'Int'
  | 'Float'
  | 'Boolean'
  | 'ID'
  | 'SafeInt'
  | 'DateTime'
  | 'JSON';

/** An enum type is for input and output alike. */
export type DerivedEnum = PothosSchemaTypes.EnumRef<MillraceSchemaTypes, string>;

interface Claim {
  readonly place: string;
  readonly fingerprint: string;
}

/** What one builder holds already: who took which name, and the types that were derived. */
export interface Registry {
  readonly claims: Map<string, Claim>;
  readonly inputs: Map<string, DerivedInput>;
  /** Object types by the schema node that they were made from. */
  readonly inputsOf: WeakMap<JsonSchema, DerivedInput>;
  readonly outputsOf: WeakMap<JsonSchema, DerivedOutput>;
  readonly outputs: Map<string, DerivedOutput>;
  readonly enums: Map<string, DerivedEnum>;
  /** Types of views by the fingerprint of their documents: a query that puts out such documents has that type. */
  readonly viewTypes: Map<string, OutputRef<unknown> | 'ambiguous'>;
  readonly once: Map<string, unknown>;
}

const registries = new WeakMap<MillraceBuilder, Registry>();

export function registryOf(builder: MillraceBuilder): Registry {
  const known = registries.get(builder);
  if (known !== undefined) return known;
  const made: Registry = {
    claims: new Map(),
    inputs: new Map(),
    inputsOf: new WeakMap(),
    outputsOf: new WeakMap(),
    outputs: new Map(),
    enums: new Map(),
    viewTypes: new Map(),
    once: new Map(),
  };
  registries.set(builder, made);
  return made;
}

/** Makes something of the platform's the first time it is asked for in a builder. */
export function once<T>(builder: MillraceBuilder, make: (builder: MillraceBuilder) => T): T {
  const { once: made } = registryOf(builder);
  const key = make.name;
  if (!made.has(key)) made.set(key, make(builder));
  return made.get(key) as T;
}

/**
 * Takes a name ("type Account", "Query.account") for a place. True the first time; false when a type of the same name
 * and the same shape is there already, which may be shared. Throws NAME_TAKEN naming both places otherwise.
 */
export function claim(builder: MillraceBuilder, name: string, place: string, fingerprint?: string): boolean {
  const { claims } = registryOf(builder);
  const taken = claims.get(name);
  if (taken === undefined) {
    claims.set(name, { place, fingerprint: fingerprint ?? '' });
    return true;
  }
  if (fingerprint !== undefined && taken.fingerprint === fingerprint) return false;
  throw new MillraceError(
    'NAME_TAKEN',
    `${place} would be "${name}" in GraphQL, which is ${taken.place} already. Rename one of them, or give it another name in the options of exposeModule.`,
  );
}
