import { MillraceError } from '../errors.ts';

/** The error of a definition that cannot be used. `what` says the cause, then the cure. */
export function invalid(place: string, what: string): MillraceError {
  return new MillraceError('DEFINITION_INVALID', `${place}: ${what}`);
}

/** Throws DEFINITION_INVALID unless `name` can be a wire name (stream keys, collections, queues and jobs carry it). */
export function checkName(kind: string, name: unknown, place: string): void {
  if (typeof name === 'string' && /^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(name)) return;
  const shown = typeof name === 'string' ? `"${name}"` : String(name);
  throw invalid(
    place,
    `${shown} is no name for a ${kind}. Use 1 to 64 letters, digits, "_" or "-", beginning with a letter.`,
  );
}

export function checkVersion(version: unknown, place: string): void {
  if (Number.isSafeInteger(version) && Number(version) >= 1) return;
  throw invalid(place, `version is ${String(version)}. Use a whole number from 1.`);
}

/** Throws DEFINITION_INVALID unless `value` is an object that is neither null nor an array. */
export function checkMap(value: unknown, what: string, place: string): void {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return;
  throw invalid(place, `\`${what}\` is ${value === null ? 'null' : typeof value}. Use an object keyed by name.`);
}

export function checkFunction(value: unknown, what: string, place: string): void {
  if (typeof value === 'function') return;
  throw invalid(place, `\`${what}\` is ${value === null ? 'null' : typeof value}. Give it a function.`);
}

export function checkList(value: unknown, what: string, place: string): void {
  if (Array.isArray(value)) return;
  throw invalid(place, `\`${what}\` is ${value === null ? 'null' : typeof value}. Use an array.`);
}
