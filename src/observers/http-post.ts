/** What the other side answered. */
export interface PostAnswer {
  readonly status: number;
  /** What the `Retry-After` header asks for; undefined without one. */
  readonly retryAfterMs: number | undefined;
  /** The first part of the body, as text for people. */
  readonly text: string;
}

/** More of an answer is not read. */
const ANSWER_MAX_BYTES = 4_096;

/**
 * One POST. Redirects are not followed: a signed message must not go where its sender did not send it. At most 4 KiB of the answer
 * are read. Rejects when there is no answer, and when the signal aborts.
 */
export async function postOnce(request: {
  readonly url: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
}): Promise<PostAnswer> {
  const { url, body, signal } = request;
  const headers = { 'user-agent': 'millrace', ...request.headers };
  const response = await fetch(url, { method: 'POST', body, headers, signal, redirect: 'manual' });
  return {
    status: response.status,
    retryAfterMs: retryAfterMs(response.headers.get('retry-after'), Date.now()),
    text: await firstPart(response),
  };
}

async function firstPart(response: Response): Promise<string> {
  if (response.body === null) return '';
  const reader = response.body.getReader();
  const parts: Uint8Array[] = [];
  let bytes = 0;
  try {
    while (bytes < ANSWER_MAX_BYTES) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      bytes += value.length;
    }
  } finally {
    // The rest would only keep the connection busy.
    await reader.cancel().catch(() => undefined);
  }
  return Buffer.concat(parts).subarray(0, ANSWER_MAX_BYTES).toString();
}

/** Seconds or an HTTP date; undefined for anything else. */
export function retryAfterMs(header: string | null, nowMs: number): number | undefined {
  if (header === null) return undefined;
  const text = header.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  // RFC 9110 dates begin with a day's name; Date.parse takes much more than that.
  const at = /^[A-Z][a-z]{2},? /.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}

/** Why `fetch` failed, with what lies below its "fetch failed". */
export function whyNoAnswer(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const below = error.cause instanceof Error ? error.cause : undefined;
  if (below === undefined) return error.message;
  const code = 'code' in below && typeof below.code === 'string' ? below.code : undefined;
  return below.message || code || error.message;
}
