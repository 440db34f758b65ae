/** Waits until `look` gives something other than undefined; rejects with what was awaited and what was seen last. */
export async function until<Value>(
  awaited: string,
  look: () => Promise<Value | undefined> | Value | undefined,
  options: { readonly timeoutMs?: number; readonly seen?: () => unknown } = {},
): Promise<Value> {
  const { timeoutMs = 30_000, seen } = options;
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await look();
    if (value !== undefined) return value;
    if (Date.now() > deadline) {
      const last = seen === undefined ? '' : `; last seen: ${JSON.stringify(seen())}`;
      throw new Error(`waited ${timeoutMs} ms for: ${awaited}${last}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
