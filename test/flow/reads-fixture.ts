import { randomUUID } from 'node:crypto';
import { afterAll } from 'vitest';
import { z } from 'zod';
import { partitionOf } from '../../src/define/partition.ts';
import { streamKey } from '../../src/define/stream-key.ts';
import type { FilterInput } from '../../src/engine/contract/runtime.ts';
import { createReads, type Reads } from '../../src/engine/create-reads.ts';
import { createHintBus, type HintBus, type ViewHint } from '../../src/engine/log/hint-bus.ts';
import { createLogReader, type OwnedLogReader } from '../../src/engine/log/log-reader.ts';
import type { FeedTiming } from '../../src/engine/subscriptions/feed-run.ts';
import { aggregate, buildModel, event, module, projector, query, view } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import { createDeliveryStore, ensureDelivery } from '../../src/store/delivery-store.ts';
import { type LogDocument, ORIGINS_CAP, type ViewDocument } from '../../src/store/documents.ts';
import { createEventPages } from '../../src/store/event-pages.ts';
import type { PartitionResetEnd } from '../../src/store/partition-reset.ts';
import { createViewStore, type ViewStore, viewCollectionName } from '../../src/store/view-documents.ts';
import { createPastStore } from '../../src/store/view-past.ts';
import { testServers } from '../setup/servers.ts';

/** A view with an index of each shape, written here as a consumer would write it: one transaction, then a hint. */
const fields = {
  group: z.string(),
  rank: z.number(),
  size: z.number().nullable().optional(),
  flag: z.boolean().optional(),
  text: z.string().nullable().optional(),
};
export type Item = z.output<z.ZodObject<typeof fields>>;

export const item = aggregate({
  name: 'item',
  events: {
    ItemPut: event(z.object({ group: z.string(), rank: z.number() }), {
      version: 2,
      upcast: { 1: (old) => ({ ...old, group: 'from version 1' }) },
    }),
    ItemMoved: z.object({ to: z.string() }),
    ItemSeen: z.object({}),
  },
  commands: { PutItem: z.object({ group: z.string(), rank: z.number() }) },
  initial: () => null,
  evolve: { ItemPut: () => null, ItemMoved: () => null, ItemSeen: () => null },
  decide: { PutItem: (_state, data) => ({ type: 'ItemPut', data }) },
});
/** Its events concern no view. */
const box = aggregate({
  name: 'box',
  events: { BoxShut: z.object({}) },
  commands: { ShutBox: z.object({}) },
  initial: () => null,
  evolve: { BoxShut: () => null },
  decide: { ShutBox: () => ({ type: 'BoxShut', data: {} }) },
});
export const itemView = view('item', z.object({ id: z.string(), ...fields }), {
  indexes: [
    { group: 1 },
    { group: 1, rank: -1 },
    { rank: 1 },
    { size: -1, rank: 1 },
    { flag: 1, text: 1 },
    { text: 1 },
    { flag: 1 },
  ],
});
/** The projector cannot handle it. */
export const POISON_RANK = -666;
const items = projector({
  name: 'items',
  version: 3,
  from: [item],
  into: itemView,
  key: (one) => (one.type === 'ItemMoved' ? [one.stream.id, one.data.to] : one.stream.id),
  on: {
    ItemPut: (_doc, { stream, data }) => {
      if (data.rank === POISON_RANK) throw new Error('this rank breaks the handler');
      return { id: stream.id, ...data };
    },
    ItemMoved: (doc) => doc,
  },
});
const other = view('other', z.object({ id: z.string() }));
const others = projector({
  name: 'others',
  version: 1,
  from: [item],
  into: other,
  on: { ItemSeen: (_doc, { stream }) => ({ id: stream.id }) },
});
const top = query({
  name: 'top',
  input: z.object({ group: z.string(), limit: z.int().max(10) }),
  output: z.array(z.object({ id: z.string(), rank: z.number() })),
  run: async ({ group, limit }, read) => {
    const found = await read(itemView).list({ filter: { group }, sort: { rank: -1 }, limit });
    return found.map(({ id, rank }) => ({ id, rank }));
  },
});
const broken = query({
  name: 'broken',
  input: z.object({}),
  output: z.string(),
  run: async () => 5 as unknown as string,
});
const careless = query({
  name: 'careless',
  input: z.object({ atLeast: z.number().optional() }),
  output: z.number(),
  run: async ({ atLeast }, read) => {
    const found = await read(itemView).list({ filter: { rank: atLeast === undefined ? {} : { gte: atLeast } } });
    return found.length;
  },
});
export const model = buildModel([
  module({ name: 'test', parts: [item, box, itemView, items, other, others, top, broken, careless] }),
]);
export const GENERATION = 3;
const LOG_ID = 'main';

