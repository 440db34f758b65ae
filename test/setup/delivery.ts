import { randomUUID } from 'node:crypto';
import { uuidv7 } from 'uuidv7';
import { afterAll } from 'vitest';
import { z } from 'zod';
import { streamKey } from '../../src/define/stream-key.ts';
import { createHintBus, type HintBus } from '../../src/engine/hint-bus.ts';
import { createLogReader } from '../../src/engine/log-reader.ts';
import { aggregate, buildModel, type Module, module, projector, view } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { createHintChannel } from '../../src/queue/hints.ts';
import { connectRedis } from '../../src/queue/redis.ts';
import { ensureCommits } from '../../src/store/commits.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import { createDeliveryStore, type DeliveryStore, ensureDelivery } from '../../src/store/delivery-store.ts';
import type { CommitDocument, ViewDocument } from '../../src/store/documents.ts';
import { type RunningWorkers, startAll } from '../../workers/all.ts';
import { type TestServers, testServers } from './servers.ts';

export const LOG_ID = 'main';
export const logger = createLogger({ level: process.env.TEST_LOG === '1' ? 'debug' : 'silent', pretty: false });
/** What production uses; faults must heal within these. */
export const productionTiming = { job: { lockMs: 5_000, stalledCheckMs: 2_000 }, sweepIntervalMs: 1_000 };
/** Faults heal sooner, and hide more. */
export const fastTiming = { job: { lockMs: 1_000, stalledCheckMs: 500 }, sweepIntervalMs: 250 };

/** Counts: one document a counter, and one a group of counters. */
export const counter = aggregate({
  name: 'counter',
  events: { Counted: z.object({ by: z.int(), group: z.string().optional() }), Dropped: z.object({}) },
  commands: { Count: z.object({ by: z.int() }) },
  initial: () => null,
  evolve: { Counted: () => null, Dropped: () => null },
  decide: { Count: (_state, data) => ({ type: 'Counted', data }) },
});
const sum = z.object({ id: z.string(), total: z.int(), count: z.int(), text: z.string().optional() });
export const counterView = view('counter', sum, { indexes: [{ total: 1 }] });
export const groupView = view('group', sum);

/** Breaks the handler for some counters, as a bug in the author's code would. */
export interface Bug {
  readonly breaks: (event: { readonly id: string; readonly by: number }) => boolean;
  readonly text?: (by: number) => string;
}

/** The same module in every process; `bug` is what a deployment of mended code leaves out. */
export function counterModule(bug?: Bug): Module {
  const counters = projector({
    name: 'counters',
    version: 1,
    from: [counter],
    into: counterView,
    on: {
      Counted: (doc, { stream, data }) => {
        if (bug?.breaks({ id: stream.id, by: data.by })) throw new Error(`cannot count ${stream.id}`);
        const text = bug?.text?.(data.by);
        const next = { id: stream.id, total: (doc?.total ?? 0) + data.by, count: (doc?.count ?? 0) + 1 };
        return text === undefined ? next : { ...next, text };
      },
      Dropped: () => null,
    },
  });
  const groups = projector({
    name: 'groups',
    version: 1,
    from: [counter],
    into: groupView,
    // Several documents an event; with two groups of one partition among them now and then.
    key: (event) => (event.type === 'Counted' && event.data.group !== undefined ? event.data.group.split(',') : []),
    on: {
      Counted: (doc, { data }, id) => ({ id, total: (doc?.total ?? 0) + data.by, count: (doc?.count ?? 0) + 1 }),
    },
  });
  return module({ name: 'counting', parts: [counter, counterView, counters, groupView, groups] });
}

/** A database with everything that delivery needs, and processes that work on it. */
export class DeliveryFixture {
  readonly servers: TestServers;
  readonly connection: Connection;
  readonly store: DeliveryStore;
  readonly #versions = new Map<string, number>();
  readonly #workers = new Set<TestWorker>();

  constructor(servers: TestServers, connection: Connection) {
    this.servers = servers;
    this.connection = connection;
    this.store = createDeliveryStore(connection.client, connection.db, LOG_ID);
  }

