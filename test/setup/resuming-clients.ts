import { setTimeout as wait } from 'node:timers/promises';
import { type Client, createClient } from 'graphql-ws';
import WebSocket from 'ws';

/*
 * Subscribers as an application would write them over the stock graphql-ws client: it connects again by itself, and sends
 * the last cursor as `after`.
 */

export type Watched =
  | { readonly kind: 'document'; readonly id: string }
  | { readonly kind: 'list' }
  | { readonly kind: 'log'; readonly aggregateId?: string };

interface Message {
  readonly signal: 'SNAPSHOT' | 'UPDATE' | 'REMOVED' | 'CAUGHT_UP' | 'GAP';
  readonly cursor: string;
  readonly gap?: string | null;
  readonly id?: string | null;
  readonly version?: number | null;
  readonly origins?: readonly string[];
  readonly node?: { readonly id: string; readonly balance: number } | null;
  readonly event?: { readonly position: string; readonly commandId: string } | null;
}

const queries = {
  document:
    'subscription($id: ID!, $after: Cursor) { m: accountChanged(id: $id, after: $after) { signal cursor gap id version origins node { id balance } } }',
  list: 'subscription($after: Cursor) { m: accountsChanged(after: $after) { signal cursor gap id version origins node { id balance } } }',
  log: 'subscription($filter: EventFilter, $after: Cursor) { m: events(filter: $filter, after: $after) { signal cursor event { position commandId } } }',
} as const;

/** May be dropped while it still connects: ws then tells of an error, and graphql-ws listens no more. */
class DroppedSocket extends WebSocket {
  constructor(...args: ConstructorParameters<typeof WebSocket>) {
    super(...args);
    this.on('error', () => undefined);
  }
}

/** Called with the commands that a message tells of. */
export type OnCommands = (commandIds: readonly string[]) => void;

export class ResumingClient {
  readonly watched: Watched;
  /** What it has: of a document or list the balances, of the log each position once. */
  readonly balances = new Map<string, number>();
  readonly positions = new Set<number>();
  /** What must not happen. */
  readonly problems: string[] = [];
  /** When it was connected, and what it was closed with, in ms since the epoch. */
  readonly connectedAt: number[] = [];
  readonly closedAt: { readonly code: number; readonly reason: string; readonly at: number }[] = [];
  readonly gaps: string[] = [];
  /** Why connects failed. */
  readonly refusals: string[] = [];
  repeatCount = 0;
  messageCount = 0;
  caughtUp = false;
  connected = false;
  readonly #versions = new Map<string, number>();
  readonly #client: Client;
  readonly #stop: () => void;
  #cursor: string | null = null;
  #turn: number;

  constructor(
    watched: Watched,
    options: {
      readonly ports: readonly number[];
      readonly turn?: number;
      readonly onCommands?: OnCommands;
      /** Before each try to connect again; default: what the client waits by itself, seconds. */
      readonly retryWaitMs?: number;
    },
  ) {
    this.watched = watched;
    this.#turn = options.turn ?? 0;
    const { ports } = options;
    this.#client = createClient({
      // The next gateway at each try, as behind a load balancer.
      url: () => `ws://127.0.0.1:${ports[this.#turn++ % ports.length] ?? 0}/graphql`,
      webSocketImpl: DroppedSocket,
      retryAttempts: Number.POSITIVE_INFINITY,
      // That a connect is refused is no close event, and final without this.
      shouldRetry: () => true,
      ...(options.retryWaitMs !== undefined && { retryWait: () => wait(options.retryWaitMs) }),
    });
    this.#client.on('connected', () => {
      this.connected = true;
      this.connectedAt.push(Date.now());
    });
    this.#client.on('error', (error) => {
      const text = error instanceof Error ? error.message : String((error as { message?: unknown }).message ?? error);
      this.refusals.push(text);
    });
    this.#client.on('closed', (event) => {
      this.connected = false;
      if (typeof event === 'object' && event !== null && 'code' in event && 'reason' in event)
        this.closedAt.push({ code: Number(event.code), reason: String(event.reason), at: Date.now() });
    });
    this.#stop = this.#client.subscribe<{ m: Message }>(
      { query: queries[watched.kind], variables: this.#variables() },
      {
        next: ({ data, errors }) => {
          if (errors !== undefined) this.problems.push(JSON.stringify(errors));
          if (data != null) this.#take(data.m, options.onCommands);
        },
        error: (error) => this.problems.push(`ended: ${JSON.stringify(error)}`),
        complete: () => undefined,
      },
    );
  }

  async end(): Promise<void> {
    this.#stop();
    await this.#client.dispose();
  }

  /** The stock client sends them again with each connect, so the cursor is read at that moment. */
  #variables(): Record<string, unknown> {
    const cursor = () => this.#cursor;
    const { watched } = this;
    return {
      ...(watched.kind === 'document' ? { id: watched.id } : {}),
      ...(watched.kind === 'log' && watched.aggregateId !== undefined
        ? { filter: { aggregate: 'account', aggregateId: watched.aggregateId } }
        : {}),
      get after() {
        return cursor();
      },
    };
  }

  #take(message: Message, onCommands: OnCommands | undefined): void {
    this.messageCount += 1;
    this.#cursor = message.cursor;
    // The snapshot of one document is the whole.
    if (message.signal === 'CAUGHT_UP' || this.watched.kind === 'document') this.caughtUp = true;
    if (message.signal === 'GAP') {
      this.gaps.push(message.gap ?? '');
      this.balances.clear();
      this.#versions.clear();
    }
    if (message.event) {
      const position = Number(message.event.position);
      if (this.positions.has(position)) this.repeatCount += 1;
      this.positions.add(position);
      onCommands?.([message.event.commandId]);
    }
    const { node, version } = message;
    if (!node) return;
    if (version != null && version < (this.#versions.get(node.id) ?? 0))
      this.problems.push(`${node.id} went from version ${this.#versions.get(node.id)} to ${version}`);
    this.#versions.set(node.id, version ?? 0);
    this.balances.set(node.id, node.balance);
    if (message.signal === 'UPDATE') onCommands?.(message.origins ?? []);
  }
}

/** The most of these moments within a second. */
export function mostInASecond(moments: readonly number[]): number {
  const sorted = [...moments].sort((a, b) => a - b);
  let most = 0;
  for (let from = 0, to = 0; to < sorted.length; to++) {
    while ((sorted[to] ?? 0) - (sorted[from] ?? 0) >= 1_000) from++;
    most = Math.max(most, to - from + 1);
  }
  return most;
}
