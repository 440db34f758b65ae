import type { ObjectRef } from '@pothos/core';
import type { GraphQLSchema } from 'graphql';
import { type Doc, MillraceError, type Module, type View } from '../src/index.ts';
import { exposeAudit } from './audit.ts';
import { createSchemaBuilder, type MillraceBuilder, type MillraceSchemaTypes } from './builder.ts';
import { type CommandExposure, exposeCommand, exposeCommandTopics } from './commands.ts';
import { exposeConsumers } from './consumers.ts';
import { exposeDeadLetters } from './dead-letters.ts';
import { exposeEvents } from './events.ts';
import { exposeFlow } from './flow.ts';
import { exposeQuery, type QueryExposure } from './queries.ts';
import { once } from './registry.ts';
import { exposeSagas } from './sagas.ts';
import { exposeTimers } from './timers.ts';
import { declareView, exposeView, type ViewExposure } from './views.ts';

/** What `exposeModule` shows differently from what it derives. */
export interface ExposeOptions {
  /** By command type, or by `aggregate.Command` where two aggregates have a command of one name. */
  readonly commands?: Readonly<Record<string, CommandExposure>>;
  /** By name of the view. */
  readonly views?: Readonly<Record<string, ViewExposure>>;
  /** By name of the query. */
  readonly queries?: Readonly<Record<string, QueryExposure>>;
}

/** For hand-written fields that stand beside the derived ones. */
export interface ExposedModule {
  /** The object type of a view's documents: `builder.objectField(exposed.type(accountView), 'displayName', …)`. */
  type<V extends View>(of: V): ObjectRef<MillraceSchemaTypes, Doc<V>>;
}

/**
 * Shows a module in GraphQL: a mutation a command, a field a view and a list of it, their subscriptions, a field a
 * query; and, once a builder, the platform's own fields.
 *
 * Throws SCHEMA_NOT_DERIVABLE when a schema says nothing that GraphQL could show, NAME_TAKEN when two things would have
 * one name, DEFINITION_INVALID when an option names nothing; each with place, cause and cure.
 */
export function exposeModule(builder: MillraceBuilder, module: Module, options: ExposeOptions = {}): ExposedModule {
  once(builder, exposeCommandTopics);
  once(builder, exposeEvents);
  once(builder, exposeConsumers);
  once(builder, exposeDeadLetters);
  once(builder, exposeAudit);
  once(builder, exposeTimers);
  once(builder, exposeSagas);
  once(builder, exposeFlow);
  const place = `module "${module.name}"`;
  checkOptions(module, options, place);
  const { commands, views, queries } = {
    commands: new Map(Object.entries(options.commands ?? {})),
    views: new Map(Object.entries(options.views ?? {})),
    queries: new Map(Object.entries(options.queries ?? {})),
  };
  const shown = module.parts.flatMap((part) => {
    const exposure = part.kind === 'view' ? (views.get(part.name) ?? {}) : undefined;
    if (part.kind !== 'view' || exposure === undefined || exposure.hidden === true) return [];
    return [declareView(builder, part, `${place}, view "${part.name}"`, exposure)];
  });
  for (const view of shown) exposeView(builder, view);
  for (const part of module.parts) {
    if (part.kind === 'aggregate' || part.kind === 'service') {
      for (const [type, schema] of Object.entries(part.commands)) {
        const exposure = commands.get(`${part.name}.${type}`) ?? commands.get(type) ?? {};
        if (exposure.hidden !== true) exposeCommand(builder, part, type, schema, place, exposure);
      }
    } else if (part.kind === 'query') {
      const exposure = queries.get(part.name) ?? {};
      if (exposure.hidden !== true) exposeQuery(builder, part, place, exposure);
    }
  }
  return {
    type: <V extends View>(of: V) => {
      const found = shown.find(({ view }) => view.name === of.name);
      const ref: ObjectRef<MillraceSchemaTypes, unknown> | undefined = found?.ref;
      if (ref !== undefined && holds(ref, of, found?.view)) return ref;
      throw new MillraceError(
        'DEFINITION_INVALID',
        `${place} shows no view "${of.name}". Add it to the module's parts, or do not hide it.`,
      );
    },
  };
}

/** A type made from a view's schema holds what that schema puts out. */
function holds<V extends View>(
  ref: ObjectRef<MillraceSchemaTypes, unknown>,
  of: V,
  madeFrom: View | undefined,
): ref is ObjectRef<MillraceSchemaTypes, Doc<V>> {
  return ref.kind === 'Object' && madeFrom?.schema === of.schema;
}

/** The schema of modules as they are derived, with nothing written by hand. */
export function schemaOf(modules: readonly Module[]): GraphQLSchema {
  const builder = createSchemaBuilder();
  for (const module of modules) exposeModule(builder, module);
  return builder.toSchema();
}

/** An option that names nothing is a typo that would show what should be hidden. */
function checkOptions(module: Module, options: ExposeOptions, place: string): void {
  const names = {
    commands: module.parts.flatMap((part) =>
      part.kind === 'aggregate' || part.kind === 'service'
        ? Object.keys(part.commands).flatMap((type) => [type, `${part.name}.${type}`])
        : [],
    ),
    views: module.parts.filter((part) => part.kind === 'view').map((part) => part.name),
    queries: module.parts.filter((part) => part.kind === 'query').map((part) => part.name),
  };
  for (const kind of ['commands', 'views', 'queries'] as const) {
    for (const name of Object.keys(options[kind] ?? {})) {
      if (names[kind].includes(name)) continue;
      throw new MillraceError(
        'DEFINITION_INVALID',
        `The options of exposeModule for ${place} name "${name}" in \`${kind}\`, which the module does not have. It has: ${names[kind].join(', ') || 'none'}.`,
      );
    }
  }
}
