import { randomUUID } from 'node:crypto';
import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { z } from 'zod';
import { schemaOf } from '../../resolvers/index.ts';
import type { FlowStep } from '../../src/index.ts';
import { aggregate, module, projector, query, readSettings, view } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { type RunningApp, startApp } from '../../src/start.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import { socketUrl, values } from '../setup/gateway.ts';
import { patient } from '../setup/patient.ts';
import { testServers } from '../setup/servers.ts';

const broken = new Set<string>();

const order = aggregate({
  name: 'order',
  events: { Placed: z.object({ item: z.string() }), Noted: z.object({}) },
  commands: { Place: z.object({ item: z.string() }), Look: z.object({}) },
  rejections: ['NOTHING'],
  initial: () => 0,
  evolve: { Placed: (count) => count + 1, Noted: (count) => count },
  decide: {
    Place: (_count, data, { reject }) =>
      data.item === ''
        ? reject('NOTHING', 'no item')
        : [
            { type: 'Placed', data },
            { type: 'Noted', data: {} },
          ],
    Look: () => [],
  },
});
const orderView = view('order', z.object({ id: z.string(), item: z.string() }));
const orders = projector({
  name: 'orders',
  version: 1,
  from: [order],
  into: orderView,
  attempts: 2,
  backoff: { type: 'fixed', delayMs: 50 },
  on: {
    Placed: (_doc, { data }, id) => {
      if (broken.has(id)) throw new Error(`cannot place ${id}`);
      return { id, item: data.item };
    },
  },
});
const itemView = view('item', z.object({ id: z.string(), count: z.int() }));
const items = projector({
  name: 'items',
  version: 1,
  from: [order],
  into: itemView,
  key: (event) => (event.type === 'Placed' ? event.data.item.split(',') : []),
  on: { Placed: (doc, _event, id) => ({ id, count: (doc?.count ?? 0) + 1 }) },
});
const count = query({ name: 'count', input: z.object({}), output: z.int(), run: async () => 1 });

let app: RunningApp;
let connection: Connection;
const sockets: ReturnType<typeof createClient>[] = [];
beforeAll(async () => {
  const { mongoUrl, redisUrl, database, prefix } = testServers();
  connection = await connect({ url: mongoUrl, database, appName: 'test' });
  const settings = readSettings({
    MONGODB_URL: mongoUrl,
    MONGODB_DATABASE: database,
    REDIS_URL: redisUrl,
    REDIS_PREFIX: prefix,
    ...patient,
    PORT: '0',
  });
  const modules = [module({ name: 'shop', parts: [order, orderView, orders, itemView, items, count] })];
  const logger = createLogger({ level: 'silent', pretty: false });
  app = await startApp({ modules, schema: schemaOf(modules), settings, logger });
});
afterAll(async () => {
  for (const socket of sockets) await socket.dispose();
  await app.stop();
  await connection.client.close();
});

const client = () => {
  const made = createClient({ url: socketUrl(app.url ?? ''), webSocketImpl: WebSocket, retryAttempts: 0 });
  sockets.push(made);
  return made;
};
const place = (id: string, item: string, correlationId: string) =>
  app.send(order, id, { type: 'Place', data: { item } }, { meta: { correlationId } });
const settled = (correlationId: string) => app.settled(correlationId, { timeoutMs: 60_000 });
/** The tree as text: children below what caused them. */
function tree(steps: readonly Pick<FlowStep, 'id' | 'parentId' | 'kind' | 'name' | 'subject' | 'status'>[]): string[] {
  const lines: string[] = [];
  const visit = (parentId: string | null, depth: number): void => {
    for (const one of steps.filter((step) => step.parentId === parentId)) {
      lines.push(`${'  '.repeat(depth)}${one.kind} ${one.name} ${one.subject} ${one.status}`);
      visit(one.id, depth + 1);
    }
  };
  visit(null, 0);
  return lines;
}

