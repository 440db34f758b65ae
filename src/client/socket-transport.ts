import { type Client, type ClientOptions, createClient } from 'graphql-ws';
import { answerError, MillraceClientError, type WireError } from './client-error.ts';
import type { WireRequest } from './http-request.ts';
import { onceEnded, type Transport, type TransportSink } from './transport.ts';

export interface SocketOptions {
  readonly url: string;
  /** The class of sockets. */
  readonly webSocketImpl: unknown;
  readonly connectionParams: ClientOptions['connectionParams'];
  /** A socket without `connection_ack` for so long is given up. */
  readonly ackTimeoutMs: number;
  /** A socket that says nothing for so long, asked by a ping in between, counts as lost. */
  readonly silenceMs: number;
  /** Close codes after which it is no use to come again. */
  readonly fatalCloseCodes: ReadonlySet<number>;
  /** A socket was acknowledged (true), or ended before it was (false). */
  readonly onTried: (acknowledged: boolean) => void;
}

interface Running {
  readonly sink: ReturnType<typeof onceEnded>;
  dispose?: () => void;
}

/**
 * Subscriptions over one graphql-ws socket, which is there while one of them is. graphql-ws does not retry
 * here: it would subscribe again with the variables of the first time, and the cursor is newer.
 */
export class SocketTransport implements Transport {
  readonly name = 'ws';
  readonly #options: SocketOptions;
  readonly #client: Client;
  readonly #running = new Set<Running>();
  #acknowledged = false;
  #ackTimer: ReturnType<typeof setTimeout> | undefined;
  #silenceTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SocketOptions) {
    this.#options = options;
    this.#client = createClient({
      url: options.url,
      webSocketImpl: quietSocket(options.webSocketImpl),
      ...(options.connectionParams === undefined ? {} : { connectionParams: options.connectionParams }),
      retryAttempts: 0,
      keepAlive: Math.ceil((options.silenceMs * 2) / 3),
      on: {
        connecting: () => this.#connecting(),
        connected: () => this.#connected(),
        message: () => {
          if (this.#acknowledged) this.#heard();
        },
        error: (error) => {
          this.#lost(socketError(options.url, error));
          // Or its close, which comes later, would count as the end of the socket after it.
          this.#client.terminate();
        },
        closed: (event) => this.#lost(this.#closeError(event)),
      },
    });
  }

  open(request: WireRequest, sink: TransportSink): () => void {
    const running: Running = { sink: onceEnded(sink) };
    const { sink: once } = running;
    this.#running.add(running);
    if (this.#acknowledged) once.opened();
    const gone = (): void => void this.#running.delete(running);
    running.dispose = this.#client.subscribe<Record<string, unknown>>(
      {
        query: request.query,
        variables: request.variables,
        ...(request.operationName === undefined ? {} : { operationName: request.operationName }),
      },
      {
        next: (message) => once.next(message as never),
        complete: () => {
          gone();
          once.completed();
        },
        error: (error) => {
          gone();
          once.failed(Array.isArray(error) ? answerError(error as WireError[]) : this.#closeError(error));
        },
      },
    );
    return () => {
      if (!once.end()) return;
      gone();
      running.dispose?.();
    };
  }

  /** Also those whose socket is not there yet. */
  get runningCount(): number {
    return this.#running.size;
  }

  /** Closes the socket; what still runs fails. */
  async close(): Promise<void> {
    // graphql-ws would wait for a socket that may never come.
    if (!this.#acknowledged) this.#client.terminate();
    // It would reject where the socket is lost meanwhile.
    await Promise.resolve(this.#client.dispose()).catch(() => undefined);
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#silenceTimer);
  }

  #connecting(): void {
    this.#acknowledged = false;
    clearTimeout(this.#ackTimer);
    // graphql-ws counts from the open socket; a connection that a firewall swallows never opens.
    this.#ackTimer = setTimeout(() => this.#client.terminate(), this.#options.ackTimeoutMs);
  }

  #connected(): void {
    clearTimeout(this.#ackTimer);
    this.#acknowledged = true;
    this.#heard();
    this.#options.onTried(true);
    for (const { sink } of this.#running) sink.opened();
  }

  /** graphql-ws pings again only when it was answered, so a timer of its own notices silence. */
  #heard(): void {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#client.terminate(), this.#options.silenceMs);
  }

  /** Told once for each socket: what follows finds nothing running. */
  #lost(error: MillraceClientError): void {
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#silenceTimer);
    const before = this.#acknowledged;
    this.#acknowledged = false;
    const ended = [...this.#running];
    this.#running.clear();
    if (!before && ended.length > 0) this.#options.onTried(false);
    for (const { sink, dispose } of ended) {
      // Before anything else: graphql-ws would come again by itself after a close with 1000.
      dispose?.();
      sink.failed(error);
    }
  }

  #closeError(event: unknown): MillraceClientError {
    if (typeof event !== 'object' || event === null || !('code' in event)) return socketError(this.#options.url, event);
    const code = Number(event.code);
    const reason = 'reason' in event && event.reason !== '' ? ` ${String(event.reason)}` : '';
    const message = `${this.#options.url} closed the socket: ${code}${reason}.`;
    return this.#options.fatalCloseCodes.has(code)
      ? new MillraceClientError('SOCKET_REFUSED', message)
      : new MillraceClientError('NETWORK', message, { retryable: true });
  }
}

const socketError = (url: string, error: unknown): MillraceClientError => {
  const told = typeof error === 'object' && error !== null && 'message' in error ? `: ${String(error.message)}` : '';
  return new MillraceClientError('NETWORK', `${url} takes no socket${told}.`, { retryable: true, cause: error });
};

type SocketClass = new (url: string, protocol?: string) => { addEventListener(type: string, f: () => void): void };

/** Sockets of `ws` throw where nobody listens for an error, and graphql-ws stops to listen when it terminates one. */
function quietSocket(base: unknown): unknown {
  return class extends (base as SocketClass) {
    constructor(url: string, protocol?: string) {
      super(url, protocol);
      this.addEventListener('error', () => undefined);
    }
  };
}
