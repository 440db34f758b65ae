/**
 * A source of a subscription that ends at once when its reader leaves. A generator that waits for its next value cannot
 * be returned (it would leak with its listeners), so the reader's `return()` aborts the signal that the source was made
 * with. The source is made on the first `next()`: what is never read is never started.
 */
export function abortable<T>(
  client: AbortSignal,
  source: (signal: AbortSignal) => AsyncIterable<T>,
): AsyncIterableIterator<T> {
  const leave = new AbortController();
  let inner: AsyncIterator<T> | undefined;
  const stop = (): void => {
    leave.abort();
    client.removeEventListener('abort', stop);
    // Not waited for: it settles when the source sees the signal.
    inner?.return?.().then(undefined, () => undefined);
    inner = undefined;
  };
  const done = (): IteratorResult<T> => ({ done: true, value: undefined });
  client.addEventListener('abort', stop, { once: true });
  if (client.aborted) stop();
  return {
    async next() {
      if (leave.signal.aborted) return done();
      inner ??= source(leave.signal)[Symbol.asyncIterator]();
      try {
        const result = await inner.next();
        if (result.done !== true) return leave.signal.aborted ? done() : result;
        stop();
        return done();
      } catch (error) {
        if (leave.signal.aborted) return done();
        stop();
        throw error;
      }
    },
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
