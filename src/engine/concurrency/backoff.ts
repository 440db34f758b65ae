/** Exponential with full jitter above half: the nth failure (from 1) waits between half and all of `firstMs` · 2^(n-1). */
export function backoffMs(failures: number, options: { readonly firstMs: number; readonly maxMs: number }): number {
  const most = Math.min(options.maxMs, options.firstMs * 2 ** Math.min(failures - 1, 30));
  return most / 2 + Math.random() * (most / 2);
}
