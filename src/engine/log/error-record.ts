import { createHash } from 'node:crypto';
import { isMillraceError } from '../../errors.ts';
import type { StoredError } from '../../store/documents.ts';

const MESSAGE_MAX_LENGTH = 2_000;
const STACK_MAX_LENGTH = 4_000;
const TYPE_MAX_LENGTH = 200;
const ISSUES_MAX_COUNT = 50;
/** What of a message says which kind of error it is. */
const SHAPE_MAX_LENGTH = 300;

/**
 * What was thrown, as it is kept: bounded in size, never throws, whatever it was: strings, `undefined`, errors with cycles,
 * with getters that throw, with messages of megabytes.
 */
export function storedError(thrown: unknown): StoredError {
  const type = typeOf(thrown);
  const message = cut(messageOf(thrown), MESSAGE_MAX_LENGTH);
  const stack = thrown instanceof Error ? text(() => thrown.stack) : undefined;
  const issues = issuesOf(thrown);
  return {
    code: isMillraceError(thrown) ? thrown.code : 'HANDLER_FAILED',
    type,
    message,
    stack: stack === undefined ? null : cut(stack, STACK_MAX_LENGTH),
    fingerprint: fingerprintOf(type, message, stack),
    ...(issues.length > 0 && { issues }),
  };
}

/** The same for errors of one type, one shape of message and one place in the code. */
function fingerprintOf(type: string, message: string, stack: string | undefined): string {
  const parts = [type, shapeOf(message), topFrame(stack ?? '')];
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16);
}

/** The message without what differs from one event to the next: quoted text, ids, numbers. */
export function shapeOf(message: string): string {
  return (
    message
      .slice(0, SHAPE_MAX_LENGTH)
      .replace(/"[^"]*"?|`[^`]*`?|(?<!\w)'[^']*'/g, '"…"')
      .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, '#')
      // Words with a digit in them: numbers, hashes, ids, dates.
      .replace(/[\p{L}\w-]*\d[\p{L}\w.:-]*/gu, '#')
      .replace(/\s+/g, ' ')
      .trim()
  );
}

/** Function and file of the first frame that is not Node's; without line and column, which every edit moves. */
function topFrame(stack: string): string {
  const frames = stack
    .slice(0, 20_000)
    .split('\n')
    .filter((line) => /^\s+at /.test(line));
  const frame = frames.find((line) => !/\(?node:/.test(line)) ?? frames[0] ?? '';
  return frame.trim().replace(/:\d+:\d+\)?$/, '');
}

function typeOf(thrown: unknown): string {
  if (thrown === null) return 'null';
  if (!(thrown instanceof Error)) return typeof thrown;
  const name = text(() => thrown.name) || text(() => thrown.constructor.name) || 'Error';
  return cut(name, TYPE_MAX_LENGTH);
}

function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) return text(() => thrown.message) ?? '';
  if (typeof thrown === 'string') return thrown;
  if (typeof thrown !== 'object' || thrown === null) return String(thrown);
  const message = text(() => (thrown as { readonly message?: unknown }).message);
  if (message !== undefined) return message;
  return text(() => JSON.stringify(thrown)) ?? 'an object that cannot be shown';
}

/** A text, or nothing when it is none or cannot be had. */
function text(get: () => unknown): string | undefined {
  try {
    const value = get();
    return typeof value === 'string' ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What a schema objects to, where the error says so. */
function issuesOf(thrown: unknown): NonNullable<StoredError['issues']> {
  const given = isMillraceError(thrown) ? thrown.details.issues : undefined;
  if (!Array.isArray(given)) return [];
  return given.slice(0, ISSUES_MAX_COUNT).flatMap((issue: unknown) => {
    if (typeof issue !== 'object' || issue === null || !('message' in issue)) return [];
    const path = 'path' in issue && Array.isArray(issue.path) ? issue.path.slice(0, 20) : [];
    const steps = path.map((step: unknown) =>
      typeof step === 'number' ? step : cut(text(() => String(step)) ?? '?', 100),
    );
    return [{ path: steps, message: cut(text(() => String(issue.message)) ?? '?', 300) }];
  });
}

/** Not inside a character: half of a pair cannot be stored as UTF-8. */
function cut(value: string, maxLength: number): string {
  if (value.length <= maxLength) return value.isWellFormed() ? value : value.toWellFormed();
  return `${value.slice(0, maxLength - 1)}…`.toWellFormed();
}
