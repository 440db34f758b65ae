import type { Transport } from './transport.ts';

export interface ChoiceOptions {
  /** `auto`: WebSocket, and SSE where that cannot be had. */
  readonly transport: 'auto' | 'ws' | 'sse';
  readonly sse: Transport;
  /** Sockets of this kind; none where there is no WebSocket class. */
  readonly ws: ((onTried: (acknowledged: boolean) => void) => Transport) | undefined;
  /** So many sockets in a row that were not acknowledged, and SSE is tried. */
  readonly failuresMaxCount: number;
  /** Over SSE, WebSocket is tried again after so long; doubles with each time in vain, up to ten times as long. */
  readonly webSocketAgainMs: number;
}

/**
 * Decides how subscriptions are carried. A network that is away fails both ways, and says nothing about WebSockets: only
 * an event stream that opens does. Then it stays with SSE and tries a socket from time to time; when one is
 * acknowledged, those who listen move over.
 */
export class TransportChoice {
  readonly #options: ChoiceOptions;
  readonly #ws: Transport | undefined;
  readonly #movers = new Set<() => void>();
  #failures = 0;
  #blocked = false;
  #probes = 0;
  #probeTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ChoiceOptions) {
    this.#options = options;
    this.#ws = options.transport === 'sse' ? undefined : options.ws?.((acknowledged) => this.#tried(acknowledged));
  }

  /** For the next try. */
  choose(): Transport {
    const { transport, sse, failuresMaxCount } = this.#options;
    const ws = this.#ws;
    if (ws === undefined) return sse;
    if (transport === 'ws') return ws;
    return this.#blocked || this.#failures >= failuresMaxCount ? sse : ws;
  }

  /** An event stream stands: where sockets do not, they are blocked. */
  streamOpened(): void {
    if (this.#ws === undefined || this.#failures < this.#options.failuresMaxCount) return;
    this.#blocked = true;
    this.#probeLater();
  }

  /** An event stream could not be had either: it is the network, so the next try is a socket again. */
  streamFailed(): void {
    if (!this.#blocked) this.#failures = Math.max(0, this.#options.failuresMaxCount - 1);
  }

  /** Calls when WebSocket works again; ends by the function it returns. */
  onSocketBack(call: () => void): () => void {
    this.#movers.add(call);
    return () => this.#movers.delete(call);
  }

  /** There is a socket that answers; asks those on SSE to come over. */
  #tried(acknowledged: boolean): void {
    if (!acknowledged) {
      this.#failures++;
      return;
    }
    this.#failures = 0;
    this.#probes = 0;
    clearTimeout(this.#probeTimer);
    this.#probeTimer = undefined;
    if (!this.#blocked) return;
    this.#blocked = false;
    for (const move of [...this.#movers]) move();
  }

  #probeLater(): void {
    if (this.#probeTimer !== undefined) return;
    const { webSocketAgainMs } = this.#options;
    const waitMs = Math.min(webSocketAgainMs * 10, webSocketAgainMs * 2 ** this.#probes++);
    this.#probeTimer = setTimeout(() => this.#probe(), waitMs);
    // A probe is no reason for a Node process to live on.
    (this.#probeTimer as { unref?(): void }).unref?.();
  }

  /** The smallest thing that any GraphQL server answers. */
  #probe(): void {
    this.#probeTimer = undefined;
    if (!this.#blocked || this.#movers.size === 0) return;
    const end = (): void => {
      if (this.#blocked) this.#probeLater();
    };
    this.#ws?.open(
      { query: '{ __typename }', variables: {} },
      { opened: () => undefined, next: () => undefined, failed: end, completed: end },
    );
  }

  close(): void {
    clearTimeout(this.#probeTimer);
    this.#movers.clear();
  }
}
