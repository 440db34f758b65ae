import { changeIn, localGap, Repeats } from './change-message.ts';
import { answerError, MillraceClientError, type WireError } from './client-error.ts';
import type { CursorKeeper } from './cursor-keeper.ts';
import type { ReadDocument } from './document.ts';
import { messageOf } from './http-request.ts';
import { type RetryTiming, rest, retryDelayMs, whenOnline } from './retry-delay.ts';
import type { Transport, TransportName, WireMessage } from './transport.ts';
import type { TransportChoice } from './transport-choice.ts';

/** How a subscription stands. */
export type SubscriptionStatus =
  | { readonly state: 'connecting'; readonly transport: TransportName }
  | { readonly state: 'open'; readonly transport: TransportName }
  /** The connection is lost; the next try comes in `retryInMs`. */
  | { readonly state: 'waiting'; readonly error: MillraceClientError; readonly retryInMs: number }
  /** It is over: `error` says why. */
  | { readonly state: 'failed'; readonly error: MillraceClientError };

/** What the client gives for each message. */
export interface SubscriptionMessage<TData> {
  readonly data: TData;
  /** Errors of single fields. */
  readonly errors?: readonly WireError[] | undefined;
  /** The client made it: a GAP because it had to begin again. */
  readonly local?: true;
}

export interface SubscriptionSink<TData> {
  next(message: SubscriptionMessage<TData>): void;
  /**
   * It is over; what can be tried again never comes here. SINK_FAILED: a function of this sink threw. A message at which
   * `next` threw counts as not taken: its cursor is not kept.
   */
  error(error: MillraceClientError): void;
  /** It has an end of its own, or the client was closed. */
  complete(): void;
  status?(status: SubscriptionStatus): void;
  /** It began again: something may be missing between the last message and the next. Told for documents without `signal` too. */
  gap?(reason: LocalGapReason): void;
}

/** Why the client itself had to begin again. */
export type LocalGapReason =
  /** The connection was lost, and the document has no cursor to go on from, or none had come yet. */
  | 'RESTARTED'
  /** The gateway cannot read the cursor that was kept. */
  | 'BAD_CURSOR';

export interface SubscriptionSetup {
  readonly document: ReadDocument;
  readonly variables: Readonly<Record<string, unknown>>;
  readonly choice: TransportChoice;
  readonly retry: RetryTiming;
  readonly keeper: CursorKeeper;
  /** Tries in a row without a message before it fails. */
  readonly retriesMaxCount: number;
}

/** How one try ended. */
type End =
  | { readonly kind: 'completed' }
  | { readonly kind: 'lost'; readonly error: MillraceClientError }
  /** A better transport is there. */
  | { readonly kind: 'moved' };

/**
 * A subscription over any number of connections. With a document that declares `$after` and selects `cursor` it goes on
 * where it was: at least once from the gateway, repeats removed here. Otherwise it begins again, and says so.
 */
export class Subscription {
  readonly #setup: SubscriptionSetup;
  readonly #sink: SubscriptionSink<unknown>;
  readonly #controller = new AbortController();
  readonly #repeats = new Repeats();
  readonly #resumable: boolean;
  #failures = 0;
  /** The caller's own cursor, until there is a newer one. */
  #first: unknown;
  /** Something of it has reached the sink since the last GAP. */
  #begun = false;
  /** Of its messages; caches ask for it. */
  #typename: unknown;

  constructor(setup: SubscriptionSetup, sink: SubscriptionSink<unknown>) {
    this.#setup = setup;
    this.#sink = sink;
    this.#first = setup.variables.after ?? undefined;
    this.#resumable = isResumable(setup.document);
  }

