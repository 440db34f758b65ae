import type { WireRequest } from './http-request.ts';
import { type SocketOptions, SocketTransport } from './socket-transport.ts';
import type { Transport, TransportSink } from './transport.ts';

/**
 * Subscriptions on one socket. A gateway takes 100 and closes a socket with more; one that was ended here counts there
 * until the gateway has heard of it, so there is room for some.
 */
const SUBSCRIPTIONS_MAX_COUNT = 90;

/** As many sockets as the subscriptions need: each goes to the first one that has room. */
export class SocketLines implements Transport {
  readonly name = 'ws';
  readonly #options: SocketOptions;
  readonly #lines: SocketTransport[] = [];

  constructor(options: SocketOptions) {
    this.#options = options;
  }

  open(request: WireRequest, sink: TransportSink): () => void {
    const line = this.#lines.find(({ runningCount }) => runningCount < SUBSCRIPTIONS_MAX_COUNT) ?? this.#add();
    return line.open(request, sink);
  }

  #add(): SocketTransport {
    const { onTried } = this.#options;
    const isFirst = this.#lines.length === 0;
    const line = new SocketTransport({
      ...this.#options,
      onTried: (acknowledged) => {
        // Several sockets that are lost together are one failure.
        if (acknowledged || isFirst) onTried(acknowledged);
      },
    });
    this.#lines.push(line);
    return line;
  }

  async close(): Promise<void> {
    await Promise.all(this.#lines.map((line) => line.close()));
  }
}
