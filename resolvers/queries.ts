import type { InputFieldMap } from '@pothos/core';
import { type AnyQuery, jsonSchemaOf } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { described, inputTypeOf, isRequired, listRequired, outputTypeOf } from './derive.ts';
import { camelCase, checkedName, pascalCase } from './names.ts';
import { claim } from './registry.ts';
import { type FieldShape, type Shape, shapeOf } from './shape.ts';
import { readArguments, readOptions } from './views.ts';

/** How a query is shown. */
export interface QueryExposure {
  /** Query field; default: the query's name in camelCase. */
  readonly name?: string;
  readonly hidden?: boolean;
  readonly description?: string;
}

/** The field of one query: its input's properties are the arguments. */
export function exposeQuery(
  builder: MillraceBuilder,
  query: AnyQuery,
  modulePlace: string,
  exposure: QueryExposure,
): void {
  const place = `${modulePlace}, query "${query.name}"`;
  const name = checkedName(exposure.name ?? camelCase(query.name), place);
  const base = pascalCase(name);
  const input = shapeOf(jsonSchemaOf(query.input, 'input', place), 'query');
  const output = shapeOf(jsonSchemaOf(query.output, 'output', place), 'output');
  const typed = outputTypeOf(builder, output, `${base}Result`, place);
  claim(builder, `Query.${name}`, place);
  const fields: readonly FieldShape[] =
    input.kind === 'object' ? input.fields() : [{ name: 'input', shape: input, required: !input.nullable }];
  const args = argumentsOf(builder, fields, base, place);
  const rawOf = (given: Readonly<Record<string, unknown>>): unknown =>
    input.kind === 'object' ? pick(given, fields) : given.input;
  builder.queryField(name, (t) => {
    const common = {
      args: { ...args, ...readArguments(builder) },
      ...described(exposure.description ?? query.description),
    };
    const nullable = output.nullable;
    return typed.list
      ? t.field({
          type: [typed.type],
          nullable: { list: nullable, items: typed.itemsNullable },
          ...common,
          resolve: async (_root, given, { runtime, signal }) =>
            (await runtime.ask(query.name, rawOf(given), readOptions(given, signal))) as never,
        })
      : t.field({
          type: typed.type,
          nullable,
          ...common,
          resolve: async (_root, given, { runtime, signal }) =>
            (await runtime.ask(query.name, rawOf(given), readOptions(given, signal))) as never,
        });
  });
}

function argumentsOf(
  builder: MillraceBuilder,
  fields: readonly FieldShape[],
  base: string,
  place: string,
): InputFieldMap {
  const reserved = ['atLeast', 'timeoutMs'];
  for (const name of reserved) claim(builder, `Query argument ${base}.${name}`, 'an argument of the platform');
  const members = fields.map((field) => {
    const name = checkedName(field.name, place);
    claim(builder, `Query argument ${base}.${name}`, place);
    return { field, typed: inputTypeOf(builder, field.shape, base + pascalCase(field.name), place) };
  });
  return builder.args((t) => {
    const entries = members.map(({ field, typed }): [string, InputFieldMap[string]] => {
      const about = described(field.shape.description);
      return typed.list
        ? [field.name, t.field({ type: [typed.type], required: listRequired(field, typed), ...about })]
        : [field.name, t.field({ type: typed.type, required: isRequired(field), ...about })];
    });
    return Object.fromEntries(entries);
  });
}

function pick(given: Readonly<Record<string, unknown>>, fields: readonly FieldShape[]): Record<string, unknown> {
  const shapes = new Map<string, Shape>(fields.map((field) => [field.name, field.shape]));
  return Object.fromEntries(Object.entries(given).filter(([name, value]) => shapes.has(name) && value !== undefined));
}
