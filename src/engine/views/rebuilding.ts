import { MillraceError } from '../../errors.ts';

const RETRY_AFTER_MS = 1_000;

/** VIEW_BEHIND: this code asks a view for something that only its own version of it has, and an older one is read. */
export const rebuilding = (what: string, cause?: unknown): MillraceError =>
  new MillraceError(
    'VIEW_BEHIND',
    `${what}: an older version of the view is read until the new one is built. Ask again in ${RETRY_AFTER_MS} ms, or see \`millrace rebuild list\`.`,
    { cause, details: { reason: 'REBUILDING', retryAfterMs: RETRY_AFTER_MS } },
  );
