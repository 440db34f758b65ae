import { aborted, answerError, MillraceClientError, type WireError } from './client-error.ts';
import { type RetryTiming, rest, retryDelayMs, whenOnline } from './retry-delay.ts';

export type Headers = Readonly<Record<string, string>>;

/** How requests reach the gateway. */
export interface HttpOptions {
  readonly url: string;
  readonly fetch: typeof fetch;
  readonly headers: () => Headers | Promise<Headers>;
  readonly retry: RetryTiming;
  /** A try without an answer for so long is given up, and the next one begins. */
  readonly tryTimeoutMs: number;
}

export interface WireRequest {
  readonly query: string;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly operationName?: string | undefined;
}

interface WireAnswer {
  readonly data?: unknown;
  readonly errors?: readonly WireError[];
}

/** Statuses that say nothing about the request itself. */
export const passingStatuses: ReadonlySet<number> = new Set([408, 425, 429, 502, 503, 504]);

/**
 * One operation, tried again while that may help, until `timeoutMs`. What is sent must be safe to send twice. Throws
 * MillraceClientError: what the gateway answered, else NETWORK or ABORTED.
 */
export async function requestUntil(
  http: HttpOptions,
  request: WireRequest,
  limits: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined; readonly commandId?: string },
): Promise<unknown> {
  const { timeoutMs, signal, commandId } = limits;
  const deadline = performance.now() + timeoutMs;
  const never = new AbortController();
  for (let failures = 1; ; failures++) {
    const error = await tryOnce(http, request, deadline - performance.now(), signal, commandId).catch(
      (thrown: unknown) => {
        if (thrown instanceof MillraceClientError) return thrown;
        throw thrown;
      },
    );
    if (!(error instanceof MillraceClientError)) return error.data;
    const waitMs = Math.max(error.retryAfterMs ?? 0, retryDelayMs(failures, http.retry));
    if (!error.retryable || performance.now() + waitMs >= deadline) throw error;
    await rest(waitMs, signal ?? never.signal, whenOnline);
  }
}

async function tryOnce(
  http: HttpOptions,
  request: WireRequest,
  leftMs: number,
  signal: AbortSignal | undefined,
  commandId: string | undefined,
): Promise<{ readonly data: unknown }> {
  const isAborted = (): boolean => signal?.aborted === true;
  if (isAborted()) throw aborted(commandId);
  const controller = new AbortController();
  const give = (): void => controller.abort();
  signal?.addEventListener('abort', give, { once: true });
  const late = setTimeout(give, Math.max(1, Math.min(http.tryTimeoutMs, leftMs)));
  try {
    return { data: dataOf(await post(http, request, controller.signal, commandId), commandId) };
  } catch (error) {
    if (isAborted()) throw aborted(commandId);
    if (error instanceof MillraceClientError) throw error;
    const why = controller.signal.aborted ? 'it did not answer in time' : messageOf(error);
    throw new MillraceClientError('NETWORK', `${http.url} cannot be reached: ${why}.`, {
      retryable: true,
      commandId,
      cause: error,
    });
  } finally {
    clearTimeout(late);
    signal?.removeEventListener('abort', give);
  }
}

async function post(
  http: HttpOptions,
  request: WireRequest,
  signal: AbortSignal,
  commandId: string | undefined,
): Promise<WireAnswer> {
  const send = http.fetch;
  const response = await send(http.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/graphql-response+json, application/json;q=0.9',
      ...(await http.headers()),
    },
    body: JSON.stringify(request),
    signal,
  });
  const text = await response.text();
  const answer = answerIn(text);
  if (answer !== undefined) {
    const { errors } = answer;
    if (errors === undefined || !passingStatuses.has(response.status)) return answer;
    // The status of a gateway that is going, or of a proxy before it, says more than an error without a code.
    throw answerError(errors, { passing: true, commandId });
  }
  throw new MillraceClientError('BAD_ANSWER', `${http.url} answered ${response.status} and no GraphQL.`, {
    // Some proxies answer 500 where there is no gateway behind them.
    retryable: passingStatuses.has(response.status) || response.status === 500,
    commandId,
  });
}

function answerIn(text: string): WireAnswer | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && ('data' in value || 'errors' in value)
      ? (value as WireAnswer)
      : undefined;
  } catch {
    return undefined;
  }
}

function dataOf({ data, errors }: WireAnswer, commandId: string | undefined): unknown {
  if (errors !== undefined && errors.length > 0) throw answerError(errors, { commandId });
  return data;
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
