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

export interface WireAnswer {
  readonly data?: unknown;
  readonly errors?: readonly WireError[];
}

/** Throws BAD_DOCUMENT where JSON cannot hold the variables. */
export function wireBody(request: WireRequest): string {
  try {
    return JSON.stringify(request);
  } catch (error) {
    const names = Object.entries(request.variables).flatMap(([name, value]) => (isJson(value) ? [] : [`$${name}`]));
    throw new MillraceClientError(
      'BAD_DOCUMENT',
      `The variables cannot be sent (${names.join(', ')}): ${messageOf(error)}. Give them as JSON has them, a BigInt as a number or text.`,
      { cause: error },
    );
  }
}

function isJson(value: unknown): boolean {
  try {
    JSON.stringify(value);
    return true;
  } catch {
    return false;
  }
}

/** Statuses that say nothing about the request itself. */
export const passingStatuses: ReadonlySet<number> = new Set([408, 425, 429, 502, 503, 504]);

export interface RequestUntil {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly commandId?: string | undefined;
  /** Whether an answer with errors has what was asked for all the same. Default: it has not. */
  readonly suffices?: (data: unknown) => boolean;
}

/**
 * One operation, tried again while that may help, until `timeoutMs`. What is sent must be safe to send twice. Throws
 * MillraceClientError: what the gateway answered, else NETWORK, BAD_ANSWER or ABORTED. A command of which a try may have
 * been taken ends as OUTCOME_UNKNOWN, whatever the last try was answered.
 */
export async function requestUntil(http: HttpOptions, request: WireRequest, limits: RequestUntil): Promise<WireAnswer> {
  const { timeoutMs, signal, commandId } = limits;
  const body = wireBody(request);
  const deadline = performance.now() + timeoutMs;
  const never = new AbortController();
  let maybeTaken = false;
  for (let failures = 1; ; failures++) {
    const answer = await tryOnce(http, body, deadline - performance.now(), limits).catch((thrown: unknown) => {
      if (thrown instanceof MillraceClientError) return thrown;
      throw thrown;
    });
    if (!(answer instanceof MillraceClientError)) return answer;
    maybeTaken ||= answer.retryable && leavesOpen.has(answer.code);
    const waitMs = Math.max(answer.retryAfterMs ?? 0, retryDelayMs(failures, http.retry));
    if (!answer.retryable || performance.now() + waitMs >= deadline) {
      throw commandId !== undefined && maybeTaken ? unknownOutcome(answer, commandId) : answer;
    }
    await rest(waitMs, signal ?? never.signal, whenOnline);
  }
}

/** After a try that ended so, the command may have been carried out; every other code of the gateway says that it was not. */
const leavesOpen: ReadonlySet<string> = new Set(['NETWORK', 'BAD_ANSWER', 'OUTCOME_UNKNOWN', 'INTERNAL']);

/** A refusal by the gateway itself is final, and so is the caller's own end. */
function unknownOutcome(last: MillraceClientError, commandId: string): MillraceClientError {
  const says = last.code === 'OUTCOME_UNKNOWN' || (!last.retryable && last.code !== 'BAD_ANSWER');
  if (says) return last;
  return new MillraceClientError(
    'OUTCOME_UNKNOWN',
    `Whether the command ${commandId} was carried out is not known: ${last.message} Send it again with this commandId.`,
    { retryable: true, commandId, cause: last },
  );
}

async function tryOnce(
  http: HttpOptions,
  body: string,
  leftMs: number,
  { signal, commandId, suffices }: RequestUntil,
): Promise<WireAnswer> {
  const isAborted = (): boolean => signal?.aborted === true;
  if (isAborted()) throw aborted(commandId);
  const controller = new AbortController();
  const give = (): void => controller.abort();
  signal?.addEventListener('abort', give, { once: true });
  const late = setTimeout(give, Math.max(1, Math.min(http.tryTimeoutMs, leftMs)));
  try {
    const answer = await post(http, body, controller.signal, commandId);
    const { data, errors = [] } = answer;
    if (errors.length > 0 && suffices?.(data) !== true) throw answerError(errors, { data, commandId });
    return answer;
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
  body: string,
  signal: AbortSignal,
  commandId: string | undefined,
): Promise<WireAnswer> {
  const send = http.fetch;
  const response = await send(http.url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/graphql-response+json, application/json;q=0.9',
      ...(await headersWithin(http, signal)),
    },
    body,
    signal,
  });
  const retryAfterMs = retryAfterOf(response);
  const text = await response.text();
  const answer = answerIn(text);
  if (answer !== undefined) {
    const { errors } = answer;
    if (errors === undefined || !passingStatuses.has(response.status)) return answer;
    // The status of a gateway that is going, or of a proxy before it, says more than an error without a code.
    throw answerError(errors, { passing: true, commandId, retryAfterMs });
  }
  throw new MillraceClientError('BAD_ANSWER', `${http.url} answered ${response.status} and no GraphQL.`, {
    // Some proxies answer 500 where there is no gateway behind them.
    retryable: passingStatuses.has(response.status) || response.status === 500,
    commandId,
    retryAfterMs,
  });
}

/** The caller's headers may come from a request of their own, which may hang. */
export async function headersWithin(http: HttpOptions, signal: AbortSignal): Promise<Headers> {
  const ended = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  return Promise.race([http.headers(), ended]);
}

const RETRY_AFTER_MAX_MS = 3_600_000;

/** What a proxy says in `Retry-After`: seconds, or a date. */
export function retryAfterOf({ headers }: Response): number | undefined {
  const said = headers.get('retry-after');
  if (said === null) return undefined;
  const ms = /^\d+$/.test(said.trim()) ? Number(said) * 1_000 : Date.parse(said) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.min(RETRY_AFTER_MAX_MS, Math.max(0, ms));
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

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
