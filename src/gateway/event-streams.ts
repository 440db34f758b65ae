import type { ServerResponse } from 'node:http';
import type { Drainable } from './drain.ts';
import { limits } from './limits.ts';
import { type Progress, progressOf, stoodStill } from './progress.ts';

/** The responses that carry subscriptions (SSE). */
export interface EventStreams {
  /** From now until it is closed. */
  add(response: ServerResponse): void;
  /**
   * Those that are open. Told to close, they are cut: one that ended well would not be taken up again, and its client is to
   * connect elsewhere.
   */
  open(): readonly Drainable[];
  /** Looks after them no longer. */
  close(): void;
}

/** A stream whose reader takes nothing of what waits for it from one heartbeat to the next is cut: it would wait for ever. */
export function eventStreams(): EventStreams {
  const streams = new Map<ServerResponse, Progress | undefined>();
  const heartbeat = setInterval(() => {
    for (const [response, before] of streams) {
      const { socket } = response;
      const now = socket !== null && response.writableLength > 0 ? progressOf(socket) : undefined;
      if (now !== undefined && before !== undefined && stoodStill(before, now)) response.destroy();
      else streams.set(response, now);
    }
  }, limits.heartbeatIntervalMs);
  heartbeat.unref();
  return {
    add(response) {
      streams.set(response, undefined);
      response.once('close', () => streams.delete(response));
    },
    open: () =>
      [...streams.keys()].map((response) => ({
        close: () => response.destroy(),
        gone: new Promise((resolve) => response.once('close', resolve)),
      })),
    close: () => clearInterval(heartbeat),
  };
}
