import { MillraceError } from '../src/index.ts';

/** A time as GraphQL gives it. Throws BAD_INPUT for a text that is no point in time, or names one without its zone. */
export function timeOf(name: string, text: string | null | undefined): Date | undefined {
  if (text === null || text === undefined) return undefined;
  const date = new Date(text);
  if (/^\d{4}-\d{2}-\d{2}T/.test(text) && /(Z|[+-]\d{2}:\d{2})$/.test(text) && !Number.isNaN(date.getTime()))
    return date;
  throw new MillraceError(
    'BAD_INPUT',
    `${name} is no point in time. Use ISO 8601 with a zone, like "2026-05-01T12:00:00Z".`,
  );
}
