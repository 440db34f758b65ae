import { setTimeout as wait } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import type { ClientSession, MongoClient } from 'mongodb';
import WebSocket from 'ws';
import type { PartitionDocument } from '../../../src/store/documents.ts';

/** May be dropped while it still connects: ws then tells of an error, and graphql-ws listens no more. */
class DroppedSocket extends WebSocket {
  constructor(...args: ConstructorParameters<typeof WebSocket>) {
    super(...args);
    this.on('error', () => undefined);
  }
}

/** The WebSocket of a client, and how to break its connection: nothing is said, the socket is gone. False: it did not stand yet. */
export function cuttable(): { readonly WebSocket: typeof DroppedSocket; cut(): boolean } {
  let open: WebSocket | undefined;
  let acknowledged: WebSocket | undefined;
  return {
    WebSocket: class extends DroppedSocket {
      constructor(...args: ConstructorParameters<typeof WebSocket>) {
        super(...args);
        open = this;
        // The first message of a gateway is connection_ack.
        this.once('message', () => {
          acknowledged = this;
        });
      }
    },
    cut() {
      const stood = open?.readyState === WebSocket.OPEN && acknowledged === open;
      open?.terminate();
      return stood;
    },
  };
}

const AGAIN_MS = 100;

/** One event as a subscriber saw it. */
export interface SeenEvent {
  readonly position: number;
  readonly id: string;
}

/** Follows a subscription over whichever gateway answers, again and again, until it is ended. */
export abstract class Follower<Delivery> {
  readonly #ports: () => readonly number[];
  readonly #over = new AbortController();
  #done: Promise<void> | undefined;
  #turn: number;
  #cut: (() => boolean) | undefined;
  #drop: (() => void) | undefined;
  /** Times that it connected. */
  connectCount = 0;
  /** Codes that sockets were closed with. */
  readonly closeCodes = new Map<number, number>();

  constructor(ports: () => readonly number[], turn: number) {
    this.#ports = ports;
    this.#turn = turn;
  }

  protected abstract request(): { readonly query: string; readonly variables: Record<string, unknown> };
  protected abstract take(delivery: Delivery): void;

  start(): this {
    this.#done = this.#follow();
    return this;
  }

  /** Breaks the connection hard, as a lost network does; it comes back by itself. False: there was none. */
  disconnect(): boolean {
    return this.#cut?.() ?? false;
  }

  async end(): Promise<void> {
    this.#over.abort();
    this.#drop?.();
    await this.#done;
  }

  async #follow(): Promise<void> {
    while (!this.#over.signal.aborted) {
      await this.#connection().catch(() => undefined);
      await wait(AGAIN_MS, undefined, { signal: this.#over.signal }).catch(() => undefined);
    }
  }

  async #connection(): Promise<void> {
    const ports = this.#ports();
    const url = `ws://127.0.0.1:${ports[this.#turn++ % ports.length] ?? 0}/graphql`;
    const { WebSocket, cut } = cuttable();
    const client = createClient({
      url,
      webSocketImpl: WebSocket,
      retryAttempts: 0,
      connectionAckWaitTimeout: 5_000,
    });
    this.#cut = cut;
    this.#drop = () => {
      client.terminate();
      cut();
    };
    client.on('closed', (event) => {
      const code = typeof event === 'object' && event !== null && 'code' in event ? Number(event.code) : 0;
      this.closeCodes.set(code, (this.closeCodes.get(code) ?? 0) + 1);
    });
    client.on('connected', () => {
      this.connectCount++;
    });
    try {
      for await (const { data, errors } of client.iterate<Delivery & Record<string, unknown>>(this.request())) {
        if (errors !== undefined) throw new Error(JSON.stringify(errors));
        if (data != null) this.take(data);
      }
    } finally {
      this.#cut = undefined;
      this.#drop = undefined;
      await client.dispose();
    }
  }
}

/** Every event of the log, resumed by its cursor. */
export class EventFollower extends Follower<{
  readonly events: {
    readonly signal: string;
    readonly cursor: string;
    readonly event: { readonly id: string; readonly position: string } | null;
  };
}> {
  readonly seen: SeenEvent[] = [];
  readonly signals = new Map<string, number>();
  #cursor: string | null = null;

  get position(): number {
    return this.seen.at(-1)?.position ?? 0;
  }

  /** There is a cursor: what comes from now on is not missed. */
  get begun(): boolean {
    return this.#cursor !== null;
  }

  protected request() {
    return {
      query: 'subscription($after: Cursor) { events(after: $after) { signal cursor event { id position } } }',
      variables: { after: this.#cursor },
    };
  }

  protected take({
    events,
  }: {
    events: { signal: string; cursor: string; event: { id: string; position: string } | null };
  }) {
    this.#cursor = events.cursor;
    this.signals.set(events.signal, (this.signals.get(events.signal) ?? 0) + 1);
    if (events.event !== null) this.seen.push({ id: events.event.id, position: Number(events.event.position) });
  }
}

/** Looks at every partition again and again: checkpoints never go back and are never beyond the log. */
export class CheckpointWatcher {
  readonly violations: string[] = [];
  lookCount = 0;
  readonly #client: MongoClient;
  readonly #database: string;
  readonly #over = new AbortController();
  readonly #known = new Map<string, { readonly checkpoint: number; readonly revision: number }>();
  readonly #done: Promise<void>;
  #awayCount = 0;
  #turn = 0;

  constructor(client: MongoClient, database: string) {
    this.#client = client;
    this.#database = database;
    this.#done = this.#watch();
  }

  async end(): Promise<void> {
    this.#over.abort();
    await this.#done;
  }

  /** Meanwhile partitions may go back: they are reset, or their records removed on purpose. */
  async lookAway<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#awayCount++;
    try {
      return await work();
    } finally {
      this.#known.clear();
      this.#turn++;
      this.#awayCount--;
    }
  }

  async #watch(): Promise<void> {
    // One causal session: no read is older than the one before, whichever member answers.
    const session = this.#client.startSession({ causalConsistency: true });
    while (!this.#over.signal.aborted) {
      await this.#look(session).catch(() => undefined);
      await wait(100, undefined, { signal: this.#over.signal }).catch(() => undefined);
    }
    await session.endSession().catch(() => undefined);
  }

  async #look(session: ClientSession): Promise<void> {
    const turn = this.#turn;
    const db = this.#client.db(this.#database);
    const options = { session, readConcern: { level: 'majority' as const }, timeoutMS: 3_000 };
    const partitions = await db.collection<PartitionDocument>('partitions').find({}, options).toArray();
    const last = await db.collection<{ _id: number }>('events').findOne({}, { ...options, sort: { _id: -1 } });
    const end = last?._id ?? 0;
    if (this.#awayCount > 0 || turn !== this.#turn) return;
    this.lookCount++;
    for (const { _id, checkpoint, revision } of partitions) {
      const before = this.#known.get(_id);
      this.#known.set(_id, { checkpoint, revision });
      if (checkpoint > end) this.violations.push(`${_id} is at ${checkpoint}, the log ends at ${end}`);
      if (before === undefined) continue;
      if (checkpoint < before.checkpoint)
        this.violations.push(`${_id} went from ${before.checkpoint} to ${checkpoint}`);
      if (revision < before.revision)
        this.violations.push(`${_id} went from revision ${before.revision} to ${revision}`);
    }
  }
}