  /** Never rejects, but for what `sink.error` and `sink.complete` throw. */
  async run(): Promise<void> {
    try {
      await this.#tryOnAndOn();
    } catch (thrown) {
      if (this.#over) throw thrown;
      this.#fail(sinkFailed(thrown));
    }
  }

  async #tryOnAndOn(): Promise<void> {
    const { choice, keeper, retry, retriesMaxCount } = this.#setup;
    if (this.#resumable) await keeper.load();
    while (!this.#over) {
      const transport = choice.choose();
      const end = await this.#try(transport);
      if (this.#over) return;
      if (end.kind === 'moved') continue;
      if (end.kind === 'completed' && !this.#resumable) return this.#finish(() => this.#sink.complete());
      const error = end.kind === 'lost' ? end.error : ended;
      if (error.code === 'BAD_CURSOR' && this.#resumable && this.#given() !== undefined) {
        this.#gap('BAD_CURSOR');
        continue;
      }
      this.#failures++;
      if (!error.retryable || this.#failures > retriesMaxCount) return this.#fail(error);
      const retryInMs = Math.max(error.retryAfterMs ?? 0, retryDelayMs(this.#failures, retry));
      this.#sink.status?.({ state: 'waiting', error, retryInMs });
      await rest(retryInMs, this.#controller.signal, whenOnline);
    }
  }

  /** Ends it without a word. */
  stop(): void {
    this.#controller.abort();
  }

  /** Ends it, and says so. */
  complete(): void {
    if (this.#over) return;
    this.#controller.abort();
    // Later: what one sink throws is not in the way of the others.
    queueMicrotask(() => this.#sink.complete());
  }

  get #over(): boolean {
    return this.#controller.signal.aborted;
  }

  /** What goes on the wire as `after`: the newest cursor, else the caller's own. */
  #given(): unknown {
    return this.#setup.keeper.cursor ?? this.#first;
  }

  get #canGoOn(): boolean {
    return this.#resumable && this.#setup.keeper.cursor !== undefined;
  }

  #try(transport: Transport): Promise<End> {
    const { document, variables, choice } = this.#setup;
    if (this.#begun && !this.#canGoOn) this.#gap('RESTARTED');
    this.#sink.status?.({ state: 'connecting', transport: transport.name });
    return new Promise((resolve) => {
      let streaming = false;
      let finished = false;
      let close: (() => void) | undefined;
      const finish = (end: End): void => {
        finished = true;
        this.#controller.signal.removeEventListener('abort', leave);
        unlisten?.();
        resolve(end);
      };
      const leave = (): void => {
        close?.();
        finish({ kind: 'completed' });
      };
      const fail = (error: MillraceClientError): void => {
        close?.();
        finish({ kind: 'lost', error });
      };
      const unlisten =
        transport.name === 'sse'
          ? choice.onSocketBack(() => {
              // Only what can go on without a hole moves by itself.
              if (!this.#resumable || (this.#begun && !this.#canGoOn)) return;
              close?.();
              finish({ kind: 'moved' });
            })
          : undefined;
      const sent = this.#resumable ? { ...variables, after: this.#given() ?? null } : variables;
      // What the sink throws ends this subscription, and nothing else that the transport carries.
      const telling = (tell: () => void): void => {
        try {
          tell();
        } catch (thrown) {
          fail(sinkFailed(thrown));
        }
      };
      close = transport.open(
        { query: document.text, variables: sent, operationName: document.operationName },
        {
          opened: () => {
            streaming = true;
            if (transport.name === 'sse') choice.streamOpened();
            telling(() => this.#sink.status?.({ state: 'open', transport: transport.name }));
          },
          next: (message) =>
            telling(() => {
              const error = this.#take(message);
              if (error !== undefined) fail(error);
            }),
          failed: (error) => {
            // Also an answer of a proxy that has no gateway behind it: it says nothing about WebSockets.
            if (transport.name === 'sse' && !streaming && error.retryable) choice.streamFailed();
            finish({ kind: 'lost', error });
          },
          completed: () => finish({ kind: 'completed' }),
        },
      );
      if (this.#over || finished) leave();
      else this.#controller.signal.addEventListener('abort', leave, { once: true });
    });
  }

  /** Passes a message on; the error where it is one. */
  #take({ data, errors }: WireMessage): MillraceClientError | undefined {
    if (data === undefined || data === null) return answerError(errors ?? []);
    this.#failures = 0;
    const change = changeIn(data, this.#setup.document.root);
    this.#typename ??= change?.__typename;
    // Only what goes on tells what was told: a flow tells of the same step again, with another status.
    if (change === undefined || !this.#resumable || !this.#repeats.has(change)) {
      this.#begun = true;
      this.#sink.next(errors === undefined ? { data } : { data, errors });
      if (change !== undefined) this.#repeats.mark(change);
    }
    // After the sink had the message: what is stored was seen. The gateway knows a cursor of half a snapshot as one.
    if (this.#resumable && typeof change?.cursor === 'string') this.#setup.keeper.keep(change.cursor);
    return undefined;
  }

  #gap(reason: LocalGapReason): void {
    const { keeper, document } = this.#setup;
    keeper.keep(undefined);
    this.#repeats.reset();
    this.#begun = false;
    this.#first = undefined;
    this.#sink.gap?.(reason);
    if (document.selected.has('signal')) {
      this.#sink.next({ data: localGap(document, reason, this.#typename), local: true });
    }
  }

  #fail(error: MillraceClientError): void {
    this.#finish(() => {
      this.#sink.status?.({ state: 'failed', error });
      this.#sink.error(error);
    });
  }

  #finish(tell: () => void): void {
    this.#controller.abort();
    tell();
  }
}

const sinkFailed = (thrown: unknown): MillraceClientError =>
  new MillraceClientError('SINK_FAILED', `A function of the subscription's sink threw: ${messageOf(thrown)}`, {
    cause: thrown,
  });

const ended = new MillraceClientError('NETWORK', 'The gateway ended a subscription that has no end.', {
  retryable: true,
});

/** Throws BAD_DOCUMENT where one half of what going on needs is there. */
function isResumable({ variables, selected, root }: ReadDocument): boolean {
  const [declares, selects] = [variables.has('after'), selected.has('cursor')];
  if (declares === selects) return declares;
  throw new MillraceClientError(
    'BAD_DOCUMENT',
    declares
      ? `The subscription declares $after and does not select "cursor" in "${root}", so it could not go on after a lost connection. Select it.`
      : `The subscription selects "cursor" in "${root}" and does not declare $after, so it could not go on after a lost connection. Declare "$after: Cursor" and pass it as "after: $after".`,
  );
}
