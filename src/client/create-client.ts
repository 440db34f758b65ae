import { closed, MillraceClientError } from './client-error.ts';
import type { ClientOptions, MillraceClient } from './contract.ts';
import { CursorKeeper } from './cursor-keeper.ts';
import { type ReadDocument, readDocument } from './document.ts';
import { forward } from './forward.ts';
import { type HttpOptions, requestUntil, wireBody } from './http-request.ts';
import { iterate } from './iterate.ts';
import { sendCommand } from './send-command.ts';
import { SocketLines } from './socket-lines.ts';
import { sseTransport } from './sse-transport.ts';
import { Subscription, type SubscriptionSink, type SubscriptionStatus } from './subscription.ts';
import { TransportChoice } from './transport-choice.ts';
import { ViewStores } from './view-stores.ts';

const defaultFatalCodes = [4400, 4401, 4403, 4406, 4409] as const;
const QUERY_TIMEOUT_MS = 30_000;
/** A command is worth waiting for a network that is away for a while. */
const COMMAND_TIMEOUT_MS = 120_000;

/** A client of one gateway, or of many behind one address. It connects when it is asked for something. */
export function createClient(options: ClientOptions): MillraceClient {
  const url = endpointOf(options.url);
  const { retry = {}, timeoutMs = QUERY_TIMEOUT_MS } = options;
  const http: HttpOptions = {
    url: url.href,
    fetch: options.fetch ?? ((...given) => fetch(...given)),
    headers: async () => (typeof options.headers === 'function' ? options.headers() : (options.headers ?? {})),
    retry,
    tryTimeoutMs: options.tryTimeoutMs ?? 10_000,
  };
  const commandLimits = { timeoutMs: options.timeoutMs ?? COMMAND_TIMEOUT_MS };
  const sockets = socketsOf(options, url);
  const choice = new TransportChoice({
    transport: options.transport ?? 'auto',
    sse: sseTransport(http, (options.silenceMs ?? 15_000) * 2),
    ws: sockets.open,
    failuresMaxCount: options.webSocketFailuresMaxCount ?? 2,
    webSocketAgainMs: options.webSocketAgainMs ?? 60_000,
  });
  const running = new Set<Subscription>();
  const stores = new ViewStores();
  const life = new AbortController();

  const start = (
    document: ReadDocument,
    variables: Readonly<Record<string, unknown>>,
    sink: SubscriptionSink<unknown>,
    keeper: CursorKeeper,
  ): (() => void) => {
    if (life.signal.aborted) return failLater(sink);
    const status = (told: SubscriptionStatus): void => {
      sink.status?.(told);
      options.onStatus?.(told, document.operationName);
    };
    const retriesMaxCount = retry.maxCount ?? Number.POSITIVE_INFINITY;
    const setup = { document, variables, choice, retry, keeper, retriesMaxCount };
    const subscription = new Subscription(setup, {
      next: (message) => sink.next(message),
      error: (error) => sink.error(error),
      complete: () => sink.complete(),
      gap: (reason) => sink.gap?.(reason),
      status,
    });
    running.add(subscription);
    void subscription.run().finally(() => running.delete(subscription));
    return () => subscription.stop();
  };
  const read = (operation: AnyOperation, kind: ReadDocument['kind']) => {
    const document = readDocument(operation.query, operation.operationName);
    if (document.kind !== kind) throw wrongKind(document, kind);
    const variables = operation.variables ?? {};
    // Requests are looked at when they are sent, which is at once.
    if (kind === 'subscription') wireBody({ query: document.text, variables });
    return { document, variables };
  };

  const client: MillraceClient = {
    async query(operation, limits = {}) {
      const { document, variables } = read(operation as AnyOperation, 'query');
      const request = { query: document.text, variables, operationName: document.operationName };
      const asked = (signal: AbortSignal) => requestUntil(http, request, { timeoutMs, ...limits, signal });
      return (await whileOpen(life.signal, limits.signal, asked)).data as never;
    },
    async send(operation, sendOptions = {}) {
      const { document, variables } = read(operation as AnyOperation, 'mutation');
      const { optimistic, ...limits } = sendOptions;
      const sent = (signal: AbortSignal) =>
        sendCommand(http, document, variables, { ...commandLimits, ...limits, signal }, optimistic as never);
      return (await whileOpen(life.signal, limits.signal, sent)) as never;
    },
    subscribe(operation, sink, { resumeKey } = {}) {
      const { document, variables } = read(operation as AnyOperation, 'subscription');
      return start(
        document,
        variables,
        sink as SubscriptionSink<unknown>,
        new CursorKeeper(options.storage, resumeKey),
      );
    },
    iterate(operation, { resumeKey } = {}) {
      const { document, variables } = read(operation as AnyOperation, 'subscription');
      const keeper = new CursorKeeper(options.storage, resumeKey);
      return iterate(keeper, (sink, its) => start(document, variables, sink, its)) as never;
    },
    watch(operation) {
      const { document, variables } = read(operation as AnyOperation, 'subscription');
      const open = (sink: SubscriptionSink<unknown>) =>
        start(document, variables, sink, new CursorKeeper(undefined, undefined));
      return stores.watch(document, variables, open) as never;
    },
    forward: (operation) => forward(client, operation),
    async close() {
      life.abort();
      for (const subscription of [...running]) subscription.complete();
      stores.close();
      choice.close();
      await sockets.close();
    },
  };
  return client;
}

