/** A connection that a draining gateway has to get rid of. */
export interface Drainable {
  close(): void;
  /** Resolves when it is closed, by whomever. */
  readonly gone: Promise<unknown>;
}

/**
 * When each of `count` connections is closed, in ms from now, rising: one at a random moment of each of `count` equal parts
 * of the window. In no stretch of time are more than its share and two closed, and clients of the same age do not come
 * back in one step.
 */
export function drainTimes(count: number, windowMs: number, random: () => number = Math.random): readonly number[] {
  return Array.from({ length: count }, (_, index) => ((index + random()) * windowMs) / count);
}

/** Closes them in random order, spread over the window. Resolves when the last one was told, or all are gone. */
export async function closeSpread(open: readonly Drainable[], windowMs: number): Promise<void> {
  const shuffled = open
    .map((one) => ({ one, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ one }) => one);
  const timesMs = drainTimes(open.length, windowMs);
  let allGone = false;
  const left = Promise.all(open.map(({ gone }) => gone)).then(() => {
    allGone = true;
  });
  const begun = performance.now();
  for (const [index, one] of shuffled.entries()) {
    const waitMs = begun + (timesMs[index] ?? 0) - performance.now();
    if (waitMs > 0) await Promise.race([pause(waitMs), left]);
    if (allGone) return;
    one.close();
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms).unref());
