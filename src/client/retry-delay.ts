/** How tries follow one another. */
export interface RetryTiming {
  /** Longest wait before the second try, in milliseconds; doubles with each further one. Default 250. */
  readonly minMs?: number;
  /** No wait is longer than this. Default 15,000. */
  readonly maxMs?: number;
}

/** Exponential with full jitter, but never less than a tenth: clients that lost one gateway do not come back together. */
export function retryDelayMs(failures: number, { minMs = 250, maxMs = 15_000 }: RetryTiming = {}): number {
  const top = Math.min(maxMs, minMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
  return top * (0.1 + 0.9 * Math.random());
}

/** Resolves after `ms`, when `signal` aborts, or when `wake` calls; never rejects, leaves no listener behind. */
export function rest(ms: number, signal: AbortSignal, wake?: (call: () => void) => () => void): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      unwake?.();
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
    const unwake = wake?.(end);
  });
}

interface EventSource {
  addEventListener?(type: string, listener: () => void): void;
  removeEventListener?(type: string, listener: () => void): void;
}

/** Calls when the browser says that the network is back; where there is no browser, never. */
export function whenOnline(call: () => void): () => void {
  const target = globalThis as EventSource;
  target.addEventListener?.('online', call);
  return () => target.removeEventListener?.('online', call);
}

/** An id that nobody else makes; also on pages without TLS, where browsers have no randomUUID. */
export function newCommandId(): string {
  const { crypto } = globalThis;
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