describe('a flow', () => {
  test('settles once every consumer has handled every event, and is the tree of what caused what', async () => {
    const correlationId = randomUUID();
    await place('a1', 'tea,milk', correlationId);
    const flow = await settled(correlationId);
    expect(tree(flow.steps)).toEqual([
      'COMMAND Place order/a1 DONE',
      '  EVENT Placed order/a1 DONE',
      '    PROJECTOR orders a1 DONE',
      '    PROJECTOR items tea, milk DONE',
      '  EVENT Noted order/a1 DONE',
    ]);
    expect(flow).toMatchObject({ correlationId, settled: true, truncated: false });
    const event = flow.steps.find(({ name }) => name === 'Placed')?.event;
    expect(event).toMatchObject({ type: 'Placed', data: { item: 'tea,milk' }, meta: { correlationId } });
  });

  test('shows commands that were refused or caused nothing', async () => {
    const correlationId = randomUUID();
    await place('b1', '', correlationId);
    await app.send(order, 'b2', { type: 'Look', data: {} }, { meta: { correlationId } });
    const { steps } = await settled(correlationId);
    expect(tree(steps)).toEqual(['COMMAND Place order/b1 REJECTED', 'COMMAND Look order/b2 DONE']);
    expect(steps[0]?.error).toEqual({ code: 'NOTHING', message: 'no item' });
  });

  test('of which nothing is known is null, and never settles: the wait ends with a typed error', async () => {
    expect(await app.runtime.flow('nobody')).toBeUndefined();
    await expect(app.settled('nobody', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'NOT_SETTLED',
      message: expect.stringContaining('nothing is known of it'),
    });
    await expect(app.settled('')).rejects.toMatchObject({ code: 'BAD_INPUT' });
    await expect(app.settled('x', { timeoutMs: -1 })).rejects.toMatchObject({ code: 'BAD_INPUT' });
  });

  test('with a dead letter settles, and says what failed and what waits behind it', async () => {
    broken.add('x1');
    const [first, second] = [randomUUID(), randomUUID()];
    await place('x1', 'tea', first);
    const flow = await settled(first);
    const dead = flow.steps.find(({ name }) => name === 'orders');
    expect(dead).toMatchObject({
      kind: 'PROJECTOR',
      status: 'DEAD',
      attempts: 2,
      error: { code: 'HANDLER_FAILED', message: expect.stringContaining('cannot place x1') },
    });
    await place('x1', 'milk', second);
    const behind = (await settled(second)).steps.find(({ name }) => name === 'orders');
    expect(behind).toMatchObject({ status: 'DEAD', attempts: 0, error: { code: 'PARKED' } });
    expect(behind?.error?.message).toMatch(/waits behind "Placed" at position \d+.*cannot place x1/);
    // Healthy consumers of the same events are not concerned.
    expect(flow.steps.find(({ name }) => name === 'items')?.status).toBe('DONE');
    broken.delete('x1');
  });

  test('of 300 commands is whole, and what is beyond 2,000 steps is said to be missing', async () => {
    const correlationId = randomUUID();
    await Promise.all(Array.from({ length: 300 }, (_, n) => place(`c${n}`, `i${n}`, correlationId)));
    const whole = await app.settled(correlationId, { timeoutMs: 60_000 });
    expect(whole.steps).toHaveLength(300 * 5);
    expect(whole.truncated).toBe(false);
    await Promise.all(Array.from({ length: 200 }, (_, n) => place(`d${n}`, `i${n}`, correlationId)));
    const cut = await app.settled(correlationId, { timeoutMs: 60_000 });
    expect(cut.steps).toHaveLength(2_000);
    expect([cut.truncated, cut.steps.at(-1)?.truncated, cut.steps.at(-2)?.truncated]).toEqual([true, true, false]);
    const query = `{ flow(correlationId: "${correlationId}") { settled truncated
      steps { id parentId kind name subject status attempts startedAt durationMs error { code message } event { type position data } } } }`;
    const answer = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query }),
    });
    const { data, errors } = await answer.json();
    expect(errors).toBeUndefined();
    expect([data.flow.steps.length, data.flow.truncated]).toEqual([2_000, true]);
  });
});

const FLOW = `subscription($id: ID!) { flow(correlationId: $id) {
  id parentId kind name subject status attempts startedAt durationMs error { code message } event { type position } } }`;

test('a subscription that begins before the mutation sees every hop, causes first, each ending as DONE', async () => {
  const correlationId = randomUUID();
  const live = values(client().iterate<{ flow: FlowStep }>({ query: FLOW, variables: { id: correlationId } }));
  const first = live.next('the first step');
  const answer = await fetch(`${app.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-correlation-id': correlationId },
    body: JSON.stringify({ query: 'mutation { place(id: "w1", input: { item: "tea" }) { __typename } }' }),
  });
  expect(await answer.json()).toEqual({ data: { place: { __typename: 'CommandAccepted' } } });
  const seen = new Map<string, FlowStep>();
  for (let next = await first; ; next = await live.next(`the end of: ${[...seen.keys()]}`)) {
    const step = next.data?.flow;
    if (step == null) throw new Error(JSON.stringify(next.errors));
    if (step.parentId !== null) expect(seen.has(step.parentId), `the cause of ${step.id} came before it`).toBe(true);
    seen.set(step.id, step);
    if (seen.size === 5 && [...seen.values()].every(({ status }) => status === 'DONE')) break;
  }
  await live.end();
  expect(tree([...seen.values()])).toEqual([
    'COMMAND Place order/w1 DONE',
    '  EVENT Placed order/w1 DONE',
    '    PROJECTOR orders w1 DONE',
    '    PROJECTOR items tea DONE',
    '  EVENT Noted order/w1 DONE',
  ]);
});

test('the query gives the whole flow', async () => {
  const correlationId = randomUUID();
  await place('q1', 'tea', correlationId);
  await settled(correlationId);
  const answer = await fetch(`${app.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      query:
        'query($id: ID!) { flow(correlationId: $id) { correlationId settled truncated steps { kind name status } } none: flow(correlationId: "none") { settled } }',
      variables: { id: correlationId },
    }),
  });
  expect(await answer.json()).toMatchObject({
    data: { flow: { correlationId, settled: true, truncated: false, steps: { length: 5 } }, none: null },
  });
});

test('every read of a flow is served by an index, and appends do not pay for it', async () => {
  const db = connection.db;
  const explain = async (collection: string, filter: object): Promise<string> => {
    const plan = await db.collection(collection).find(filter).explain('queryPlanner');
    return JSON.stringify(plan.queryPlanner.winningPlan);
  };
  const by = { 'meta.correlationId': { $eq: 'x' } };
  expect(await explain('commits', { ...by, version: { $eq: null } })).toContain('"receipt_correlation"');
  expect(await explain('rejections', by)).toContain('"correlation"');
  expect(await explain('queued_commands', by)).toContain('"correlation"');
  expect(await explain('events', by)).toContain('"correlation_position"');
  // Only receipts without events are in the index of commits.
  const withEvents = await db.collection('commits').countDocuments({ version: { $exists: true } });
  const inIndex = await db
    .collection('commits')
    .find({ ...{ version: { $eq: null } } })
    .hint('receipt_correlation')
    .toArray();
  expect(withEvents).toBeGreaterThan(500);
  expect(inIndex.length).toBeLessThan(10);
});
