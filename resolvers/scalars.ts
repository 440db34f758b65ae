import { GraphQLError, Kind, type ValueNode, valueFromASTUntyped } from 'graphql';
import type { MillraceBuilder } from './builder.ts';

/** Longest token or cursor that is looked at, in UTF-16 code units. */
const OPAQUE_MAX_LENGTH = 8_192;

const refuse = (message: string): never => {
  throw new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT' } });
};

/**
 * The platform's scalars. They look at the GraphQL type of what comes in and leave its meaning to those who know it:
 * a wrong number or date in a command must come back as `InvalidInput` from the author's schema.
 */
export function defineScalars(builder: MillraceBuilder): void {
  builder.scalarType('JSON', {
    description: 'Any JSON value.',
    serialize: (value) => value,
    parseValue: (value) => value,
    parseLiteral: (node, variables) => valueFromASTUntyped(node, variables),
  });
  builder.scalarType('SafeInt', {
    description:
      'A whole number between -(2^53 - 1) and 2^53 - 1, as JSON numbers hold exactly; used where 32 bits may be too few, for example for money. A number with a fraction is answered as wrong data, not as a wrong type.',
    serialize: (value) =>
      Number.isSafeInteger(value) ? value : refuse(`SafeInt cannot represent ${JSON.stringify(value)}.`),
    parseValue: numberFrom,
    parseLiteral: (node) => numberFrom(numberLiteral(node)),
  });
  builder.scalarType('DateTime', {
    description: 'A point in time as ISO 8601 text with a zone, for example "2026-05-01T12:00:00.000Z".',
    serialize: (value) => (value instanceof Date ? value.toISOString() : value),
    parseValue: (value) => stringFrom('DateTime', value, 64),
  });
  builder.scalarType('Token', {
    description: 'Opaque: names what a command wrote. Comes with its receipt; reads take it as `atLeast`.',
    serialize: (value) => value,
    parseValue: (value) => stringFrom('Token', value, OPAQUE_MAX_LENGTH),
  });
  builder.scalarType('Cursor', {
    description: 'Opaque: a place in a list or a stream of changes, valid on every gateway.',
    serialize: (value) => value,
    parseValue: (value) => stringFrom('Cursor', value, OPAQUE_MAX_LENGTH),
  });
}

function numberFrom(value: unknown): number {
  return typeof value === 'number' ? value : refuse('SafeInt must be a number.');
}

function numberLiteral(node: ValueNode): unknown {
  return node.kind === Kind.INT || node.kind === Kind.FLOAT ? Number(node.value) : undefined;
}

function stringFrom(name: string, value: unknown, maxLength: number): string {
  if (typeof value !== 'string') return refuse(`${name} must be a string.`);
  return value.length <= maxLength ? value : refuse(`${name} must not be longer than ${maxLength} characters.`);
}
