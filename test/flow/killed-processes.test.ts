import { randomUUID } from 'node:crypto';
import { createServer } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import { afterAll, expect, it } from 'vitest';
import WebSocket from 'ws';
import { verifyLog } from '../../src/engine/verify.ts';
import { connect } from '../../src/store/connect.ts';
import { createDeliveryStore } from '../../src/store/delivery-store.ts';
import { testServers } from '../setup/servers.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';

const servers = testServers();
const children = new Set<SourceProcess>();
afterAll(() => {
  for (const { child } of children) child.kill('SIGKILL');
});

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });

function startRole(role: 'gateway' | 'worker', port: number): SourceProcess {
  const started = startSource(
    'test/setup/processes/cli.ts',
    ['start', '--role', role, '--app', 'examples/bank/app.ts'],
    {
      PATH: process.env.PATH,
      MONGODB_URL: servers.mongoUrl,
      MONGODB_DATABASE: servers.database,
      REDIS_URL: servers.redisUrl,
      REDIS_PREFIX: servers.prefix,
      PORT: String(port),
      LOG_PRETTY: 'false',
      LOG_LEVEL: 'error',
    },
  );
  children.add(started);
  return started;
}

async function mutate(
  ports: readonly number[],
  query: string,
  variables: object,
): Promise<{ __typename: string; version: number }> {
  for (let attempt = 0; ; attempt++) {
    try {
      const response = await fetch(`http://127.0.0.1:${ports[attempt % ports.length]}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query, variables }),
        signal: AbortSignal.timeout(15_000),
      });
      const answer = await response.json();
      if (answer.errors === undefined) return Object.values(answer.data as Record<string, never>)[0]!;
      if (attempt > 200) throw new Error(JSON.stringify(answer.errors));
    } catch (error) {
      if (attempt > 200) throw error;
    }
    // The gateway is being restarted.
    await wait(50);
  }
}
const OPEN =
  'mutation($id: ID!) { openAccount(id: $id, commandId: $id, input: { owner: "Ada", currency: EUR }) { __typename } }';
const DEPOSIT =
  'mutation($id: ID!, $commandId: ID!, $amount: SafeInt!) { deposit(id: $id, commandId: $commandId, input: { amount: $amount }) { __typename ... on CommandAccepted { version } } }';

const WRITERS = 200;
const COMMANDS = 50;

it('200 writers over two gateways, a gateway and a worker killed at random moments: nothing lost, nothing twice, each position once and in order', async () => {
  const ports = [await freePort(), await freePort()];
  const roles = { worker: startRole('worker', 0), gateway: startRole('gateway', ports[0]!) };
  startRole('worker', 0);
  startRole('gateway', ports[1]!);
  for (const port of ports) {
    await until(
      `gateway ${port} answers`,
      async () => (await fetch(`http://127.0.0.1:${port}/ready`).catch(() => undefined))?.ok,
    );
  }

  const seen: number[] = [];
  let caughtUp = false;
  const reader = createClient({ url: `ws://127.0.0.1:${ports[1]}/graphql`, webSocketImpl: WebSocket, lazy: false });
  const stream = reader.iterate<{ events: { signal: string; event: { position: string } | null } }>({
    query: 'subscription { events { signal event { position } } }',
  });
  const reading = (async () => {
    for await (const { data, errors } of stream) {
      if (errors !== undefined) throw new Error(JSON.stringify(errors));
      caughtUp ||= data?.events.signal === 'CAUGHT_UP';
      if (data?.events.event != null) seen.push(Number(data.events.event.position));
    }
  })();

  await until('the reader is at the end', () => caughtUp || undefined);

  let writing = true;
  const killing = (async () => {
    for (let i = 0; writing; i++) {
      await wait(700 + Math.random() * 1_500);
      const role = i % 2 === 0 ? 'worker' : 'gateway';
      roles[role].child.kill('SIGKILL');
      await roles[role].exited;
      await wait(500);
      roles[role] = startRole(role, ports[0]!);
    }
  })();

  let acknowledged = 0;
  const sums = new Map<string, number>();
  await Promise.all(
    Array.from({ length: WRITERS }, async (_, writer) => {
      const id = `w${writer}`;
      const route = writer % 2 === 0 ? ports : [...ports].reverse();
      expect((await mutate(route, OPEN, { id })).__typename).toBe('CommandAccepted');
      acknowledged++;
      for (let i = 0; i < COMMANDS - 1; i++) {
        const amount = 1 + ((writer + i) % 9);
        const outcome = await mutate(route, DEPOSIT, { id, commandId: randomUUID(), amount });
        expect(outcome).toEqual({ __typename: 'CommandAccepted', version: i + 2 });
        acknowledged++;
        sums.set(id, (sums.get(id) ?? 0) + amount);
      }
    }),
  );
  writing = false;
  await killing;

  const { client, db } = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  const total = WRITERS * COMMANDS;
  expect(acknowledged).toBe(total);
  await until(
    `${total} events in the log`,
    async () => (await db.collection('events').countDocuments()) === total || undefined,
    { timeoutMs: 20_000 },
  );
  await until(
    'the view is level',
    async () => {
      const documents = await db.collection<{ _id: string; balance: number }>('view_account_g1').find().toArray();
      return (
        (documents.length === WRITERS && documents.every(({ _id, balance }) => sums.get(_id) === balance)) || undefined
      );
    },
    { timeoutMs: 20_000 },
  );
  await until('the reader saw the last position', () => seen.at(-1) === total || undefined, { timeoutMs: 20_000 });
  expect(seen).toEqual(Array.from({ length: total }, (_, i) => i + 1));
  expect(await verifyLog(createDeliveryStore(client, db, 'main'))).toMatchObject({
    ok: true,
    commitCount: total,
    eventCount: total,
  });
  await client.close();
  await reader.dispose();
  await reading.catch(() => undefined);
}, 300_000);
