export interface Repeating {
  /** Runs the next round now, or right after the one under way. */
  now(): void;
  /** Waits for the round under way. */
  stop(): Promise<void>;
}

/** Runs a round again and again, never two at once. A round answers after how many milliseconds the next follows; it must not throw. */
export function repeat(round: () => Promise<number>, options: { readonly firstMs: number }): Repeating {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let hurry = false;
  let stopped = false;
  const schedule = (ms: number): void => {
    if (stopped) return;
    timer = setTimeout(run, ms);
  };
  const run = (): void => {
    running = round().then((ms) => {
      running = undefined;
      schedule(hurry ? 0 : ms);
      hurry = false;
    });
  };
  schedule(options.firstMs);
  return {
    now() {
      if (running !== undefined) hurry = true;
      else {
        clearTimeout(timer);
        schedule(0);
      }
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await running;
    },
  };
}
