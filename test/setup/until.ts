/** While this process stands still, nothing can come: a longer gap between two looks counts as so long. */
const STALL_MAX_MS = 3_000;

/**
 * Waits until `look` gives something other than undefined; rejects with what was awaited and what was seen last. `timeoutMs`: of this
 * process's own time, in which it could look.
 */
export async function until<Value>(
  awaited: string,
  look: () => Promise<Value | undefined> | Value | undefined,
  options: { readonly timeoutMs?: number; readonly seen?: () => unknown } = {},
): Promise<Value> {
  const { timeoutMs = 60_000, seen } = options;
  let waitedMs = 0;
  let sinceMs = performance.now();
  for (;;) {
    const value = await look();
    if (value !== undefined) return value;
    if (waitedMs > timeoutMs) {
      const last = seen === undefined ? '' : `; last seen: ${JSON.stringify(seen())}`;
      throw new Error(`waited ${timeoutMs} ms for: ${awaited}${last}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    const nowMs = performance.now();
    waitedMs += Math.min(nowMs - sinceMs, STALL_MAX_MS);
    sinceMs = nowMs;
  }
}
