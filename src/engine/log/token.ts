import { idProblem, parseStreamKey, streamKey } from '../../define/stream-key.ts';
import { MillraceError } from '../../errors.ts';

/**
 * What a receipt token says: which command, on which stream of which log, and which versions its events have.
 * It is a name, not a secret and not a right: whoever may read a view may wait for any command.
 */
export interface Token {
  readonly logId: string;
  /** Stream key. */
  readonly stream: string;
  readonly commandId: string;
  /** Version of the first event; null when the command was accepted with no events; 0 when it was queued: nobody knows yet. */
  readonly firstVersion: number | null;
  readonly eventCount: number;
}

/** What the token of a queued command says of its events. */
export const UNDECIDED = { firstVersion: 0, eventCount: 0 } as const;

const FORMAT = 1;
/** Longer than any token that was ever issued: id and command id have 256 code units at most. */
const TOKEN_MAX_LENGTH = 8_192;
/** No commit has more: the highest COMMIT_MAX_EVENTS that settings take. */
const EVENTS_MAX_COUNT = 10_000;

/** Opaque text for clients: base64url of compact JSON. */
export function encodeToken(token: Token): string {
  const { logId, stream, commandId, firstVersion, eventCount } = token;
  return Buffer.from(JSON.stringify([FORMAT, logId, stream, commandId, firstVersion, eventCount])).toString(
    'base64url',
  );
}

/** Throws BAD_TOKEN when the text is no token, is cut or changed, or belongs to another log. */
export function decodeToken(text: unknown, logId: string): Token {
  const token = readToken(text);
  if (token.logId !== logId) {
    throw new MillraceError('BAD_TOKEN', 'This token belongs to another log. Use it where its command was sent.');
  }
  return token;
}

function readToken(text: unknown): Token {
  if (typeof text !== 'string' || text.length === 0 || text.length > TOKEN_MAX_LENGTH) throw unreadable();
  const fields = parseFields(text);
  if (fields.length !== 6) throw unreadable();
  const [format, logId, stream, commandId, firstVersion, eventCount] = fields;
  if (format !== FORMAT || typeof logId !== 'string' || typeof stream !== 'string') throw unreadable();
  if (typeof commandId !== 'string' || idProblem(commandId) !== undefined || !isStreamKey(stream)) throw unreadable();
  if (!isCount(eventCount) || eventCount > EVENTS_MAX_COUNT) throw unreadable();
  const eventless = firstVersion === null || firstVersion === UNDECIDED.firstVersion;
  if (eventless !== (eventCount === 0) || !(firstVersion === null || isCount(firstVersion))) throw unreadable();
  const token: Token = { logId, stream, commandId, firstVersion: firstVersion as number | null, eventCount };
  // One command has one token: other spellings of the same fields were not issued here.
  if (encodeToken(token) !== text) throw unreadable();
  return token;
}

function parseFields(text: string): readonly unknown[] {
  try {
    const fields: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    return Array.isArray(fields) ? fields : [];
  } catch {
    return [];
  }
}

function isStreamKey(text: string): boolean {
  const { tenant, aggregate, id } = parseStreamKey(text);
  return (
    [tenant, aggregate, id].every((part) => idProblem(part) === undefined) &&
    streamKey({ tenant, aggregate, id }) === text
  );
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;

const unreadable = (): MillraceError =>
  new MillraceError(
    'BAD_TOKEN',
    'This is not a token of Millrace, or it was cut or changed. Pass the `token` of the receipt as it came.',
  );
