import { createHash } from 'node:crypto';
import { DOCUMENT_ID_MAX_LENGTH, idProblem } from '../../define/stream-key.ts';
import { MillraceError } from '../../errors.ts';
import type { ViewBuild } from '../../store/view-documents.ts';
import { isScalar, type Scalar } from './scalar.ts';
import { type CheckedFilter, filterKey } from './view-filter.ts';

/**
 * Cursors are opaque to clients: base64url of compact JSON, with the log they belong to. They name a place and give no
 * right: whoever reads on from one passes the same rules as whoever starts anew. Every field is checked by type, so no
 * cursor can carry an operator to MongoDB, and only the spelling that was issued is taken back.
 */
const FORMAT = 1;
const CURSOR_MAX_LENGTH = 65_536;
type Kind = 'v' | 'e' | 'l' | 't';

/** How far a subscriber of a view has come. */
export interface ViewCursor extends ViewBuild {
  readonly logId: string;
  /** When this build was begun, in ms since 1970: one that was dropped and made anew counts its revisions anew. */
  readonly builtAtMs: number;
  /** When it was told, in seconds since 1970: what was removed long ago is forgotten. */
  readonly issuedAtS: number;
  /** Revision of each partition, by its number, up to which every change was delivered; empty: nothing was yet. */
  readonly revisions: readonly number[];
  /** What it was issued for, as `documentScope` or `listScope` says it. */
  readonly scope: string;
}

/** A cursor without its scope: the same for all subscribers of a view, so it is made once for many. */
export function encodeViewPlace(place: Omit<ViewCursor, 'scope'>): string {
  const { logId, view, generation, builtAtMs, issuedAtS, revisions } = place;
  return encode([FORMAT, 'v', logId, view, generation, builtAtMs, issuedAtS, ...revisions]);
}
export const withScope = (place: string, scope: string): string => `${place}.${scope}`;
export const encodeViewCursor = (cursor: ViewCursor): string => withScope(encodeViewPlace(cursor), cursor.scope);

export const documentScope = (id: string): string => `d${digest(id)}`;
export const listScope = (filter: CheckedFilter): string => `l${digest(filterKey(filter))}`;
const digest = (text: string): string => createHash('sha256').update(text).digest('base64url').slice(0, 12);
const SCOPE = /^[dl][\w-]{12}$/;

/** Throws BAD_CURSOR for what was not issued like this. Whether it fits is for `resume.ts`, also for the log. */
export function decodeViewCursor(text: unknown): ViewCursor {
  const [place, scope, ...more] = typeof text === 'string' && text.length <= CURSOR_MAX_LENGTH ? text.split('.') : [];
  const [logId, view, generation, builtAtMs, issuedAtS, ...revisions] = decodeAny(place, 'v');
  if (typeof view !== 'string' || !isCount(generation) || !isCount(builtAtMs) || !isCount(issuedAtS))
    throw unreadable();
  if (!revisions.every(isCount)) throw unreadable();
  if (scope === undefined || !SCOPE.test(scope) || more.length > 0) throw unreadable();
  return { logId, view, generation, builtAtMs, issuedAtS, revisions, scope };
}

/** A place in the log: of an event that was delivered, or reached. */
export function encodeEventCursor(logId: string, position: number): string {
  return encode([FORMAT, 'e', logId, position]);
}

/** Position of the cursor. Throws BAD_CURSOR. */
export function decodeEventCursor(text: unknown, logId: string): number {
  const [position, ...more] = decode(text, 'e', logId);
  if (!isCount(position) || more.length > 0) throw unreadable();
  return position;
}

/** A place in a list of a view: where a document stood when it was read. */
export interface ListCursor {
  /** Order of the list, as `orderName` tells it; the values say nothing under another one. */
  readonly order: string;
  readonly key: readonly Scalar[];
}

export function encodeListCursor(logId: string, build: ViewBuild, { order, key }: ListCursor): string {
  return encode([FORMAT, 'l', logId, build.view, build.generation, order, ...key.map(tag)]);
}

