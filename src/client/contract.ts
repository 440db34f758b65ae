import type { WireError } from './client-error.ts';
import type { CursorStorage } from './cursor-keeper.ts';
import type { Document } from './document.ts';
import type { Forwarded, ForwardedOperation } from './forward.ts';
import type { Headers } from './http-request.ts';
import type { RetryTiming } from './retry-delay.ts';
import type { SubscriptionMessage, SubscriptionSink, SubscriptionStatus } from './subscription.ts';
import type { ViewStore } from './view-store.ts';

export interface ClientOptions {
  /** Of the endpoint: `https://…/graphql`, or the gateway's address alone. */
  readonly url: string;
  /** Sent with each request; browsers send none with a WebSocket, use `connectionParams` there. */
  readonly headers?: Headers | (() => Headers | Promise<Headers>);
  /** Payload of `connection_init`; `client` names this client in the metadata of events. */
  readonly connectionParams?:
    | Record<string, unknown>
    | (() => Promise<Record<string, unknown>> | Record<string, unknown>);
  /** Keeps the cursors of subscriptions that have a `resumeKey`: `localStorage`, or anything like it. Default: memory. */
  readonly storage?: CursorStorage;
  /** Default `auto`: WebSocket, and SSE where that cannot be had. */
  readonly transport?: 'auto' | 'ws' | 'sse';
  /** Default: the global WebSocket. In Node 20: the class of the package `ws`. */
  readonly webSocketImpl?: unknown;
  /** Default: the global fetch. */
  readonly fetch?: typeof fetch;
  /** How subscriptions, commands and queries come again: exponential, with jitter. Default: 250 ms up to 15 s. */
  readonly retry?: RetryTiming & {
    /** Tries in a row of a subscription without a message before it fails. Default: no limit. */
    readonly maxCount?: number;
  };
  /** Of a query or command, with all its tries. Default 30,000 for queries, 120,000 for commands. */
  readonly timeoutMs?: number;
  /** Of one try of a query or command. Default 10,000. */
  readonly tryTimeoutMs?: number;
  /** How long a WebSocket may take until `connection_ack`. Default 5,000. */
  readonly ackTimeoutMs?: number;
  /** A WebSocket that says nothing for so long counts as lost; an event stream, for twice as long. Default 15,000. */
  readonly silenceMs?: number;
  /** So many WebSockets in a row without `connection_ack`, and SSE is tried. Default 2. */
  readonly webSocketFailuresMaxCount?: number;
  /** On SSE, WebSocket is tried again after so long, and later less often. Default 60,000. */
  readonly webSocketAgainMs?: number;
  /** Close codes after which a subscription fails. Default: 4400, 4401, 4403, 4406, 4409. */
  readonly fatalCloseCodes?: readonly number[];
  /** Told of every subscription. */
  readonly onStatus?: (status: SubscriptionStatus, operationName: string | undefined) => void;
}

/** An operation. `variables` may be left out where there are none that must be given. */
export type Operation<TData, TVariables> = {
  readonly query: Document<TData, TVariables>;
  readonly operationName?: string;
} & VariablesOf<TVariables>;
/** Also without those that the client itself fills in: `commandId`, `after`. */
type VariablesOf<TVariables> =
  Record<string, never> extends OpenVariables<TVariables>
    ? { readonly variables?: OpenVariables<TVariables> }
    : { readonly variables: OpenVariables<TVariables> };
export type OpenVariables<TVariables> = Omit<TVariables, 'commandId' | 'after'> &
  Partial<Pick<TVariables, Extract<keyof TVariables, 'commandId' | 'after'>>>;

export interface RequestLimits {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}
export interface SubscribeOptions {
  /** Where the cursor lies in the client's `storage`; without it the cursor lives in memory. */
  readonly resumeKey?: string;
}

/** What a command ended with. */
export interface Sent<TData> {
  readonly commandId: string;
  /** The mutation's first field: a CommandOutcome, of which refusals are a part. */
  readonly outcome: TData[RootOf<TData>];
  readonly data: TData;
  /** Of fields beside the outcome's own: `view` of a receipt that is null with VIEW_BEHIND. Left out where there are none. */
  readonly errors?: readonly WireError[];
}
/** Names of the fields that were asked for. */
type RootOf<TData> = Exclude<keyof TData, '__typename'>;

/** The document of a view subscription's `node`. */
export type NodeOf<TData> = NodeOfChange<TData[RootOf<TData>]>;
type NodeOfChange<TChange> = unknown extends TChange
  ? Record<string, unknown>
  : TChange extends { readonly node?: infer TNode | null }
    ? NonNullable<TNode>
    : never;

export interface SendOptions<TNode = unknown> extends RequestLimits {
  /** Shown in `view` at once, until the command's own effect or refusal is there. */
  readonly optimistic?: {
    readonly view: ViewStore<TNode>;
    readonly apply: (documents: readonly TNode[]) => readonly TNode[];
  };
}

export interface MillraceClient {
  /** Reads once. Asks again while that may help (`retryable`), until `timeoutMs`. */
  query<TData = Record<string, unknown>, TVariables = Record<string, unknown>>(
    operation: Operation<TData, TVariables>,
    limits?: RequestLimits,
  ): Promise<TData>;
  /**
   * Sends a command. Its `commandId` is made before the first try and is the same in each, so it takes effect at most
   * once; the document declares `$commandId: ID`. A refusal is data. Throws OUTCOME_UNKNOWN when the deadline passes
   * without an answer: `error.commandId` is what to send it again with.
   */
  send<TData = Record<string, unknown>, TVariables = Record<string, unknown>, TNode = unknown>(
    operation: Operation<TData, TVariables>,
    options?: SendOptions<TNode>,
  ): Promise<Sent<TData>>;
  /**
   * Subscribes until the returned function is called. With a document that declares `$after: Cursor` and selects
   * `cursor` it goes on after a lost connection where it was; another one begins again, with a GAP made here. Messages
   * that came before (by `id` and `version`, or `event { position }`) are removed.
   */
  subscribe<TData = Record<string, unknown>, TVariables = Record<string, unknown>>(
    operation: Operation<TData, TVariables>,
    sink: SubscriptionSink<TData>,
    options?: SubscribeOptions,
  ): () => void;
  /** The same as an async iterable: leaving the loop ends it. A cursor is stored when the next message is asked for. */
  iterate<TData = Record<string, unknown>, TVariables = Record<string, unknown>>(
    operation: Operation<TData, TVariables>,
    options?: SubscribeOptions,
  ): AsyncIterableIterator<SubscriptionMessage<TData>>;
  /**
   * What a screen shows of a view subscription: of a list, or of one document where the field is given an `id`. One
   * store for equal operations. The document selects `signal`, `id` and `node`; `cursor` with `$after` to go on after a
   * lost connection, `version` and `origins` for optimistic changes.
   */
  watch<TData = Record<string, unknown>, TVariables = Record<string, unknown>>(
    operation: Operation<TData, TVariables>,
  ): ViewStore<NodeOf<TData>>;
  /**
   * The same for other GraphQL clients (urql's `forwardSubscription`, a link of Apollo): queries, mutations (with
   * `$commandId` filled in) and subscriptions that go on after a lost connection.
   */
  forward(operation: ForwardedOperation): Forwarded;
  /**
   * Ends every subscription (`sink.complete`, and loops over `iterate` end) and the sockets; what is asked of the client
   * now or later has code ABORTED. Never rejects.
   */
  close(): Promise<void>;
}