/** `call` with a signal that aborts with the client or the caller. */
async function whileOpen<Result>(
  life: AbortSignal,
  given: AbortSignal | undefined,
  call: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  if (life.aborted) throw closed();
  const either = new AbortController();
  const abort = (): void => either.abort();
  const signals = given === undefined ? [life] : [life, given];
  if (given?.aborted === true) abort();
  for (const one of signals) one.addEventListener('abort', abort);
  try {
    return await call(either.signal);
  } finally {
    for (const one of signals) one.removeEventListener('abort', abort);
  }
}

function failLater(sink: SubscriptionSink<unknown>): () => void {
  let left = false;
  queueMicrotask(() => {
    if (!left) sink.error(closed());
  });
  return () => {
    left = true;
  };
}

interface AnyOperation {
  readonly query: unknown;
  readonly operationName?: string;
  readonly variables?: Readonly<Record<string, unknown>>;
}

function endpointOf(given: string): URL {
  const page = (globalThis as { readonly location?: { readonly href: string } }).location?.href;
  if (!URL.canParse(given, page)) {
    throw new MillraceClientError(
      'BAD_DOCUMENT',
      `"${given}" is no address of a gateway; where there is no page, it has to begin with http.`,
    );
  }
  const url = new URL(given, page);
  url.protocol = url.protocol.replace(/^ws/, 'http');
  if (url.pathname === '/') url.pathname = '/graphql';
  return url;
}

function socketsOf(options: ClientOptions, url: URL) {
  const webSocketImpl = options.webSocketImpl ?? (globalThis as { readonly WebSocket?: unknown }).WebSocket;
  if (typeof webSocketImpl !== 'function') {
    if (options.transport !== 'ws') return { open: undefined, close: async () => undefined };
    throw new MillraceClientError(
      'NO_WEBSOCKET',
      'There is no WebSocket here: give createClient a `webSocketImpl` (in Node 20: the class of the package "ws").',
    );
  }
  let lines: SocketLines | undefined;
  const open = (onTried: (acknowledged: boolean) => void): SocketLines => {
    lines = new SocketLines({
      url: url.href.replace(/^http/, 'ws'),
      webSocketImpl,
      connectionParams: options.connectionParams,
      ackTimeoutMs: options.ackTimeoutMs ?? 5_000,
      silenceMs: options.silenceMs ?? 15_000,
      fatalCloseCodes: new Set(options.fatalCloseCodes ?? defaultFatalCodes),
      onTried,
    });
    return lines;
  };
  return { open, close: async () => lines?.close() };
}

const wrongKind = (document: ReadDocument, wanted: string): MillraceClientError =>
  new MillraceClientError('BAD_DOCUMENT', `The document is a ${document.kind}; here a ${wanted} is wanted.`);
