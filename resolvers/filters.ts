import type { InputRef } from '@pothos/core';
import { type FilterInput, MillraceError } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { enumOf } from './derive.ts';
import { claim, type DerivedInput, once } from './registry.ts';
import type { Shape } from './shape.ts';

const operators = ['eq', 'in', 'gt', 'gte', 'lt', 'lte'] as const;
type Operator = (typeof operators)[number];
const isOperator = (name: string): name is Operator => operators.some((operator) => operator === name);

/** What a filter compares with may be so long. */
const IN_MAX_COUNT = 1_000;

/** The operator input of a field (`StringFilter`, `SafeIntFilter`, …), or undefined when it cannot be compared. */
export function operatorsOf(
  builder: MillraceBuilder,
  shape: Shape,
  base: string,
  place: string,
): InputRef<unknown> | undefined {
  // An index over a list holds its items; a comparison is with one of them.
  const item = shape.kind === 'list' ? shape.items : shape;
  if (item.kind === 'enum') {
    const ref = enumOf(builder, item, base, place);
    return operatorInput(builder, ref.name, ref, ['eq', 'in']);
  }
  if (item.kind !== 'scalar' || item.scalar === 'JSON') return undefined;
  return operatorInput(builder, item.scalar, item.scalar, item.scalar === 'Boolean' ? ['eq'] : operators);
}

function operatorInput(
  builder: MillraceBuilder,
  name: string,
  type: DerivedInput,
  allowed: readonly Operator[],
): InputRef<unknown> {
  const { filters } = once(builder, filterTypes);
  const known = filters.get(name);
  if (known !== undefined) return known;
  claim(builder, `type ${name}Filter`, 'a type of the platform');
  const ref = builder.inputType(`${name}Filter`, {
    description: 'Every operator that is given must hold.',
    fields: (t) => {
      const field = (operator: Operator) =>
        operator === 'in'
          ? t.field({ type: [type], required: { list: false, items: true } })
          : t.field({ type, required: false });
      return Object.fromEntries(allowed.map((operator) => [operator, field(operator)]));
    },
  });
  filters.set(name, ref);
  return ref;
}
function filterTypes(): { readonly filters: Map<string, InputRef<unknown>> } {
  return { filters: new Map() };
}

/**
 * A filter argument for the runtime. An operator that is null compares with null where the field may be null; elsewhere
 * it is refused (BAD_INPUT): a filter that a client meant to set must never match everything.
 */
export function filterInput(filter: unknown, shapes: ReadonlyMap<string, Shape>): FilterInput | undefined {
  if (!isRecord(filter)) return undefined;
  const fields = Object.entries(filter).filter(([, comparison]) => comparison !== undefined);
  return new Map(
    fields.map(([field, comparison]) => [field, comparisons(field, comparison, shapes.get(field)?.nullable === true)]),
  );
}

function comparisons(field: string, comparison: unknown, nullable: boolean): ReadonlyMap<Operator, unknown> {
  if (!isRecord(comparison)) {
    throw new MillraceError('BAD_INPUT', `filter.${field} must not be null. Leave it out, or give it an operator.`);
  }
  const given = Object.entries(comparison).filter(([, value]) => value !== undefined);
  return new Map(
    given.map(([operator, value]) => {
      if (!isOperator(operator)) throw new MillraceError('BAD_INPUT', `filter.${field}.${operator} is no operator.`);
      if (value === null && !(nullable && operator === 'eq')) {
        throw new MillraceError('BAD_INPUT', `filter.${field}.${operator} must not be null. Leave it out instead.`);
      }
      if (Array.isArray(value) && value.length > IN_MAX_COUNT) {
        throw new MillraceError(
          'BAD_INPUT',
          `filter.${field}.${operator} has ${value.length} values; at most ${IN_MAX_COUNT} are taken.`,
        );
      }
      return [operator, value];
    }),
  );
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
