/** How far a rebuild was when somebody looked. */
interface Sample {
  readonly position: number;
  readonly end: number;
  readonly atMs: number;
}
const SAMPLE_MIN_MS = 500;
const SAMPLES_KEPT_MS = 15_000;

export interface Pace {
  readonly eventsPerSecond: number;
  /**
   * It has handled the log up to an end that was seen in the last seconds: while events come, nobody is ever at the very end. Where
   * nobody looked before: up to the end itself.
   */
  readonly isLevel: boolean;
}
export interface RebuildPaces {
  /** `began`: where and when it began, for the speed of one that nobody looked at before. */
  look(id: string, now: Sample, began: { readonly position: number; readonly atMs: number }): Pace;
  forget(id: string): void;
}

/** What this process has seen of rebuilds. */
export function rebuildPaces(): RebuildPaces {
  const samples = new Map<string, Sample[]>();
  return {
    look(id, now, began) {
      const { position, end, atMs } = now;
      const kept = (samples.get(id) ?? []).filter((one) => atMs - one.atMs <= SAMPLES_KEPT_MS);
      const isLevel = position >= end || kept.some((one) => position >= one.end);
      const [first] = kept;
      if (atMs - (kept.at(-1)?.atMs ?? 0) >= SAMPLE_MIN_MS) kept.push(now);
      samples.set(id, kept);
      const from = first === undefined || atMs - first.atMs < SAMPLE_MIN_MS ? began : first;
      const perMs = (position - from.position) / Math.max(1, atMs - from.atMs);
      return { eventsPerSecond: Math.max(0, perMs * 1_000), isLevel };
    },
    forget: (id) => void samples.delete(id),
  };
}
