import { MillraceClientError } from './client-error.ts';
import type { MillraceClient } from './contract.ts';
import { readDocument } from './document.ts';

/** An operation as other GraphQL clients hand it on. */
export interface ForwardedOperation {
  /** Text or a parsed document. */
  readonly query?: unknown;
  readonly variables?: object | null | undefined;
  readonly operationName?: string | null | undefined;
}
/** An answer as other GraphQL clients take it. */
export interface ForwardedResult {
  // biome-ignore lint/suspicious/noExplicitAny: each of these clients has a type of its own for it
  readonly data?: any;
  // biome-ignore lint/suspicious/noExplicitAny: the same
  readonly errors?: any;
}
export interface ForwardedSink {
  next?(result: ForwardedResult): void;
  error?(error: unknown): void;
  complete?(): void;
}
/** What is observable for urql, Apollo and their like. */
export interface Forwarded {
  subscribe(sink: ForwardedSink): { unsubscribe(): void };
}

/** Whatever the operation is, carried as this client carries it. */
export function forward(client: MillraceClient, operation: ForwardedOperation): Forwarded {
  return {
    subscribe(sink) {
      const given = {
        query: operation.query as string,
        variables: (operation.variables ?? {}) as Record<string, unknown>,
        ...(operation.operationName == null ? {} : { operationName: operation.operationName }),
      };
      const { kind } = readDocument(given.query, given.operationName);
      if (kind === 'subscription') {
        const unsubscribe = client.subscribe(given, {
          next: (message) => sink.next?.(message),
          error: (error) => sink.error?.(error),
          complete: () => sink.complete?.(),
        });
        return { unsubscribe };
      }
      const controller = new AbortController();
      const { signal } = controller;
      const answer: Promise<ForwardedResult> =
        kind === 'query'
          ? client.query(given, { signal }).then((data) => ({ data }))
          : client
              .send(given, { signal })
              .then(({ data, errors }) => (errors === undefined ? { data } : { data, errors }));
      answer.then(
        (result) => finish(sink, signal, result),
        (error: unknown) => finish(sink, signal, answerIn(error), error),
      );
      return { unsubscribe: () => controller.abort() };
    },
  };
}

function finish(sink: ForwardedSink, left: AbortSignal, result: ForwardedResult | undefined, error?: unknown): void {
  if (left.aborted) return;
  if (result === undefined) {
    sink.error?.(error);
    return;
  }
  sink.next?.(result);
  sink.complete?.();
}

/** The gateway's own errors are an answer, with what there is of data; everything else is none. */
function answerIn(error: unknown): ForwardedResult | undefined {
  if (!(error instanceof MillraceClientError) || error.errors.length === 0) return undefined;
  const { data, errors } = error;
  return data === undefined ? { errors } : { data, errors };
}