export interface Gateway {
  readonly reads: Reads;
  readonly bus: HintBus;
  readonly logReader: OwnedLogReader;
}
/** What becomes of the hint of a write. Default: to every gateway, without documents, as over Redis. */
export type Route = (hint: ViewHint, gateways: readonly Gateway[]) => void;
export const bare: Route = (hint, gateways) => {
  const { documents: _documents, ...message } = hint;
  for (const { bus } of gateways) bus.publish(message);
};
export const withDocuments: Route = (hint, gateways) => {
  for (const { bus } of gateways) bus.publish(hint);
};
export const lost: Route = () => undefined;

export interface PlacedEvent {
  readonly type: string;
  readonly id: string;
  readonly data?: unknown;
  readonly schemaVersion?: number;
  readonly aggregate?: string;
  readonly correlationId?: string;
  readonly actor?: string;
  readonly commandId?: string;
  readonly at?: Date;
}

export class ReadsFixture {
  readonly connection: Connection;
  readonly delivery: ReturnType<typeof createDeliveryStore>;
  readonly gateways: Gateway[] = [];
  route: Route = bare;
  /** What the view holds, tombstones too. */
  readonly written = new Map<string, ViewDocument>();
  readonly #partitions = new Map<
    number,
    { checkpoint: number; revision: number; blockedCount: number; busy: Promise<unknown> }
  >();
  readonly #versions = new Map<string, number>();
  #end = 0;

  constructor(connection: Connection) {
    this.connection = connection;
    this.delivery = createDeliveryStore(connection.client, connection.db, LOG_ID);
  }

  get collection() {
    return this.connection.db.collection<ViewDocument>(viewCollectionName({ view: 'item', generation: GENERATION }));
  }

  /** Creates what a worker creates when it starts. */
  async startWorker(): Promise<void> {
    for (const consumer of model.consumers) await this.delivery.consumers.ensure(consumer);
  }

  views(db = this.connection.db): ViewStore {
    return createViewStore(this.connection.client, db, LOG_ID);
  }

  /** `logPollMs`: how often it looks up the end of the log when it hears nothing. */
  async gateway(timing: Partial<FeedTiming> = {}, views: ViewStore = this.views(), logPollMs = 200): Promise<Gateway> {
    const { client, db } = this.connection;
    const bus = createHintBus();
    const logReader = await createLogReader(this.delivery.log, bus, { pollMs: logPollMs });
    const reads = createReads({
      model,
      views,
      past: createPastStore(client, db, LOG_ID),
      events: createEventPages(client, db),
      hintBus: bus,
      logReader,
      settings: { logId: LOG_ID, atLeastTimeoutMs: 30_000, historyMaxEvents: 10_000 },
      logger: createLogger({ level: 'silent', pretty: false }),
      timing: { pollMs: 200, graceMs: 50, ...timing },
    });
    const gateway = { reads, bus, logReader };
    this.gateways.push(gateway);
    return gateway;
  }

  /** Writes documents (null removes) in one transaction a partition, and hints of them. */
  async write(
    changes: Readonly<Record<string, Item | null>>,
    options: { readonly commandId?: string; readonly checkpoint?: number; readonly route?: Route } = {},
  ): Promise<void> {
    const byPartition = new Map<number, string[]>();
    for (const id of Object.keys(changes)) {
      const partition = partitionOf(id, 16);
      byPartition.set(partition, [...(byPartition.get(partition) ?? []), id]);
    }
    const writes = [...byPartition].map(([partition, ids]) => {
      const state = this.#partition(partition);
      const turn = state.busy.then(() => this.#writePartition(partition, ids, changes, options));
      state.busy = turn.catch(() => undefined);
      return turn;
    });
    await Promise.all(writes);
  }

  /** Moves the checkpoint of a key's partition without any effect. */
  async advance(id: string, checkpoint: number, route: Route = this.route): Promise<void> {
    const partition = partitionOf(id, 16);
    const state = this.#partition(partition);
    const turn = state.busy.then(() => this.#writePartition(partition, [], {}, { checkpoint, route }));
    state.busy = turn.catch(() => undefined);
    await turn;
  }

  /** As an operator's reset does it to one partition: its documents go, its checkpoint stays. */
  async reset(partition: number): Promise<PartitionResetEnd> {
    const state = this.#partition(partition);
    const ref = { consumer: 'items', generation: GENERATION, partition };
    const partitions = this.connection.db.collection('partitions');
    await partitions.updateOne(ref, { $set: { paused: true } });
    const documents = { collection: this.collection.collectionName, how: 'bury' } as const;
    const options = {
      position: state.checkpoint,
      documents,
      deadLetters: 'none',
      againAfter: state.checkpoint,
    } as const;
    const end = await this.delivery.operators.consumers.resetPartition({ ref, ...options });
    await partitions.updateOne(ref, { $unset: { paused: '' } });
    state.revision = end.revision;
    for (const document of this.written.values()) {
      if (document._partition !== partition || document._deleted !== undefined) continue;
      this.written.set(document._id, { ...document, _version: document._version + 1, _deleted: new Date() });
    }
    return end;
  }

  /** Like `advance`, with so many keys of the partition behind dead letters from now on. */
  async block(id: string, checkpoint: number, blockedCount: number): Promise<void> {
    this.#partition(partitionOf(id, 16)).blockedCount = blockedCount;
    await this.advance(id, checkpoint);
  }

  #partition(partition: number) {
    const state = this.#partitions.get(partition) ?? {
      checkpoint: 0,
      revision: 0,
      blockedCount: 0,
      busy: Promise.resolve(),
    };
    this.#partitions.set(partition, state);
    return state;
  }

