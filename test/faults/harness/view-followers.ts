import { createClient } from 'graphql-ws';
import { cuttable, Follower } from './watchers.ts';

/** A subscription to a view: `Subscription.<field>(<args>)`. */
export interface ViewQuery {
  readonly field: string;
  /** Without `after`; empty for none. */
  readonly args: string;
  /** Fields of the node. */
  readonly select: string;
}
const requestOf = ({ field, args, select }: ViewQuery): string =>
  `subscription($after: Cursor) { change: ${field}(${args === '' ? '' : `${args}, `}after: $after) { signal gap cursor id version node { ${select} } } }`;

interface Change {
  readonly signal: 'SNAPSHOT' | 'UPDATE' | 'REMOVED' | 'CAUGHT_UP' | 'GAP';
  readonly gap: string | null;
  readonly cursor: string;
  readonly id: string | null;
  readonly version: number | null;
  readonly node: Readonly<Record<string, unknown>> | null;
}
interface Delivery extends Record<string, unknown> {
  readonly change: Change;
}

/** What a client that goes by docs/graphql.md holds after each message. */
export class Shown {
  readonly documents = new Map<string, NonNullable<Change['node']>>();
  readonly #versions = new Map<string, number>();
  /** What may never be: versions that go back. */
  readonly regressions: string[] = [];
  /** By reason. */
  readonly gaps = new Map<string, number>();
  cursor: string | null = null;
  changeCount = 0;
  /** Messages that it had already. */
  repeatCount = 0;

  take({ signal, gap, cursor, id, version, node }: Change): void {
    this.cursor = cursor;
    if (signal === 'GAP') {
      this.gaps.set(String(gap), (this.gaps.get(String(gap)) ?? 0) + 1);
      this.documents.clear();
      if (gap === 'GENERATION') this.#versions.clear();
    }
    if (id === null) return;
    this.changeCount++;
    if (version !== null) {
      const before = this.#versions.get(id) ?? 0;
      if (version < before) this.regressions.push(`${id} went from version ${before} to ${version}`);
      if (version === before) this.repeatCount++;
      this.#versions.set(id, version);
    }
    if (signal === 'REMOVED' || node === null) this.documents.delete(id);
    else this.documents.set(id, node);
  }

  /** From now on versions begin anew: the documents were taken away on purpose. */
  forgetVersions(): void {
    this.#versions.clear();
  }

  /** What differs from these documents. */
  difference(stored: ReadonlyMap<string, unknown>): readonly string[] {
    const ids = new Set([...stored.keys(), ...this.documents.keys()]);
    return [...ids].flatMap((id) => {
      const [shown, real] = [JSON.stringify(this.documents.get(id)), JSON.stringify(stored.get(id))];
      return shown === real ? [] : [`${id} is shown as ${shown}, it is ${real}`];
    });
  }
}

/** Connects anew after each cut, with `after`. */
export class ViewFollower extends Follower<Delivery> {
  readonly shown = new Shown();
  readonly #query: string;

  constructor(ports: () => readonly number[], turn: number, query: ViewQuery) {
    super(ports, turn);
    this.#query = requestOf(query);
  }
  protected request() {
    return { query: this.#query, variables: { after: this.shown.cursor } };
  }
  protected take({ change }: Delivery): void {
    this.shown.take(change);
  }
}

/** The balances of all accounts. */
export class BalanceFollower extends ViewFollower {
  constructor(ports: () => readonly number[], turn: number) {
    super(ports, turn, { field: 'accountsChanged', args: '', select: 'balance' });
  }
}

/** A client as graphql-ws has it: one for ever, that connects again by itself, here or there. */
export class StockFollower {
  readonly shown = new Shown();
  readonly #link = cuttable();
  readonly #client: ReturnType<typeof createClient>;
  readonly #done: Promise<void>;
  connectCount = 0;
  /** What it was told instead of changes; it does not come back from that. */
  failure: string | undefined;

  constructor(ports: () => readonly number[], turn: number, query: ViewQuery) {
    let next = turn;
    this.#client = createClient({
      url: () => {
        const open = ports();
        return `ws://127.0.0.1:${open[next++ % open.length] ?? 0}/graphql`;
      },
      webSocketImpl: this.#link.WebSocket,
      retryAttempts: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
      retryWait: (retries) => new Promise((resolve) => setTimeout(resolve, Math.min(20 * 2 ** retries, 500))),
    });
    this.#client.on('connected', () => {
      this.connectCount++;
    });
    const { shown } = this;
    // It sends the same payload again at each connection: so the payload looks where it is.
    const payload = {
      query: requestOf(query),
      get variables() {
        return { after: shown.cursor };
      },
    };
    this.#done = this.#follow(payload);
  }

  async #follow(payload: { readonly query: string; readonly variables: Record<string, unknown> }): Promise<void> {
    try {
      for await (const { data, errors } of this.#client.iterate<Delivery>(payload)) {
        if (errors !== undefined) throw new Error(JSON.stringify(errors));
        if (data != null) this.shown.take(data.change);
      }
    } catch (error) {
      this.failure = error instanceof Error ? error.message : JSON.stringify(error);
    }
  }

  disconnect(): boolean {
    return this.#link.cut();
  }
  async end(): Promise<void> {
    void this.#client.dispose();
    this.#link.cut();
    await this.#done;
  }
}
