import type { Logger } from '../logger.ts';
import type { EventPages } from '../store/event-pages.ts';
import type { LogReader } from './log-reader.ts';
import type { PullSource } from './pull-stream.ts';

/** While somebody watches events, the end of the log is read once in a while: hints of it may be lost. */
export interface LogPulse {
  /** Beats while the source runs. */
  during<T>(source: PullSource<T>): PullSource<T>;
  close(): void;
}

export function createLogPulse(
  deps: { readonly logReader: Pick<LogReader, 'advance'>; readonly events: EventPages; readonly logger: Logger },
  everyMs: number,
): LogPulse {
  let watchers = 0;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  const beat = async (): Promise<void> => {
    try {
      if (watchers > 0) deps.logReader.advance(await deps.events.end());
    } catch (error) {
      deps.logger.warn({ err: error }, 'cannot read the end of the log');
    }
    timer = undefined;
    plan();
  };
  const plan = (): void => {
    if (closed || watchers === 0 || timer !== undefined) return;
    timer = setTimeout(() => void beat(), everyMs);
    timer.unref();
  };
  return {
    during(source) {
      watchers++;
      plan();
      return {
        take: () => source.take(),
        stop: () => {
          watchers--;
          source.stop();
        },
      };
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
