import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { command, type Module, type RunningApp, readSettings, type SagaTimelineStep, start } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import type { LogDocument, QueuedCommandDocument } from '../../src/store/documents.ts';
import { type TestServers, testServers } from '../setup/servers.ts';
import { order, purse, shipment, shopModule } from '../setup/shop.ts';
import { until } from '../setup/until.ts';

const servers = testServers();
const apps: RunningApp[] = [];
let connection: Connection;

async function startShop(module: Module, of: TestServers = servers): Promise<RunningApp> {
  const settings = readSettings({
    MONGODB_URL: of.mongoUrl,
    MONGODB_DATABASE: of.database,
    REDIS_URL: of.redisUrl,
    REDIS_PREFIX: of.prefix,
    COMMAND_MAX_DEPTH: '20',
  });
  const logger = createLogger({ level: process.env.TEST_LOG === '1' ? 'debug' : 'silent', pretty: false });
  const app = await start({ modules: [module], settings, logger });
  apps.push(app);
  return app;
}
beforeAll(async () => {
  connection = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
});
afterAll(async () => {
  for (const app of apps) await app.stop();
  await connection.db.dropDatabase().catch(() => undefined);
  await connection.client.close();
});

const place = (app: RunningApp, id: string, sku = 'tea', amount = 7) =>
  app.send(order, id, { type: 'PlaceOrder', data: { sku, amount } });

/** Types of the events that a flow of one order made, as far as they carry it. */
async function eventsOf(id: string): Promise<readonly string[]> {
  const mine = {
    $or: [{ 'data.orderId': id }, { stream: { $in: [`default/order/${id}`, `default/shipment/${id}`] } }],
  };
  const found = await connection.db.collection<LogDocument>('events').find(mine).sort({ _id: 1 }).toArray();
  return found.map(({ type }) => type);
}
const ended = (app: RunningApp, id: string) =>
  until(
    `the saga of ${id} to end`,
    async () => {
      const record = await app.runtime.saga('fulfilment', id);
      return record?.status === 'ENDED' ? record : undefined;
    },
    { timeoutMs: 10_000 },
  );
const shown = ({ kind, name, sent }: SagaTimelineStep) => ({
  kind,
  name,
  sent: sent.map((one) => [one.type, one.state]),
});

describe('an order', () => {
  let app: RunningApp;
  beforeAll(async () => {
    app = await startShop(shopModule({ startFrom: 'start' }).module);
  });

  test('is paid, shipped and completed by its saga, and its timeline tells how', async () => {
    const id = `o-${randomUUID()}`;
    await place(app, id);
    const record = await ended(app, id);
    expect(record).toMatchObject({ status: 'ENDED', stepCount: 3, timers: [], state: { step: 'done' } });
    await until('the last command is settled', async () => (await eventsOf(id)).length === 4 || undefined);
    expect(await eventsOf(id)).toEqual(['OrderPlaced', 'Paid', 'Shipped', 'OrderCompleted']);
    const steps = await until('the timeline knows', async () => {
      const timeline = await app.runtime.sagaTimeline(record);
      return timeline.at(-1)?.sent[0]?.state === 'ACCEPTED' ? timeline : undefined;
    });
    expect(steps.map(shown)).toEqual([
      { kind: 'event', name: 'OrderPlaced', sent: [['Pay', 'ACCEPTED']] },
      { kind: 'event', name: 'Paid', sent: [['Ship', 'ACCEPTED']] },
      { kind: 'event', name: 'Shipped', sent: [['CompleteOrder', 'ACCEPTED']] },
    ]);
    const queued = await connection.db
      .collection<QueuedCommandDocument>('queued_commands')
      .find({ 'sender.key': id })
      .toArray();
    expect(queued.map(({ meta }) => meta.depth)).toEqual([1, 2, 3]);
    expect(new Set(queued.map(({ meta }) => meta.correlationId)).size).toBe(1);
  });

  test('that cannot be shipped is repaid: the refusal comes back to the saga', async () => {
    const id = `o-${randomUUID()}`;
    await place(app, id, 'unicorn');
    const record = await ended(app, id);
    await until('the order has failed', async () => (await eventsOf(id)).includes('OrderFailed') || undefined);
    expect(await eventsOf(id)).toEqual(['OrderPlaced', 'Paid', 'Repaid', 'OrderFailed']);
    const steps = await app.runtime.sagaTimeline(record);
    expect(steps[2]).toMatchObject({ kind: 'refusal', name: 'Ship', refusal: { code: 'SOLD_OUT' } });
    expect(steps[1]?.sent).toMatchObject([{ type: 'Ship', state: 'REJECTED', refusal: { code: 'SOLD_OUT' } }]);
    const left = await connection.db.collection('queued_commands').countDocuments({ 'sender.key': id, tell: true });
    expect(left).toBe(0);
  });
});
