import type { InputFieldMap } from '@pothos/core';
import { MillraceError } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { checkedName, pascalCase } from './names.ts';
import { claim, type DerivedEnum, type DerivedInput, type DerivedOutput, registryOf } from './registry.ts';
import type { FieldShape, ObjectShape, Shape } from './shape.ts';

/** A document as the runtime hands it out. */
export type PlainObject = Readonly<Record<string, unknown>>;

/** How one field of a derived type is shown. */
export interface FieldExposure {
  readonly name?: string;
  readonly hidden?: boolean;
  readonly description?: string;
}
export type FieldExposures = Readonly<Record<string, FieldExposure>>;

/** A GraphQL type for a shape; `list` when the shape is a list of it. */
export interface Typed<T> {
  readonly type: T;
  readonly list: boolean;
  readonly itemsNullable: boolean;
}

/** The input type of a shape. `base` names it where the author did not; `place` is what errors say. */
export function inputTypeOf(builder: MillraceBuilder, shape: Shape, base: string, place: string): Typed<DerivedInput> {
  const item = shape.kind === 'list' ? shape.items : shape;
  return {
    type: inputItem(builder, item, base, place),
    list: shape.kind === 'list',
    itemsNullable: shape.kind === 'list' && item.nullable,
  };
}

function inputItem(builder: MillraceBuilder, shape: Shape, base: string, place: string): DerivedInput {
  if (shape.kind === 'scalar') return shape.scalar;
  if (shape.kind === 'list') return 'JSON';
  if (shape.kind === 'enum') return enumOf(builder, shape, base, place);
  if (shape.fields().length === 0) return 'JSON';
  const { inputs, inputsOf } = registryOf(builder);
  const made = inputsOf.get(shape.source);
  if (made !== undefined) return made;
  const name = shape.name === undefined ? `${base}Input` : `${pascalCase(shape.name)}Input`;
  checkedName(name, place);
  if (!claim(builder, `type ${name}`, place, shape.fingerprint)) {
    const known = inputs.get(name);
    if (known !== undefined) return known;
  }
  const ref = builder.inputRef<PlainObject>(name);
  inputs.set(name, ref);
  inputsOf.set(shape.source, ref);
  const fieldBase = shape.name === undefined ? base : pascalCase(shape.name);
  // Nested types are made before this one is implemented, so that a name taken is found here and not at toSchema().
  const members = shape.fields().map((field) => ({
    field,
    name: checkedName(field.name, place),
    typed: inputTypeOf(builder, field.shape, fieldBase + pascalCase(field.name), `${place}, field "${field.name}"`),
  }));
  builder.inputType(ref, {
    ...described(shape.description),
    fields: (t) => {
      const map: Record<string, InputFieldMap[string]> = {};
      for (const { field, name, typed } of members) {
        const common = described(field.shape.description);
        map[name] = typed.list
          ? t.field({ type: [typed.type], required: listRequired(field, typed), ...common })
          : t.field({ type: typed.type, required: isRequired(field), ...common });
      }
      return map as never;
    },
  });
  return ref;
}

/** A field that may be null stays optional: the author's schema says what a missing one means. */
export const isRequired = (field: FieldShape): boolean => field.required && !field.shape.nullable;
export const listRequired = (
  field: FieldShape,
  typed: Typed<unknown>,
): { readonly list: boolean; readonly items: boolean } => ({ list: isRequired(field), items: !typed.itemsNullable });

/** The output type of a shape, see `inputTypeOf`. */
export function outputTypeOf(
  builder: MillraceBuilder,
  shape: Shape,
  base: string,
  place: string,
): Typed<DerivedOutput> {
  const item = shape.kind === 'list' ? shape.items : shape;
  return {
    type: outputItem(builder, item, base, place),
    list: shape.kind === 'list',
    itemsNullable: shape.kind === 'list' && item.nullable,
  };
}

