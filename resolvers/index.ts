/** `millrace/graphql`: modules as a GraphQL schema, with room for fields written by hand. */
export type { GatewayContext } from '../src/gateway/context.ts';
export { createSchemaBuilder, type MillraceBuilder, type MillraceSchemaTypes } from './builder.ts';
export type { CommandExposure } from './commands.ts';
export type { FieldExposure, FieldExposures } from './derive.ts';
export { type ExposedModule, type ExposeOptions, exposeModule, schemaOf } from './expose-module.ts';
export type { QueryExposure } from './queries.ts';
export { abortable } from './subscribe.ts';
export type { ViewExposure } from './views.ts';
