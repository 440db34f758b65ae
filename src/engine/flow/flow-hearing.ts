import type { HintBus } from '../log/hint-bus.ts';
import type { LogReader } from '../log/log-reader.ts';

/** Where this process hears that something was placed or handled; all of it may be missed. */
export interface FlowHearing {
  readonly hintBus: Pick<HintBus, 'listen'>;
  readonly logReader: Pick<LogReader, 'onAdvance'>;
}

/** Calls back when there may be news of any flow. Returns how to stop. */
export const hearing =
  ({ hintBus, logReader }: FlowHearing) =>
  (wake: () => void): (() => void) => {
    const stops = [logReader.onAdvance(wake), hintBus.listen(wake)];
    return () => {
      for (const stop of stops) stop();
    };
  };
