import type { GraphQLSchema } from 'graphql';
import type { Module } from './define/module.ts';

/** What `millrace start` runs: modules, and the GraphQL schema that shows them. */
export interface App {
  readonly modules: readonly Module[];
  /** Default: every module as `exposeModule` of `millrace/graphql` derives it. */
  readonly schema?: GraphQLSchema | undefined;
}

/** The default export of an app file (`millrace.config.ts`). */
export function defineApp(app: App): App {
  return app;
}
