import { monitorEventLoopDelay } from 'node:perf_hooks';

type Handlers = Readonly<Record<string, (argument: never) => unknown>>;

/** What a process says about itself since the last `reset`. */
export interface ProcessFigures {
  readonly loopDelayP99Ms: number;
  readonly cpuMs: number;
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
}

/** monitorEventLoopDelay records the timer's period with the delay; the period is taken off again. */
const RESOLUTION_MS = 10;

/**
 * The child's end of `startChild`: answers calls by name until it is stopped. Every child also answers `reset` and
 * `figures` (event-loop delay, CPU, and memory after a garbage collection where node runs with --expose-gc).
 */
export function serve(handlers: Handlers, stop: () => Promise<unknown> = async () => undefined): void {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  let cpu = process.cpuUsage();
  const all: Record<string, (argument: never) => unknown> = {
    ...handlers,
    reset: () => {
      delay.reset();
      cpu = process.cpuUsage();
    },
    figures: (): ProcessFigures => {
      const loopDelayP99Ms = Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION_MS);
      const used = process.cpuUsage(cpu);
      for (let i = 0; i < 3; i++) globalThis.gc?.();
      const memory = process.memoryUsage();
      return {
        loopDelayP99Ms,
        cpuMs: (used.user + used.system) / 1000,
        rssBytes: memory.rss,
        heapUsedBytes: memory.heapUsed,
      };
    },
  };
  process.on('message', async (call: { id: number; name: string; argument: never }) => {
    try {
      const handler = all[call.name];
      if (handler === undefined) throw new Error(`no handler named ${call.name}`);
      process.send?.({ id: call.id, value: await handler(call.argument) });
    } catch (error) {
      process.send?.({ id: call.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  });
  const end = async () => {
    await stop().catch((error: unknown) => console.error(error));
    process.exit(0);
  };
  process.once('SIGTERM', end);
  process.once('disconnect', end);
  process.on('SIGINT', () => undefined);
  process.send?.({ id: 0 });
}
