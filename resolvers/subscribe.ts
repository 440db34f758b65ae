/**
 * A source of a subscription that ends at once when its reader leaves. A generator that waits for its next value cannot
 * be returned (it would leak with its listeners), so the reader's `return()` aborts the signal that the source was made
 * with. The source is made at once, so that what it refuses is refused by this call.
 */
export function abortable<T>(
  client: AbortSignal,
  source: (signal: AbortSignal) => AsyncIterable<T>,
): AsyncIterableIterator<T> {
  const leave = new AbortController();
  let inner: AsyncIterator<T> | undefined;
  // Answers the `next()` that is open, if one is.
  let release: (() => void) | undefined;
  const done = (): IteratorResult<T> => ({ done: true, value: undefined });
  const stop = (): void => {
    if (leave.signal.aborted) return;
    client.removeEventListener('abort', stop);
    leave.abort();
    release?.();
    // Not waited for: it settles when the source sees the signal.
    inner?.return?.().then(undefined, () => undefined);
    inner = undefined;
  };
  if (client.aborted) leave.abort();
  else {
    inner = source(leave.signal)[Symbol.asyncIterator]();
    client.addEventListener('abort', stop, { once: true });
  }
  return {
    next: () =>
      new Promise((resolve, reject) => {
        if (inner === undefined) {
          resolve(done());
          return;
        }
        release = () => resolve(done());
        inner.next().then(
          (result) => {
            if (result.done === true) stop();
            resolve(result);
          },
          (error: unknown) => {
            // What fails after its reader left is no news.
            if (leave.signal.aborted) return;
            reject(error);
            stop();
          },
        );
      }),
    async return() {
      stop();
      return done();
    },
    async throw(error: unknown) {
      stop();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
