import { connect, createServer, type Server, type Socket } from 'node:net';
import { freePort } from '../../../src/services/server-process.ts';
import type { Random } from './random.ts';

/**
 * What a link does with what comes: `pass` it on; `reset` every connection and refuse new ones; `blackhole`: sockets stay
 * open and nothing is read, as behind a cable that was cut; `delay`: it comes later; `upOnly`, `downOnly`: one way is cut;
 * `noUpgrade`: a connection that asks for a WebSocket is reset, as by a proxy that knows none.
 */
export type LinkMode =
  | { readonly kind: 'pass' | 'reset' | 'blackhole' | 'upOnly' | 'downOnly' | 'noUpgrade' }
  | { readonly kind: 'delay'; readonly ms: number };

/** Does things in the order in which they come, some of them later: what comes after one that is late waits for it. */
type Line = (act: () => void, delayMs: number) => void;
interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  readonly up: Line;
  readonly down: Line;
}

function line(): Line {
  const waiting: (() => void)[] = [];
  let dueMs = 0;
  return (act, delayMs) => {
    const nowMs = performance.now();
    dueMs = Math.max(dueMs, nowMs + delayMs);
    if (waiting.length === 0 && delayMs === 0) return act();
    waiting.push(act);
    setTimeout(() => waiting.shift()?.(), dueMs - nowMs);
  };
}

/** A link between one process and one server that a test can break. */
export class TcpProxy {
  readonly port: number;
  readonly #targets: readonly number[];
  #accepted = 0;
  readonly #listener: Server;
  readonly #pairs = new Set<Pair>();
  #mode: LinkMode = { kind: 'pass' };
  #bytesLeft = Number.POSITIVE_INFINITY;

  private constructor(port: number, targets: readonly number[]) {
    this.port = port;
    this.#targets = targets;
    this.#listener = createServer((client) => this.#accept(client));
  }

  /** To a port, or to each of several in turn, as a load balancer would. */
  static async to(...targets: readonly number[]): Promise<TcpProxy> {
    const proxy = new TcpProxy(await freePort(), targets);
    await new Promise<void>((resolve, reject) => {
      proxy.#listener.once('error', reject);
      proxy.#listener.listen(proxy.port, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get mode(): LinkMode {
    return this.#mode;
  }

  set(mode: LinkMode): void {
    this.#mode = mode;
    for (const pair of [...this.#pairs]) {
      if (mode.kind === 'reset') this.#cut(pair);
      else this.#flow(pair);
    }
  }

  /** Resets all connections after so many more bytes from the server, in the middle of an answer; then goes on as it is. */
  cutAfterBytes(count: number): void {
    this.#bytesLeft = count;
  }

  async close(): Promise<void> {
    for (const pair of [...this.#pairs]) this.#cut(pair);
    await new Promise<void>((resolve) => this.#listener.close(() => resolve()));
  }

  #accept(client: Socket): void {
    if (this.#mode.kind === 'reset') {
      client.resetAndDestroy();
      return;
    }
    const target = this.#targets[this.#accepted++ % this.#targets.length] ?? 0;
    const server = connect(target, '127.0.0.1');
    const pair = { client, server, up: line(), down: line() };
    this.#pairs.add(pair);
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      socket.on('error', () => this.#cut(pair));
    }
    client.on('close', () => this.#cut(pair));
    // A server that ends in order has said everything; what it said may still be on its way.
    let inOrder = false;
    server.on('end', () => {
      inOrder = true;
      this.#later(pair.down, () => client.end());
    });
    server.on('close', () => {
      if (!inOrder) this.#cut(pair);
    });
    client.on('data', (chunk) => {
      if (this.#mode.kind === 'noUpgrade' && /^upgrade: *websocket/im.test(chunk.toString('latin1'))) this.#cut(pair);
      else this.#forward(client, server, chunk, pair.up);
    });
    server.on('data', (chunk) => this.#answer(pair, chunk));
    client.on('drain', () => this.#flow(pair));
    server.on('drain', () => this.#flow(pair));
    this.#flow(pair);
  }

  #answer(pair: Pair, chunk: Buffer): void {
    if (chunk.length < this.#bytesLeft) {
      this.#bytesLeft -= chunk.length;
      this.#forward(pair.server, pair.client, chunk, pair.down);
      return;
    }
    pair.client.write(chunk.subarray(0, this.#bytesLeft), () => {
      for (const each of [...this.#pairs]) this.#cut(each);
    });
    this.#bytesLeft = Number.POSITIVE_INFINITY;
  }

  #forward(from: Socket, to: Socket, chunk: Buffer, inOrder: Line): void {
    const write = (): void => {
      if (!to.destroyed && !to.write(chunk)) from.pause();
    };
    this.#later(inOrder, write);
  }

  #later(inOrder: Line, act: () => void): void {
    inOrder(act, this.#mode.kind === 'delay' ? this.#mode.ms : 0);
  }

  #flow({ client, server }: Pair): void {
    const { kind } = this.#mode;
    if (kind === 'blackhole' || kind === 'downOnly') client.pause();
    else client.resume();
    if (kind === 'blackhole' || kind === 'upOnly') server.pause();
    else server.resume();
  }

  #cut(pair: Pair): void {
    if (!this.#pairs.delete(pair)) return;
    // The other side must not learn of an end that the network would have swallowed.
    pair.client.resetAndDestroy();
    pair.server.resetAndDestroy();
  }
}

/** Closes all links in a random order, each in its own way, and opens them again in another one; until `signal`. */
export async function swizzle(
  links: readonly TcpProxy[],
  random: Random,
  options: { readonly signal: AbortSignal; readonly turnMs: number; readonly wait: (ms: number) => Promise<unknown> },
): Promise<number> {
  const ways: readonly LinkMode[] = [
    ...[{ kind: 'reset' }, { kind: 'reset' }, { kind: 'blackhole' }].map((mode) => mode as LinkMode),
    ...[{ kind: 'upOnly' }, { kind: 'downOnly' }, { kind: 'delay', ms: 300 }].map((mode) => mode as LinkMode),
  ];
  let turns = 0;
  while (!options.signal.aborted) {
    const gapMs = options.turnMs / Math.max(1, links.length);
    for (const link of random.shuffled(links)) {
      if (random.next() < 0.2) link.cutAfterBytes(random.below(5_000));
      link.set(random.pick(ways));
      await options.wait(gapMs);
    }
    for (const link of random.shuffled(links)) {
      // What a broken link swallowed is gone: its connections do not come back to life.
      if (link.mode.kind !== 'delay') link.set({ kind: 'reset' });
      link.set({ kind: 'pass' });
      await options.wait(gapMs);
    }
    turns++;
  }
  return turns;
}
