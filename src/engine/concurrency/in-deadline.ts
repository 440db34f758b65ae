/** How a run with a deadline ended. `late`: it had not settled by then, and what it does later is nobody's business any more. */
export type DeadlineEnd<T> =
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'error'; readonly error: unknown }
  | { readonly kind: 'late' }
  /** The process stops. */
  | { readonly kind: 'stopped' };

/** How long a run may still settle after its signal aborted: a good end counts. */
const SETTLE_MS = 50;

/**
 * Runs an author's function with a deadline. Its signal aborts at the deadline, and when `stop` does; one that never settles is left
 * behind and its late result, also an error, is ignored.
 */
export async function inDeadline<T>(
  run: (signal: AbortSignal) => Promise<T> | T,
  deadline: { readonly timeoutMs: number; readonly stop: AbortSignal; readonly reason: () => Error },
): Promise<DeadlineEnd<T>> {
  const { timeoutMs, stop, reason } = deadline;
  if (stop.aborted) return { kind: 'stopped' };
  const controller = new AbortController();
  return new Promise((resolve) => {
    let over: DeadlineEnd<T> | undefined;
    let grace: NodeJS.Timeout | undefined;
    const end = (how: DeadlineEnd<T>): void => {
      clearTimeout(timer);
      clearTimeout(grace);
      stop.removeEventListener('abort', onStop);
      resolve(how);
    };
    const abort = (how: DeadlineEnd<T>, why: unknown): void => {
      if (over !== undefined) return;
      over = how;
      controller.abort(why);
      grace = setTimeout(() => end(how), SETTLE_MS);
    };
    const onStop = (): void => abort({ kind: 'stopped' }, stop.reason);
    const timer = setTimeout(() => abort({ kind: 'late' }, reason()), timeoutMs);
    stop.addEventListener('abort', onStop, { once: true });
    // In a promise from the start: a handler may throw before it returns one.
    new Promise<T>((settle) => settle(run(controller.signal))).then(
      (value) => end({ kind: 'ok', value }),
      (error: unknown) => end(over ?? { kind: 'error', error }),
    );
  });
}
