import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import app from '../../examples/bank/app.ts';
import type { FlowStep } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { readSettings } from '../../src/settings.ts';
import { type RunningApp, startApp } from '../../src/start.ts';
import { post, socketUrl, values } from '../setup/gateway.ts';
import { patient } from '../setup/patient.ts';
import { testServers } from '../setup/servers.ts';

/** A gateway and a worker, as two deployments would run them. */
let gateway: RunningApp;
let worker: RunningApp;
beforeAll(async () => {
  const { mongoUrl, redisUrl, database, prefix } = testServers();
  const settings = readSettings({
    MONGODB_URL: mongoUrl,
    MONGODB_DATABASE: database,
    REDIS_URL: redisUrl,
    REDIS_PREFIX: prefix,
    ...patient,
    PORT: '0',
  });
  const common = { modules: app.modules, settings, logger: createLogger({ level: 'silent', pretty: false }) };
  gateway = await startApp({ ...common, schema: app.schema, role: 'gateway' });
  worker = await startApp({ ...common, role: 'worker' });
});
afterAll(async () => {
  await gateway.stop();
  await worker.stop();
});

const ask = (query: string, headers: Readonly<Record<string, string>> = {}) =>
  post(gateway.url ?? '', JSON.stringify({ query }), headers);

test('a gateway without workers shows a flow live, and knows when it has settled', async () => {
  for (const id of ['a', 'b']) {
    await ask(`mutation { openAccount(id: "${id}", input: { owner: "Ada", currency: EUR }) { __typename } }`);
  }
  await ask('mutation { deposit(id: "a", input: { amount: 100 }) { __typename } }');
  const socket = createClient({ url: socketUrl(gateway.url ?? ''), webSocketImpl: WebSocket, retryAttempts: 0 });
  const query = 'subscription { flow(correlationId: "apart") { id kind name status } }';
  const live = values(socket.iterate<{ flow: FlowStep }>({ query }));
  const first = live.next('the first step');
  await ask('mutation { requestTransfer(id: "t", input: { from: "a", to: "b", amount: 1 }) { __typename } }', {
    'x-correlation-id': 'apart',
  });
  for (let next = await first; ; next = await live.next('the end of the transfer')) {
    const step = next.data?.flow;
    if (step?.name === 'notify' && step.status === 'DONE') break;
  }
  await live.end();
  const flow = await gateway.settled('apart', { timeoutMs: 60_000 });
  expect(flow.steps.filter(({ kind }) => kind === 'EVENT').map(({ name }) => name)).toEqual([
    'TransferRequested',
    'TransferDebited',
    'TransferCredited',
    'TransferCompleted',
  ]);
  await socket.dispose();
});

test('while nobody places commits nothing has settled, and what is stored is shown all the same', async () => {
  await worker.stop();
  await ask('mutation { deposit(id: "b", input: { amount: 7 }) { __typename } }', { 'x-correlation-id': 'unplaced' });
  const early = await gateway.runtime.flow('unplaced');
  expect(early?.settled).toBe(false);
  expect(early?.steps.map(({ kind, name, status }) => `${kind} ${name} ${status}`)).toEqual([
    'COMMAND Deposit DONE',
    'EVENT MoneyDeposited PENDING',
  ]);
  await expect(gateway.settled('unplaced', { timeoutMs: 300 })).rejects.toMatchObject({
    code: 'NOT_SETTLED',
    message: expect.stringContaining('EVENT MoneyDeposited (account/b) is PENDING'),
  });
});
