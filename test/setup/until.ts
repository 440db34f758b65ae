/** While this process stands still, nothing can come: a longer pause between two looks counts as so long. */
const STALL_MAX_MS = 3_000;

/**
 * Waits until `look` gives something other than undefined; rejects with what was awaited and what was seen last. `timeoutMs`: of this
 * process's own time, in which it could look. A look counts for as long as it takes, but for half of that at most: it may be the one
 * that a standstill held up, so another one follows.
 */
export async function until<Value>(
  awaited: string,
  look: () => Promise<Value | undefined> | Value | undefined,
  options: { readonly timeoutMs?: number; readonly seen?: () => unknown } = {},
): Promise<Value> {
  const { timeoutMs = 60_000, seen } = options;
  let waitedMs = 0;
  for (;;) {
    const askedMs = performance.now();
    const value = await look();
    if (value !== undefined) return value;
    const answeredMs = performance.now();
    waitedMs += Math.min(answeredMs - askedMs, timeoutMs / 2);
    if (waitedMs > timeoutMs) {
      const last = seen === undefined ? '' : `; last seen: ${JSON.stringify(seen())}`;
      throw new Error(`waited ${timeoutMs} ms for: ${awaited}${last}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    waitedMs += Math.min(performance.now() - answeredMs, STALL_MAX_MS);
  }
}
