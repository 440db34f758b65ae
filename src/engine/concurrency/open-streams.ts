import { type PullSource, pullStream } from './pull-stream.ts';

/** Every open stream of this process, so that a stop can end them and a test can count them. */
export interface OpenStreams {
  open<T>(
    signal: AbortSignal,
    start: (wake: () => void, end: () => void) => PullSource<T>,
  ): AsyncIterableIterator<T, undefined>;
  readonly count: number;
  /** Ends them all; later ones end before they begin. */
  close(): void;
}

export function createOpenStreams(): OpenStreams {
  const open = new Set<AsyncIterableIterator<unknown, undefined>>();
  let closed = false;
  return {
    open<T>(signal: AbortSignal, start: (wake: () => void, end: () => void) => PullSource<T>) {
      const stream = pullStream<T>(closed ? AbortSignal.abort() : signal, (wake, end) => {
        const source = start(wake, end);
        open.add(stream);
        return {
          take: () => source.take(),
          stop: () => {
            open.delete(stream);
            source.stop();
          },
        };
      });
      return stream;
    },
    get count() {
      return open.size;
    },
    close() {
      closed = true;
      for (const stream of [...open]) void stream.return?.();
    },
  };
}