/** Throws BAD_CURSOR for a cursor of another view, generation or order. */
export function decodeListCursor(
  text: unknown,
  logId: string,
  build: ViewBuild,
  order: string,
  length: number,
): readonly Scalar[] {
  const [view, generation, ofOrder, ...tagged] = decode(text, 'l', logId);
  if (view !== build.view) throw new MillraceError('BAD_CURSOR', 'This cursor belongs to another view.');
  if (generation !== build.generation) {
    throw new MillraceError(
      'BAD_CURSOR',
      'This cursor belongs to an older build of the view. Start again without a cursor.',
    );
  }
  if (ofOrder !== order) throw new MillraceError('BAD_CURSOR', 'This cursor belongs to a list with another sort.');
  const key = tagged.map(untag);
  if (key.length !== length || idProblem(key.at(-1), DOCUMENT_ID_MAX_LENGTH) !== undefined) throw unreadable();
  return key;
}

/** A place in a list of the platform's own records, by what it is sorted by. */
export function encodeRecordCursor(logId: string, list: string, key: readonly (string | number)[]): string {
  return encode([FORMAT, 't', logId, list, ...key]);
}

/** One value for each of `types`. Throws BAD_CURSOR for a cursor of another list. */
export function decodeRecordCursor(
  text: unknown,
  logId: string,
  list: string,
  types: readonly ('string' | 'number')[],
): readonly (string | number)[] {
  const [ofList, ...key] = decode(text, 't', logId);
  if (ofList !== list) throw new MillraceError('BAD_CURSOR', 'This cursor belongs to another list.');
  if (key.length !== types.length) throw unreadable();
  return key.map((value, index) => {
    if (typeof value === 'string' && types[index] === 'string' && value.length <= DOCUMENT_ID_MAX_LENGTH) return value;
    if (typeof value === 'number' && types[index] === 'number' && isCount(value)) return value;
    throw unreadable();
  });
}

function encode(fields: readonly unknown[]): string {
  return Buffer.from(JSON.stringify(fields)).toString('base64url');
}

function decode(text: unknown, kind: Kind, logId: string): readonly unknown[] {
  const [ofLog, ...rest] = decodeAny(text, kind);
  if (ofLog !== logId) throw new MillraceError('BAD_CURSOR', 'This cursor belongs to another log.');
  return rest;
}

/** Of any log: its id, then what stands behind it. */
function decodeAny(text: unknown, kind: Kind): readonly [logId: string, ...unknown[]] {
  if (typeof text !== 'string' || text.length === 0 || text.length > CURSOR_MAX_LENGTH) throw unreadable();
  const [format, ofKind, ofLog, ...rest] = parseFields(text);
  if (format !== FORMAT || typeof ofLog !== 'string') throw unreadable();
  if (ofKind !== kind) throw new MillraceError('BAD_CURSOR', 'This cursor was issued for something else.');
  return [ofLog, ...rest];
}

function parseFields(text: string): readonly unknown[] {
  try {
    const fields: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    return Array.isArray(fields) && encode(fields) === text ? fields : [];
  } catch {
    return [];
  }
}

/** What JSON has no word for. */
function tag(value: Scalar): unknown {
  if (value instanceof Date) return ['date', value.getTime()];
  if (typeof value === 'number' && !Number.isFinite(value)) return ['number', String(value)];
  return value;
}

function untag(value: unknown): Scalar {
  if (!Array.isArray(value)) {
    if (isScalar(value)) return value;
    throw unreadable();
  }
  const [type, content, ...more] = value;
  if (more.length === 0 && type === 'date' && isCount(Math.abs(content)) && Math.abs(content) <= 8.64e15)
    return new Date(content);
  if (more.length === 0 && type === 'number' && ['NaN', 'Infinity', '-Infinity'].includes(content))
    return Number(content);
  throw unreadable();
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

const unreadable = (): MillraceError =>
  new MillraceError('BAD_CURSOR', 'This is not a cursor of Millrace, or it was cut or changed. Pass it as it came.');
