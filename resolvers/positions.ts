import { MillraceError } from '../src/index.ts';

/** A position as GraphQL shows it. Throws BAD_INPUT. */
export function positionOf(name: string, text: string): number {
  const position = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(position)) return position;
  throw new MillraceError('BAD_INPUT', `\`${name}\` is no position. Use the digits that a position is shown with.`);
}
