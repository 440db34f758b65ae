import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type RunningApp, readSettings, start } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import type { LogDocument, QueuedCommandDocument } from '../../src/store/documents.ts';
import { testServers } from '../setup/servers.ts';
import { order, shopModule } from '../setup/shop.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';

const servers = testServers();
const env = {
  MONGODB_URL: servers.mongoUrl,
  MONGODB_DATABASE: servers.database,
  REDIS_URL: servers.redisUrl,
  REDIS_PREFIX: servers.prefix,
  LOG_LEVEL: 'error',
  LOG_PRETTY: 'false',
  JOB_LOCK_MS: '1000',
  JOB_STALLED_CHECK_MS: '500',
  SWEEP_INTERVAL_MS: '250',
};
let connection: Connection;
let gateway: RunningApp;
const workers = new Set<SourceProcess>();
beforeAll(async () => {
  connection = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  const logger = createLogger({ level: 'silent', pretty: false });
  const { module } = shopModule({ startFrom: 'start' });
  gateway = await start({ modules: [module], role: 'gateway', settings: readSettings(env), logger });
});
afterEach(() => {
  for (const { child } of workers) child.kill('SIGKILL');
});
afterAll(async () => {
  await gateway.stop();
  await connection.db.dropDatabase().catch(() => undefined);
  await connection.client.close();
});

function startWorker(crash?: string): SourceProcess {
  const more = crash === undefined ? {} : { MILLRACE_CRASH: crash };
  const worker = startSource('test/setup/processes/run-shop.ts', [], { PATH: process.env.PATH, ...env, ...more });
  workers.add(worker);
  return worker;
}

/** Where a worker dies, one after the other: around each transaction of the saga, each placement, each command that it sent. */
const deaths = [
  'before-commit',
  'after-commit',
  'after-commit#2',
  'after-append',
  'before-transaction#3',
  'after-place#2',
];

test('orders whose worker is killed at every step are paid, shipped and completed once each, the refused one undone once', async () => {
  const ids: string[] = [];
  for (const [index, death] of deaths.entries()) {
    const id = `o-${index}-${randomUUID()}`;
    ids.push(id);
    const sku = index === 4 ? 'unicorn' : 'tea';
    await gateway.send(order, id, { type: 'PlaceOrder', data: { sku, amount: 7 } });
    const worker = startWorker(death);
    expect(await worker.exited, `${death}: ${worker.errors()}`).toBe(null);
  }
  const last = startWorker();
  await last.line();
  const events = await until(
    'all orders have ended',
    async () => {
      const found = await connection.db.collection<LogDocument>('events').find().sort({ _id: 1 }).toArray();
      const over = found.filter(({ type }) => type === 'OrderCompleted' || type === 'OrderFailed');
      return over.length === ids.length ? found : undefined;
    },
    { timeoutMs: 60_000 },
  );
  const of = (id: string): readonly string[] =>
    events
      .filter(({ stream, data }) => stream.endsWith(`/${id}`) || JSON.stringify(data).includes(id))
      .map(({ type }) => type);
  for (const [index, id] of ids.entries()) {
    expect(of(id)).toEqual(
      index === 4
        ? ['OrderPlaced', 'Paid', 'Repaid', 'OrderFailed']
        : ['OrderPlaced', 'Paid', 'Shipped', 'OrderCompleted'],
    );
  }
  // Each input sent its command once: no other was ever written, whoever died in between.
  const queued = connection.db.collection<QueuedCommandDocument>('queued_commands');
  await until('all commands are settled', async () => {
    const open = await queued.countDocuments({ $or: [{ state: { $in: ['RECEIVED', 'RUNNING'] } }, { tell: true }] });
    return open === 0 || undefined;
  });
  expect(await queued.countDocuments()).toBe(3 * ids.length + 1);
  const sagas = await Promise.all(ids.map((id) => gateway.runtime.saga('fulfilment', id)));
  expect(sagas.map((one) => [one?.status, one?.stepCount])).toEqual(
    ids.map((_, index) => ['ENDED', index === 4 ? 4 : 3]),
  );
}, 300_000);
