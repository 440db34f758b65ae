import { DOCUMENT_ID_MAX_LENGTH, idProblem } from '../define/stream-key.ts';
import { MillraceError } from '../errors.ts';
import type { ViewBuild } from '../store/view-documents.ts';
import { isScalar, type Scalar } from './scalar.ts';

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
  /** Revision of each partition, by its number, up to which every change was delivered; 0 where nothing was. */
  readonly revisions: readonly number[];
}

export function encodeViewCursor({ logId, view, generation, revisions }: ViewCursor): string {
  return encode([FORMAT, 'v', logId, view, generation, ...revisions]);
}

/** Throws BAD_CURSOR. The caller compares view and generation. */
export function decodeViewCursor(text: unknown, logId: string): ViewCursor {
  const [view, generation, ...revisions] = decode(text, 'v', logId);
  if (typeof view !== 'string' || !isCount(generation) || !revisions.every(isCount)) throw unreadable();
  return { logId, view, generation, revisions };
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
  if (typeof text !== 'string' || text.length === 0 || text.length > CURSOR_MAX_LENGTH) throw unreadable();
  const fields = parseFields(text);
  const [format, ofKind, ofLog, ...rest] = fields;
  if (format !== FORMAT || typeof ofLog !== 'string') throw unreadable();
  if (ofKind !== kind) throw new MillraceError('BAD_CURSOR', 'This cursor was issued for something else.');
  if (ofLog !== logId) throw new MillraceError('BAD_CURSOR', 'This cursor belongs to another log.');
  return rest;
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
