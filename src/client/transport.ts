import type { MillraceClientError, WireError } from './client-error.ts';
import type { WireRequest } from './http-request.ts';

/** One message of a subscription as it came. */
export interface WireMessage {
  readonly data?: unknown;
  readonly errors?: readonly WireError[] | undefined;
}

export type TransportName = 'ws' | 'sse';

/** What becomes of one try; the first of `failed` and `completed` is the last call. */
export interface TransportSink {
  /** The connection stands. */
  opened(): void;
  next(message: WireMessage): void;
  failed(error: MillraceClientError): void;
  completed(): void;
}

/** Carries subscriptions, each once: coming back after a failure is the caller's matter. */
export interface Transport {
  readonly name: TransportName;
  /** Returns how to end it; nothing is called after that. */
  open(request: WireRequest, sink: TransportSink): () => void;
}

/** Passes calls on until the last one, or until `end`. */
export function onceEnded(sink: TransportSink): TransportSink & { readonly end: () => boolean } {
  let ended = false;
  const end = (): boolean => {
    const first = !ended;
    ended = true;
    return first;
  };
  return {
    opened: () => {
      if (!ended) sink.opened();
    },
    next: (message) => {
      if (!ended) sink.next(message);
    },
    failed: (error) => {
      if (end()) sink.failed(error);
    },
    completed: () => {
      if (end()) sink.completed();
    },
    end,
  };
}