function outputItem(builder: MillraceBuilder, shape: Shape, base: string, place: string): DerivedOutput {
  if (shape.kind === 'scalar') return shape.scalar;
  if (shape.kind === 'list') return 'JSON';
  if (shape.kind === 'enum') return enumOf(builder, shape, base, place);
  if (shape.fields().length === 0) return 'JSON';
  const { outputs, outputsOf, viewTypes } = registryOf(builder);
  const view = viewTypes.get(shape.fingerprint);
  const made = view === 'ambiguous' ? undefined : (view ?? outputsOf.get(shape.source));
  if (made !== undefined) return made;
  const name = checkedName(shape.name === undefined ? base : pascalCase(shape.name), place);
  if (!claim(builder, `type ${name}`, place, shape.fingerprint)) {
    const known = outputs.get(name);
    if (known !== undefined) return known;
  }
  const ref = builder.objectRef<PlainObject>(name);
  outputs.set(name, ref);
  outputsOf.set(shape.source, ref);
  implementObject(builder, ref, shape, name, place, {});
  return ref;
}

/** Gives an object type the fields of a shape. Throws SCHEMA_NOT_DERIVABLE when everything in it is hidden. */
export function implementObject(
  builder: MillraceBuilder,
  ref: ReturnType<typeof builder.objectRef<PlainObject>>,
  shape: ObjectShape,
  base: string,
  place: string,
  exposures: FieldExposures,
  description = shape.description,
): void {
  const members = shape.fields().flatMap((field) => {
    const exposure = Object.hasOwn(exposures, field.name) ? exposures[field.name] : undefined;
    if (exposure?.hidden === true) return [];
    const at = `${place}, field "${field.name}"`;
    const name = checkedName(exposure?.name ?? field.name, at);
    const typed = outputTypeOf(builder, field.shape, base + pascalCase(field.name), at);
    return [{ field, name, typed, about: exposure?.description ?? field.shape.description }];
  });
  if (members.length === 0) {
    throw new MillraceError(
      'SCHEMA_NOT_DERIVABLE',
      `${place}: no field is left to show. Hide the whole part instead, or show a field.`,
    );
  }
  builder.objectType(ref, {
    ...described(description),
    fields: (t) =>
      Object.fromEntries(
        members.map(({ field, name, typed, about }) => {
          const nullable = field.shape.nullable || !field.required;
          const resolve = (parent: PlainObject): unknown => {
            const value = ownValue(parent, field.name);
            if (value === undefined && !nullable) throw notBuilt(name, base);
            return value;
          };
          const made = typed.list
            ? t.field({
                type: [typed.type],
                nullable: { list: nullable, items: typed.itemsNullable },
                resolve: (parent) => resolve(parent) as never,
                extensions: OF_PARENT_ONLY,
                ...described(about),
              })
            : t.field({
                type: typed.type,
                nullable,
                resolve: (parent) => resolve(parent) as never,
                extensions: OF_PARENT_ONLY,
                ...described(about),
              });
          return [name, made];
        }),
      ),
  });
}

/** The enum type of a shape, named like its nested object would be. */
export function enumOf(
  builder: MillraceBuilder,
  shape: Extract<Shape, { kind: 'enum' }>,
  base: string,
  place: string,
): DerivedEnum {
  const name = checkedName(pascalCase(shape.name ?? base), place);
  const { enums } = registryOf(builder);
  if (!claim(builder, `type ${name}`, place, `enum ${shape.values.join(' ')}`)) {
    const known = enums.get(name);
    if (known !== undefined) return known;
  }
  const ref = builder.enumType(name, { values: shape.values, ...described(shape.description) });
  enums.set(name, ref);
  return ref;
}

/**
 * What such a field, or each field of such a type, gives follows from its parent alone: the gateway executes it once for many
 * subscribers. On types to which authors can add fields, it stands at the platform's own fields only.
 */
export const OF_PARENT_ONLY = { sharedResult: true } as const;

/** `{ description }`, or nothing. */
export const described = (description: string | undefined): { readonly description?: string } =>
  description === undefined ? {} : { description };

const RETRY_AFTER_MS = 1_000;
/** Documents are checked by their schema when they are written: one without a required field is of an older version of its view. */
const notBuilt = (field: string, type: string): MillraceError =>
  new MillraceError(
    'VIEW_BEHIND',
    `"${field}" of ${type} is not there yet: the document was built by an older version of its view, which is read until the new one is built. Ask again in ${RETRY_AFTER_MS} ms, or without this field.`,
    { details: { reason: 'REBUILDING', retryAfterMs: RETRY_AFTER_MS } },
  );

const ownValue = (of: PlainObject, key: string): unknown => (Object.hasOwn(of, key) ? of[key] : undefined);
