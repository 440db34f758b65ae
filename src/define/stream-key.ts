/**
 * A stream key is `tenant/aggregate/id`, each part with `%` and `/` percent-escaped: one string, unambiguous, and all
 * streams of a tenant's aggregate are one range.
 */
export interface StreamAddress {
  readonly tenant: string;
  readonly aggregate: string;
  readonly id: string;
}

/** Longest aggregate id, in UTF-16 code units. */
export const ID_MAX_LENGTH = 256;
/** Longest id of a document, in UTF-16 code units: room for the id of an aggregate and what a projector's `key` adds. */
export const DOCUMENT_ID_MAX_LENGTH = 1024;
export const DEFAULT_TENANT = 'default';

const escapePart = (part: string): string =>
  part.includes('%') || part.includes('/') ? part.replaceAll('%', '%25').replaceAll('/', '%2F') : part;
const unescapePart = (part: string): string =>
  part.includes('%') ? part.replaceAll('%2F', '/').replaceAll('%25', '%') : part;

export function streamKey(address: StreamAddress): string {
  return `${escapePart(address.tenant)}/${escapePart(address.aggregate)}/${escapePart(address.id)}`;
}

export function parseStreamKey(key: string): StreamAddress {
  const [tenant = '', aggregate = '', id = ''] = key.split('/');
  return { tenant: unescapePart(tenant), aggregate: unescapePart(aggregate), id: unescapePart(id) };
}

/**
 * Why a string cannot be an id (of an aggregate or command; of a document with DOCUMENT_ID_MAX_LENGTH), or undefined when
 * it can.
 */
export function idProblem(id: unknown, maxLength: number = ID_MAX_LENGTH): string | undefined {
  if (typeof id !== 'string') return `must be a string, is ${id === null ? 'null' : typeof id}`;
  if (id.length === 0) return 'must not be empty';
  if (id.length > maxLength) return `must not be longer than ${maxLength} characters, has ${id.length}`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are exactly what is refused
  if (/[\u0000-\u001f\u007f]/.test(id)) return 'must not contain control characters';
  if (!id.isWellFormed()) return 'must be well-formed Unicode';
  return undefined;
}
