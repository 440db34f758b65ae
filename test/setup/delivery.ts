import { randomUUID } from 'node:crypto';
import { uuidv7 } from 'uuidv7';
import { afterAll } from 'vitest';
import { streamKey } from '../../src/define/stream-key.ts';
import { ensureCommits } from '../../src/store/commits.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import { createDeliveryStore, type DeliveryStore, ensureDelivery } from '../../src/store/delivery-store.ts';
import type { CommitDocument, ViewDocument } from '../../src/store/documents.ts';
import { type TestServers, testServers } from './servers.ts';
import { LOG_ID, startTestWorker, type TestWorker, type WorkerOptions } from './test-worker.ts';

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

/** A database of its own; gone after the file's tests. */
export async function deliveryFixture(servers: TestServers = testServers()): Promise<DeliveryFixture> {
  const connection = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  await ensureCommits(connection.db, new Set());
  await ensureDelivery(connection.db, new Set());
  const fixture = new DeliveryFixture(servers, connection);
  afterAll(() => fixture.close());
  return fixture;
}