  get commits() {
    return this.connection.db.collection<CommitDocument>('commits');
  }

  /** The next commit of a stream, as a gateway would make it; not written. */
  commit(id: string, events: readonly { readonly type: string; readonly data: unknown }[]): CommitDocument {
    const stream = streamKey({ tenant: 'default', aggregate: 'counter', id });
    const version = (this.#versions.get(stream) ?? 0) + 1;
    this.#versions.set(stream, version + events.length - 1);
    return {
      _id: uuidv7(),
      stream,
      version,
      command: { id: randomUUID(), type: 'Count', data: {}, hash: '-' },
      events: events.map(({ type, data }) => ({ id: uuidv7(), type, schemaVersion: 1, data })),
      meta: {
        correlationId: randomUUID(),
        causationId: null,
        actor: null,
        tenant: 'default',
        traceparent: null,
        client: null,
      },
      at: new Date(),
    };
  }

  count(id: string, by = 1, group?: string): CommitDocument {
    return this.commit(id, [{ type: 'Counted', data: group === undefined ? { by } : { by, group } }]);
  }

  /** Writes commits as a gateway would. */
  async append(commits: readonly CommitDocument[]): Promise<void> {
    for (let start = 0; start < commits.length; start += 500) {
      await this.commits.insertMany(commits.slice(start, start + 500), { ordered: false });
    }
  }

  async documents(name: 'counter' | 'group' = 'counter'): Promise<ReadonlyMap<string, ViewDocument>> {
    const found = await this.connection.db.collection<ViewDocument>(`view_${name}_g1`).find().toArray();
    return new Map(found.map((document) => [document._id, document as ViewDocument]));
  }

  /** What a worker process runs, with connections of its own. */
  async startWorker(options: Partial<WorkerOptions> = {}): Promise<TestWorker> {
    const worker = await startTestWorker({ servers: this.servers, ...options });
    this.#workers.add(worker);
    return worker;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#workers].map((worker) => worker.stop()));
    await this.store.partitions.close();
    await this.connection.db.dropDatabase().catch(() => undefined);
    await this.connection.client.close();
  }
}

export interface WorkerOptions {
  readonly servers: TestServers;
  readonly bug: Bug;
  readonly timing: typeof productionTiming;
  readonly pollMs: number;
}

export interface TestWorker {
  readonly hints: HintBus;
  readonly instanceId: string;
  readonly offer: RunningWorkers['offer'];
  stop(): Promise<void>;
}

export async function startTestWorker(
  options: Pick<WorkerOptions, 'servers'> & Partial<WorkerOptions>,
): Promise<TestWorker> {
  const { mongoUrl, redisUrl, database, prefix } = options.servers;
  const instanceId = randomUUID();
  const { client, db } = await connect({ url: mongoUrl, database, appName: `worker-${instanceId}` });
  const store = createDeliveryStore(client, db, LOG_ID);
  const redis = await connectRedis(redisUrl, logger);
  const channel = createHintChannel(redis, { prefix, logId: LOG_ID, instanceId });
  const hints = createHintBus(channel);
  const reader = await createLogReader(store.log, hints, { pollMs: options.pollMs ?? 1_000 });
  const workers = await startAll({
    store,
    model: buildModel([counterModule(options.bug)]),
    settings: {
      logId: LOG_ID,
      shutdownTimeoutMs: 5_000,
      redis: { prefix },
      ...(options.timing ?? fastTiming),
    },
    logger,
    hints,
    reader,
    redis,
    instanceId,
    role: 'worker',
  });
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await workers.stop();
    reader.close();
    await channel.close();
    await redis.close();
    await store.partitions.close();
    await client.close();
  };
  return {
    hints,
    instanceId,
    offer: workers.offer,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

/** A database of its own; gone after the file's tests. */
export async function deliveryFixture(servers: TestServers = testServers()): Promise<DeliveryFixture> {
  const connection = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  await ensureCommits(connection.db, new Set());
  await ensureDelivery(connection.db, new Set());
  const fixture = new DeliveryFixture(servers, connection);
  afterAll(() => fixture.close());
  return fixture;
}
