export interface AnySignal {
  /** Aborts with the first of them. */
  readonly signal: AbortSignal;
  /** One more. */
  add(one: AbortSignal): void;
  /** It does not abort any more, and none of them keeps it. */
  end(): void;
}

/** Where `AbortSignal.any` would be kept for ever: Node 20 does that with each that is listened to and never aborts. */
export function anySignal(signals: readonly AbortSignal[]): AnySignal {
  const any = new AbortController();
  const all = new Set<AbortSignal>();
  const end = (): void => {
    for (const one of all) one.removeEventListener('abort', onAbort);
    all.clear();
  };
  const onAbort = (event: Event): void => abort(event.target instanceof AbortSignal ? event.target.reason : undefined);
  const abort = (reason: unknown): void => {
    end();
    any.abort(reason);
  };
  const add = (one: AbortSignal): void => {
    if (any.signal.aborted) return;
    if (one.aborted) {
      abort(one.reason);
      return;
    }
    all.add(one);
    one.addEventListener('abort', onAbort);
  };
  for (const one of signals) add(one);
  return { signal: any.signal, add, end };
}