  async #writePartition(
    partition: number,
    ids: readonly string[],
    changes: Readonly<Record<string, Item | null>>,
    options: { readonly commandId?: string; readonly checkpoint?: number; readonly route?: Route },
  ): Promise<void> {
    const state = this.#partition(partition);
    const from = { checkpoint: state.checkpoint, revision: state.revision };
    const { blockedCount } = state;
    const to = { checkpoint: Math.max(options.checkpoint ?? 0, from.checkpoint), revision: from.revision + 1 };
    const documents = ids.map((id) => this.#document(id, changes[id] ?? null, partition, to, options.commandId));
    const build = { view: 'item', generation: GENERATION };
    const move = { consumer: 'items', generation: GENERATION, partition, from, to, failure: undefined, blockedCount };
    const commit = () => this.delivery.partitions.commit([move], [{ build, documents }]);
    let end = await commit();
    while (end.kind === 'conflict') end = await commit();
    if (end.kind !== 'committed') throw new Error(`transaction of the test: ${JSON.stringify(end)}`);
    Object.assign(state, to);
    for (const document of documents) this.written.set(document._id, document);
    const hint: ViewHint = { kind: 'view', ...build, partition, ...to, blockedCount, time: end.time, ids, documents };
    (options.route ?? this.route)(hint, this.gateways);
  }

  #document(
    id: string,
    next: Item | null,
    partition: number,
    { checkpoint, revision }: { checkpoint: number; revision: number },
    commandId: string = randomUUID(),
  ): ViewDocument {
    const before = this.written.get(id);
    return {
      ...(next === null ? { _deleted: new Date() } : { id, ...next }),
      _id: id,
      _partition: partition,
      _revision: revision,
      _position: checkpoint,
      _version: (before?._version ?? 0) + 1,
      _origins: [...(before?._origins ?? []), { commandId, revision }].slice(-ORIGINS_CAP),
    };
  }

  /** Appends to the log as a sequencer would. */
  async place(events: readonly PlacedEvent[], hint = true): Promise<readonly LogDocument[]> {
    const documents = events.map((one): LogDocument => {
      const stream = streamKey({ tenant: 'default', aggregate: one.aggregate ?? 'item', id: one.id });
      const version = (this.#versions.get(stream) ?? 0) + 1;
      this.#versions.set(stream, version);
      this.#end++;
      return {
        _id: this.#end,
        id: randomUUID(),
        type: one.type,
        schemaVersion: one.schemaVersion ?? (one.type === 'ItemPut' ? 2 : 1),
        stream,
        version,
        data: one.data ?? (one.type === 'ItemPut' ? { group: 'g', rank: version } : {}),
        meta: {
          correlationId: one.correlationId ?? 'none',
          causationId: null,
          actor: one.actor ?? null,
          tenant: 'default',
          traceparent: null,
          client: null,
        },
        commandId: one.commandId ?? 'command',
        at: one.at ?? new Date(),
      };
    });
    for (let start = 0; start < documents.length; start += 1_000) {
      await this.delivery.log.place(documents.slice(start, start + 1_000));
    }
    if (hint) for (const { bus } of this.gateways) bus.publish({ kind: 'log', end: this.#end });
    return documents;
  }

  get end(): number {
    return this.#end;
  }

  async close(): Promise<void> {
    for (const { reads, logReader } of this.gateways) {
      reads.close();
      logReader.close();
    }
    await this.delivery.partitions.close();
    await this.connection.db.dropDatabase();
    await this.connection.client.close();
  }
}

/** A database of its own; gone after the file's tests. */
export async function readsFixture(options: { readonly worker?: boolean } = {}): Promise<ReadsFixture> {
  const { mongoUrl, database } = testServers();
  const connection = await connect({ url: mongoUrl, database, appName: 'reads-test' });
  const fixture = new ReadsFixture(connection);
  afterAll(() => fixture.close());
  await ensureDelivery(connection.db, new Set());
  if (options.worker !== false) await fixture.startWorker();
  return fixture;
}

type Conditions = Readonly<Record<string, Readonly<Record<string, unknown>>>>;
export const filterOf = (conditions: Conditions): FilterInput =>
  new Map(Object.entries(conditions).map(([field, one]) => [field, new Map(Object.entries(one))])) as FilterInput;

/** The code of the error that `work` throws or rejects with. */
export async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : `no code: ${String(error)}`;
  }
  return 'no error';
}
