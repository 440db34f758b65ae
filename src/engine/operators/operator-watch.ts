import { MillraceError } from '../../errors.ts';
import { coalesce } from '../concurrency/coalesce.ts';
import { createOpenStreams } from '../concurrency/open-streams.ts';
import type { PullSource } from '../concurrency/pull-stream.ts';
import type { Operators } from '../contract/operators.ts';
import type { OperatorReads } from './operator-reads.ts';

const COUNTS_EVERY_MS = 500;
const OPERATION_EVERY_MS = 200;
/** A look that takes long is repeated less often. */
const REST_FACTOR = 5;

export interface OperatorWatch extends Pick<Operators, 'watchDeadLetterCounts' | 'watchOperation'> {
  /** Ends all streams. */
  close(): void;
}

/** What changes by the work of other processes, looked at again and again while somebody watches. */
export function createOperatorWatch(reads: OperatorReads): OperatorWatch {
  const streams = createOpenStreams();
  const counts = coalesce(reads.deadLetterCounts);
  return {
    watchDeadLetterCounts: (signal) =>
      streams.open(signal, (wake) => polled(wake, { everyMs: COUNTS_EVERY_MS, read: counts })),
    watchOperation(id, signal) {
      const read = async () => {
        const found = await reads.operation(id);
        if (found !== undefined) return found;
        throw new MillraceError('UNKNOWN_OPERATION', `There is no operation "${id.slice(0, 100)}".`);
      };
      return streams.open(signal, (wake, end) =>
        polled(wake, {
          everyMs: OPERATION_EVERY_MS,
          read,
          isLast: ({ state }) => state !== 'RUNNING',
          onOver: end,
        }),
      );
    },
    close: () => streams.close(),
  };
}

/** The value now, and again whenever it differs. After the last one it calls `onOver`. */
function polled<T>(
  wake: () => void,
  options: {
    readonly everyMs: number;
    readonly read: () => Promise<T>;
    readonly isLast?: (value: T) => boolean;
    readonly onOver?: () => void;
  },
): PullSource<T> {
  const { everyMs, read, isLast = () => false, onOver } = options;
  let seen: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let over = false;
  let notBeforeMs = 0;
  const later = (ms: number): void => {
    clearTimeout(timer);
    if (!stopped) timer = setTimeout(wake, ms);
  };
  return {
    async take() {
      if (over) {
        onOver?.();
        return undefined;
      }
      const startedMs = performance.now();
      if (startedMs < notBeforeMs) {
        later(notBeforeMs - startedMs);
        return undefined;
      }
      const value = await read();
      const tookMs = performance.now() - startedMs;
      notBeforeMs = performance.now() + Math.max(everyMs, REST_FACTOR * tookMs);
      const text = JSON.stringify(value);
      if (text === seen) {
        later(notBeforeMs - performance.now());
        return undefined;
      }
      seen = text;
      over = isLast(value);
      return value;
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
