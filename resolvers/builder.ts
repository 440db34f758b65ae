import SchemaBuilder from '@pothos/core';
import type { GatewayContext } from '../src/gateway/context.ts';
import { isMillraceError, MillraceError } from '../src/index.ts';
import { defineScalars } from './scalars.ts';

export interface MillraceTypes {
  Context: GatewayContext;
  Scalars: {
    ID: { Input: string; Output: string };
    /** Any JSON value. */
    JSON: { Input: unknown; Output: unknown };
    DateTime: { Input: string; Output: Date | string };
    SafeInt: { Input: number; Output: number };
    Token: { Input: string; Output: string };
    Cursor: { Input: string; Output: string };
  };
}
export type MillraceBuilder = PothosSchemaTypes.SchemaBuilder<PothosSchemaTypes.ExtendDefaultTypes<MillraceTypes>>;
export type MillraceSchemaTypes = MillraceBuilder['$inferSchemaTypes'];

/**
 * A Pothos builder with the platform's scalars and context. Expose modules in it with `exposeModule`, add fields of your
 * own as Pothos does, then hand `builder.toSchema()` to `defineApp`.
 *
 * `toSchema` throws NAME_TAKEN when a field or type was written twice, DEFINITION_INVALID for what else GraphQL refuses.
 */
export function createSchemaBuilder(): MillraceBuilder {
  const builder: MillraceBuilder = new SchemaBuilder<MillraceTypes>({});
  builder.queryType({});
  builder.mutationType({});
  builder.subscriptionType({});
  defineScalars(builder);
  const toSchema = builder.toSchema.bind(builder);
  builder.toSchema = (...options) => {
    try {
      return toSchema(...options);
    } catch (cause) {
      if (isMillraceError(cause)) throw cause;
      const message = cause instanceof Error ? cause.message : String(cause);
      throw new MillraceError(
        /duplicate/i.test(message) ? 'NAME_TAKEN' : 'DEFINITION_INVALID',
        `The GraphQL schema cannot be built: ${message}`,
        { cause },
      );
    }
  };
  return builder;
}
