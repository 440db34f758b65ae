import { MongoError, MongoErrorLabel } from 'mongodb';

/**
 * What an error of MongoDB means for delivery. `conflict`: another transaction is on the same documents. `unstorable`: these
 * documents can never be written. `transient`: everything else; the surroundings, never the fault of an event.
 */
export type ErrorMeaning = 'conflict' | 'unstorable' | 'transient';

const DUPLICATE_KEY = 11_000;
const CONFLICTS = new Set([112, DUPLICATE_KEY]);
/** BadValue, FailedToParse, TypeMismatch, field names, document too large, document validation, key too long. */
const UNSTORABLE = new Set([2, 9, 14, 52, 55, 57, 121, 10_334, 17_280, 17_419, 17_420, 17_261]);
const INVALID_OPTIONS = 72;
/** ChangeStreamFatalError, ChangeStreamHistoryLost, InvalidResumeToken, CappedPositionLost. */
const STREAM_LOST = new Set([280, 286, 260, 136]);

export function errorCode(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'number' ? error.code : undefined;
}

export function meaningOf(error: unknown): ErrorMeaning {
  const code = errorCode(error);
  if (code !== undefined && CONFLICTS.has(code)) return 'conflict';
  if (code !== undefined && UNSTORABLE.has(code)) return 'unstorable';
  if (error instanceof MongoError) return 'transient';
  const name = error instanceof Error ? error.name : '';
  return name === 'BSONError' || error instanceof RangeError || error instanceof TypeError ? 'unstorable' : 'transient';
}

/** An error of the driver or the server, not of an author's code that was called. */
export const isMongoError = (error: unknown): boolean => error instanceof MongoError;

export const isDuplicateKey = (error: unknown): boolean => errorCode(error) === DUPLICATE_KEY;

/** The transaction may or may not have been committed. */
export const isUnknownCommit = (error: unknown): boolean =>
  error instanceof MongoError && error.hasErrorLabel(MongoErrorLabel.UnknownTransactionCommitResult);

/** A causal read after a time that this server has not heard of: others have gone on without it. */
export const isServerBehind = (error: unknown): boolean =>
  errorCode(error) === INVALID_OPTIONS && error instanceof Error && error.message.includes('current clusterTime');

/** A change stream that cannot go on from its token: drop the token and scan. */
export function isStreamLost(error: unknown): boolean {
  const code = errorCode(error);
  if (code !== undefined && STREAM_LOST.has(code)) return true;
  return error instanceof MongoError && error.hasErrorLabel('NonResumableChangeStreamError');
}
