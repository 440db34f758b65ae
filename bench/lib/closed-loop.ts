import { createHistogram } from 'node:perf_hooks';

export interface LoopFigures {
  readonly count: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Latencies in microseconds, answered in milliseconds. */
export class Latencies {
  readonly #histogram = createHistogram({ lowest: 1, highest: 600_000_000, figures: 3 });

  record(ms: number): void {
    this.#histogram.record(Math.max(1, Math.round(ms * 1000)));
  }

  percentileMs(percentile: number): number {
    return this.#histogram.count === 0 ? Number.NaN : this.#histogram.percentile(percentile) / 1000;
  }
}

/**
 * Keeps `concurrency` operations under way for `durationMs`, then waits for those in flight. A failed operation fails
 * the whole loop: a figure with errors in it is none.
 */
export async function closedLoop(options: {
  readonly concurrency: number;
  readonly durationMs: number;
  readonly operation: () => Promise<unknown>;
}): Promise<LoopFigures> {
  const latencies = new Latencies();
  const start = performance.now();
  const deadline = start + options.durationMs;
  let count = 0;
  const slot = async () => {
    for (let now = performance.now(); now < deadline; ) {
      await options.operation();
      const after = performance.now();
      latencies.record(after - now);
      count += 1;
      now = after;
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, slot));
  const elapsedMs = performance.now() - start;
  return {
    count,
    perSecond: (count / elapsedMs) * 1000,
    p50Ms: latencies.percentileMs(50),
    p99Ms: latencies.percentileMs(99),
  };
}
