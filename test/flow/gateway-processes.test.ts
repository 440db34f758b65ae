import { randomUUID } from 'node:crypto';
import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, expect, it } from 'vitest';
import WebSocket from 'ws';
import { connect } from '../../src/store/connect.ts';
import { DEPOSIT, OPEN, post, roleProcesses } from '../setup/role-processes.ts';
import { testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

/** Three processes with the settings of production: gateways A and B, and a worker. */
const servers = testServers();
const processes = roleProcesses(servers);
let a: number;
let b: number;
beforeAll(async () => {
  processes.worker();
  [a, b] = await Promise.all([processes.gateway(), processes.gateway()]).then((both) => [both[0].port, both[1].port]);
});
afterAll(() => processes.killAll());

const socketTo = (port: number) =>
  createClient({ url: `ws://127.0.0.1:${port}/graphql`, webSocketImpl: WebSocket, lazy: false });
type Client = ReturnType<typeof socketTo>;

async function postOverSocket<Data>(client: Client, query: string, variables: Record<string, unknown>): Promise<Data> {
  for await (const { data, errors } of client.iterate<Data>({ query, variables })) {
    if (errors !== undefined) throw new Error(JSON.stringify(errors));
    if (data != null) return data;
  }
  throw new Error('the operation ended without an answer');
}

const RECEIPT = `mutation($id: ID!, $commandId: ID!) {
  deposit(id: $id, commandId: $commandId, input: { amount: 7 }) {
    __typename
    ... on CommandAccepted {
      commandId correlationId streamId id version duplicate token
      events {
        id type schemaVersion streamId aggregate aggregateId version position data commandId at
        meta { correlationId causationId actor tenant traceparent client }
      }
    }
  }
}`;
interface Receipt {
  readonly deposit: Readonly<Record<string, unknown>>;
}

it('100 deposits with one commandId, over HTTP and WebSocket and two gateways: one event, one receipt', async () => {
  const [id, commandId] = [randomUUID(), randomUUID()];
  await post(a, OPEN, { id });
  const sockets = [socketTo(a), socketTo(b)] as const;
  const doors: readonly (() => Promise<Receipt>)[] = [
    () => post<Receipt>(a, RECEIPT, { id, commandId }),
    () => postOverSocket<Receipt>(sockets[1], RECEIPT, { id, commandId }),
    () => post<Receipt>(b, RECEIPT, { id, commandId }),
    () => postOverSocket<Receipt>(sockets[0], RECEIPT, { id, commandId }),
  ];
  const receipts = (await Promise.all(Array.from({ length: 100 }, (_, i) => doors[i % 4]!()))).map(
    (one) => one.deposit,
  );
  await Promise.all(sockets.map((socket) => socket.dispose()));

  expect(receipts[0]).toMatchObject({
    __typename: 'CommandAccepted',
    commandId,
    id,
    version: 2,
    events: [{ type: 'MoneyDeposited', version: 2, data: { amount: 7 }, commandId }],
  });
  for (const receipt of receipts) expect({ ...receipt, duplicate: null }).toEqual({ ...receipts[0], duplicate: null });
  expect(receipts.filter(({ duplicate }) => duplicate === false)).toHaveLength(1);
  expect(receipts.filter(({ duplicate }) => duplicate === true)).toHaveLength(99);

  const { token } = receipts[0]!;
  for (const port of [a, b]) {
    const query = `query($id: ID!, $token: Token!) {
      account(id: $id, atLeast: $token, timeoutMs: 30000) { balance }
      events(filter: { aggregate: "account", aggregateId: $id }, first: 10) { edges { node { type version } } }
    }`;
    expect(await post(port, query, { id, token })).toEqual({
      account: { balance: 7 },
      events: {
        edges: [{ node: { type: 'AccountOpened', version: 1 } }, { node: { type: 'MoneyDeposited', version: 2 } }],
      },
    });
  }
  const { client, db } = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  expect(await db.collection('commits').countDocuments({ 'command.id': commandId })).toBe(1);
  await client.close();
});

interface Account {
  readonly id: string;
  readonly balance: number;
}
interface Change {
  readonly signal: string;
  readonly id: string | null;
  readonly version: number | null;
  readonly origins: readonly string[];
  readonly node: Account | null;
}
const CHANGE = '{ signal id version origins node { id balance } }';

it('subscribers of gateway A see what gateway B accepted, and end with exactly what the view holds, for 200 documents', async () => {
  const ids = Array.from({ length: 200 }, (_, n) => `d${String(n).padStart(3, '0')}`);
  await Promise.all(ids.slice(0, 100).map((id) => post(b, OPEN, { id })));
  const client = socketTo(a);

  const changes: Change[] = [];
  const listening = (async () => {
    const stream = client.iterate<{ accountsChanged: Change }>({ query: `subscription { accountsChanged ${CHANGE} }` });
    for await (const { data, errors } of stream) {
      if (errors !== undefined) throw new Error(JSON.stringify(errors));
      if (data != null) changes.push(data.accountsChanged);
    }
  })();
  await until('CAUGHT_UP', () => changes.some(({ signal }) => signal === 'CAUGHT_UP') || undefined);

  const one: Change[] = [];
  const listeningToOne = (async () => {
    const query = `subscription($id: ID!) { accountChanged(id: $id) ${CHANGE} }`;
    for await (const { data, errors } of client.iterate<{ accountChanged: Change }>({
      query,
      variables: { id: 'd000' },
    })) {
      if (errors !== undefined) throw new Error(JSON.stringify(errors));
      if (data != null) one.push(data.accountChanged);
    }
  })();
  await until('one as it was opened', () => one.find(({ node }) => node !== null));

  // A single mutation on B: its update comes to A, and says whose it is.
  const commandId = randomUUID();
  await post(b, DEPOSIT, { id: 'd000', commandId, amount: 5 });
  const seen = await until('the update of one', () => one.find(({ origins }) => origins.includes(commandId)));
  expect(seen).toMatchObject({ signal: 'UPDATE', id: 'd000', node: { id: 'd000', balance: 5 } });

  const sums = new Map(ids.map((id) => [id, id === 'd000' ? 5 : 0]));
  await Promise.all(ids.slice(100).map((id) => post(b, OPEN, { id })));
  const deposit = async (n: number): Promise<void> => {
    const id = ids[n] ?? '';
    for (let i = 0; i < 10; i++) {
      const amount = 1 + ((n + i) % 7);
      await post(b, DEPOSIT, { id, commandId: randomUUID(), amount });
      sums.set(id, (sums.get(id) ?? 0) + amount);
    }
  };
  // No more at once than there are connections: Node.js takes one new one a turn of its loop, and turns of a busy one are long.
  await Promise.all(
    Array.from({ length: 50 }, async (_, lane) => {
      for (let n = lane; n < ids.length; n += 50) await deposit(n);
    }),
  );
  const newest = () => new Map(changes.filter(({ node }) => node !== null).map(({ id, node }) => [id, node?.balance]));
  await until(
    'the subscriber knows every sum',
    () => ids.every((id) => newest().get(id) === sums.get(id)) || undefined,
    { seen: () => ids.filter((id) => newest().get(id) !== sums.get(id)) },
  );

  const query = '{ accounts(filter: { owner: { eq: "Ada" } }, first: 1000) { edges { node { id balance } } } }';
  for (const port of [a, b]) {
    const { accounts } = await post<{ accounts: { edges: readonly { node: Account }[] } }>(port, query);
    const held = new Map(accounts.edges.map(({ node }) => [node.id, node.balance]));
    expect(new Map([...held].filter(([id]) => sums.has(id)))).toEqual(sums);
    // With the account of the test before: everything that the view holds, the subscriber holds, and nothing else.
    expect(newest()).toEqual(held);
  }
  const versions = new Map<string | null, number>();
  for (const { id, version } of changes) {
    if (version === null) continue;
    expect(version).toBeGreaterThan(versions.get(id) ?? 0);
    versions.set(id, version);
  }
  await until(
    'the subscriber of one knows its sum',
    () => one.at(-1)?.node?.balance === sums.get('d000') || undefined,
    {
      seen: () => one.at(-1),
    },
  );
  await client.dispose();
  await Promise.all([listening, listeningToOne]);
});
