import { GraphQLError } from 'graphql';
import { newId } from '../engine/concurrency/new-id.ts';
import { type ErrorCode, errorTable, isMillraceError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import { limits } from './limits.ts';

/** Turns whatever was thrown into what a client may see. The same on every door; `correlationId` goes to the log. */
export type ClientErrors = (error: unknown, correlationId?: string) => GraphQLError;

/**
 * Exposed errors keep code, message and details; GraphQL's own errors get a code and lose suggestions in production.
 * Anything else becomes "Unexpected error." with an `errorId` under which it is logged, `retryable` where asking again may
 * help, and `commandIds` if it names any.
 */
export function clientErrors(options: { readonly logger: Logger; readonly production: boolean }): ClientErrors {
  return (error, correlationId) => {
    const cause = innermost(error);
    const outer = error instanceof GraphQLError ? error : undefined;
    if (isMillraceError(cause) && cause.exposed) {
      return rebuilt(outer, cause.message, { ...cause.details, code: cause.code, retryable: cause.retryable });
    }
    if (cause instanceof GraphQLError) {
      // "Variable "$x" got invalid value …; <inner>" says where.
      const { message } = outer ?? cause;
      return rebuilt(outer ?? cause, options.production ? withoutSuggestion(message) : message, {
        ...cause.extensions,
        ...outer?.extensions,
        ...codeOf(cause, outer),
      });
    }
    const errorId = newId();
    const fields = { errorId, correlationId, err: cause, path: outer?.path?.join('.') };
    options.logger.error(fields, 'unexpected error in an operation');
    // Of several commands some may have taken effect, so the client has to know what to repeat.
    const repeat =
      isMillraceError(cause) && 'commandIds' in cause.details ? { commandIds: cause.details.commandIds } : {};
    // MongoDB that is away for a moment must not end a subscription for good.
    const passing = isMillraceError(cause) && cause.retryable ? { retryable: true } : {};
    return rebuilt(outer, 'Unexpected error.', {
      code: 'INTERNAL' satisfies ErrorCode,
      errorId,
      ...repeat,
      ...passing,
    });
  };
}

/** An error of the gateway itself. */
export const coded = (code: ErrorCode, message: string): GraphQLError =>
  new GraphQLError(message, { extensions: { code, ...(errorTable[code].retryable ? { retryable: true } : {}) } });

/** An error as JSON, without what only Yoga reads. */
export function plainError(error: GraphQLError): ReturnType<GraphQLError['toJSON']> {
  const { extensions, ...rest } = error.toJSON();
  if (extensions === undefined) return rest;
  const { http: _http, ...shown } = extensions;
  return { ...rest, extensions: shown };
}

/** What was thrown first: GraphQL wraps errors as they pass. */
function innermost(error: unknown): unknown {
  let current = error;
  for (let depth = 0; depth < 20; depth++) {
    if (!(current instanceof GraphQLError) || current.originalError == null) return current;
    current = current.originalError;
  }
  return current;
}

/** Errors about variables come without a code and without a path. What authors throw stays as they wrote it. */
function codeOf(cause: GraphQLError, outer: GraphQLError | undefined): Readonly<Record<string, unknown>> {
  if (cause.extensions.code !== undefined || outer?.extensions.code !== undefined) return {};
  if ((outer ?? cause).path !== undefined) return {};
  // As for errors of validation: 400 for clients that speak GraphQL over HTTP, 200 for those that ask for plain JSON.
  return { code: 'BAD_USER_INPUT' satisfies ErrorCode, http: { spec: true, status: 400 } };
}

/** Cut first: a message repeats what the client sent, up to a megabyte, and the cut may have taken the "?". */
const withoutSuggestion = (message: string): string => cut(message).replace(/ ?Did you mean [^?]*(\?|$)/g, '');

const cut = (message: string): string =>
  message.length > limits.errorMessageMaxLength ? `${message.slice(0, limits.errorMessageMaxLength)}…` : message;

/** The same place in the document, with other words. */
export function rebuilt(
  from: GraphQLError | undefined,
  message: string,
  extensions: Record<string, unknown>,
): GraphQLError {
  return new GraphQLError(cut(message), {
    nodes: from?.nodes ?? null,
    source: from?.source ?? null,
    positions: from?.positions ?? null,
    path: from?.path ?? null,
    extensions,
  });
}
