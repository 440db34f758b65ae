import { randomUUID } from 'node:crypto';
import { get, type IncomingMessage } from 'node:http';
import { expect, test } from 'vitest';
import { startBank } from '../setup/gateway.ts';
import { testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

/** Two gateways of one deployment; a client that is no library: an HTTP connection, cut in the middle. */
const { database, prefix } = testServers();
const env = { MONGODB_DATABASE: database, REDIS_PREFIX: prefix };
const bank = await startBank({ env });
const other = await startBank({ env });

interface Block {
  readonly event: string;
  readonly id: string | undefined;
  readonly lines: readonly string[];
  // biome-ignore lint/suspicious/noExplicitAny: any subscription's answer
  readonly data: any;
}

/** What an EventSource of a page of the gateway's own sends, and after a cut with the id of the last message. */
async function eventSource(url: string, query: string, lastEventId?: string) {
  const headers = {
    accept: 'text/event-stream',
    'sec-fetch-site': 'same-origin',
    ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
  };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get(`${url}/graphql?query=${encodeURIComponent(query)}`, { headers, agent: false }, resolve).on('error', reject);
  });
  expect(`${response.statusCode} ${response.headers['content-type']}`).toBe('200 text/event-stream');
  const blocks: Block[] = [];
  let text = '';
  response.setEncoding('utf8').on('data', (more: string) => {
    text += more;
    const complete = text.split('\n\n');
    text = complete.pop() ?? '';
    for (const block of complete) {
      const lines = block.split('\n').filter((line) => line !== '' && !line.startsWith(':'));
      const fieldOf = (name: string) =>
        lines
          .find((line) => line.startsWith(`${name}:`))
          ?.slice(name.length + 1)
          .trim();
      const event = fieldOf('event');
      const data = fieldOf('data');
      if (event !== undefined)
        blocks.push({ event, id: fieldOf('id'), lines, data: data ? JSON.parse(data) : undefined });
    }
  });
  response.on('error', () => undefined);
  return {
    blocks,
    first: (count: number) =>
      until(`${count} messages`, () => (blocks.length >= count ? blocks.slice(0, count) : undefined), {
        seen: () => blocks,
      }),
    cut: () => response.socket.destroy(),
  };
}

/** Carried out, and in the views of both gateways. */
const run = async (mutation: string, id: string): Promise<void> => {
  const { data } = await bank.ask(`mutation($id: ID!) { done: ${mutation} { ... on CommandAccepted { token } } }`, {
    id,
  });
  for (const { ask } of [bank, other]) {
    const read = await ask('query($id: ID!, $t: Token) { account(id: $id, atLeast: $t) { id } }', {
      id,
      t: data.done.token,
    });
    expect(read.data.account.id).toBe(id);
  }
};
const open = (id: string) => run('openAccount(id: $id, input: { owner: "Ada", currency: EUR })', id);
const deposit = (id: string, amount: number) => run(`deposit(id: $id, input: { amount: ${amount} })`, id);

test('each message has its cursor as id; with Last-Event-ID another gateway goes on there', async () => {
  const id = randomUUID();
  await open(id);
  await deposit(id, 1);
  const query = `subscription { accountChanged(id: "${id}") { signal cursor node { balance } } }`;
  const before = await eventSource(bank.url, query);
  const [snapshot] = await before.first(1);
  expect(snapshot).toMatchObject({
    event: 'next',
    data: { data: { accountChanged: { signal: 'SNAPSHOT', node: { balance: 1 } } } },
  });
  expect(snapshot!.id).toBe(snapshot!.data.data.accountChanged.cursor);
  before.cut();
  await deposit(id, 2);
  const after = await eventSource(other.url, query, snapshot!.id);
  expect((await after.first(2)).map(({ data }) => data.data.accountChanged)).toMatchObject([
    { signal: 'UPDATE', node: { balance: 3 } },
    { signal: 'CAUGHT_UP', node: null },
  ]);
  await deposit(id, 4);
  expect((await after.first(3))[2]).toMatchObject({
    data: { data: { accountChanged: { signal: 'UPDATE', node: { balance: 7 } } } },
  });
  after.cut();
});

test('a list and the log too, also where the cursor has another name or stands in a fragment', async () => {
  const id = randomUUID();
  await open(id);
  const list = `subscription { all: accountsChanged(filter: { id: { in: ["${id}"] } }) { ...Of } }
    fragment Of on AccountChange { signal ... on AccountChange { place: cursor } node { balance } }`;
  const log = `subscription { events(filter: { aggregate: "account", aggregateId: "${id}" }) { signal cursor event { version } } }`;
  const [lists, logs] = [await eventSource(bank.url, list), await eventSource(bank.url, log)];
  const [, caughtUp] = await lists.first(2);
  expect(caughtUp).toMatchObject({ data: { data: { all: { signal: 'CAUGHT_UP', place: caughtUp!.id } } } });
  const [begun] = await logs.first(1);
  expect(begun).toMatchObject({ data: { data: { events: { signal: 'CAUGHT_UP', cursor: begun!.id } } } });
  lists.cut();
  logs.cut();
  for (const amount of [5, 6]) await deposit(id, amount);
  const lists2 = await eventSource(other.url, list, caughtUp!.id);
  expect((await lists2.first(2)).map(({ data }) => data.data.all)).toMatchObject([
    { signal: 'UPDATE', node: { balance: 11 } },
    { signal: 'CAUGHT_UP' },
  ]);
  lists2.cut();
  const logs2 = await eventSource(other.url, log, begun!.id);
  expect((await logs2.first(3)).map(({ data }) => data.data.events)).toMatchObject([
    { signal: 'UPDATE', event: { version: 2 } },
    { signal: 'UPDATE', event: { version: 3 } },
    { signal: 'CAUGHT_UP', event: null },
  ]);
  logs2.cut();
});

test('Last-Event-ID wins over `after`', async () => {
  const id = randomUUID();
  await open(id);
  const query = (after: string) => `subscription { accountChanged(id: "${id}"${after}) { signal gap cursor } }`;
  const [snapshot] = await (await eventSource(bank.url, query(''))).first(1);
  const again = await eventSource(bank.url, query(', after: "x"'), snapshot!.id);
  expect((await again.first(1))[0]).toMatchObject({ data: { data: { accountChanged: { signal: 'CAUGHT_UP' } } } });
  again.cut();
});

test('without a cursor in the answer there is no id', async () => {
  const query =
    'subscription($on: Boolean = false) { accountChanged(id: "nobody") { signal cursor @include(if: $on) } }';
  for (const one of ['subscription { accountChanged(id: "nobody") { signal } }', query]) {
    const stream = await eventSource(bank.url, one);
    const [message] = await stream.first(1);
    expect(message!.lines).toEqual(['event: next', 'data: {"data":{"accountChanged":{"signal":"SNAPSHOT"}}}']);
    stream.cut();
  }
});

test('an id that is no cursor is BAD_CURSOR, and the stream is complete: nothing to come back for', async () => {
  const stream = await eventSource(bank.url, 'subscription { accountChanged(id: "x") { signal cursor } }', 'forged');
  const [error, end] = await stream.first(2);
  expect(error!.data.errors[0].extensions.code).toBe('BAD_CURSOR');
  expect([error!.id, end!.event]).toEqual([undefined, 'complete']);
});
