import type { EventMeta } from './event.ts';

/** Longest `baggage`, in characters: every event carries it. */
export const BAGGAGE_MAX_LENGTH = 1_024;

/** One member of a W3C baggage list: `key=value`, the value percent-encoded; properties after `;` are let through. */
const member =
  /^\s*[!#$%&'*+\-.^_`|~0-9A-Za-z]+\s*=\s*[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*\s*(;[\x20-\x2b\x2d-\x7e]*)?$/;

/** Why a text cannot be the caller's baggage, or undefined when it can. */
export function baggageProblem(text: unknown): string | undefined {
  if (typeof text !== 'string') return `must be a string, is ${text === null ? 'null' : typeof text}`;
  if (text.length > BAGGAGE_MAX_LENGTH) {
    return `must not be longer than ${BAGGAGE_MAX_LENGTH} characters, has ${text.length}`;
  }
  if (text.split(',').every((part) => member.test(part))) return undefined;
  return 'must be a list of key=value as in the W3C baggage header';
}

/**
 * What the caller said along the way (`baggage` of the metadata, as the W3C header has it), by key. Values are decoded; of a key
 * that is there twice the last counts.
 */
export function baggageOf(meta: Pick<EventMeta, 'baggage'>): ReadonlyMap<string, string> {
  const members = new Map<string, string>();
  for (const part of (meta.baggage ?? '').split(',')) {
    const [pair = ''] = part.split(';', 1);
    const at = pair.indexOf('=');
    if (at > 0) members.set(pair.slice(0, at).trim(), decoded(pair.slice(at + 1).trim()));
  }
  return members;
}

/**
 * `baggage` with more members; those that are there already keep their value, and what would make it too long is left out.
 * Undefined when there is none at all.
 */
export function moreBaggage(
  baggage: string | undefined,
  more: Iterable<readonly [key: string, value: string]>,
): string | undefined {
  const known = baggageOf({ baggage });
  let text = baggage ?? '';
  for (const [key, value] of more) {
    const next = `${text === '' ? '' : `${text},`}${key}=${encodeURIComponent(value)}`;
    if (!known.has(key) && baggageProblem(next) === undefined) text = next;
  }
  return text === '' ? undefined : text;
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
