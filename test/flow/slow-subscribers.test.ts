import { randomUUID } from 'node:crypto';
import { subscribe as listen } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { afterAll, expect, test } from 'vitest';
import { limits } from '../../src/gateway/limits.ts';
import { socketUrl, startBank, type TestGateway } from '../setup/gateway.ts';
import { slowLink } from '../setup/slow-link.ts';
import { subscribe, testSocket } from '../setup/socket.ts';
import { until } from '../setup/until.ts';

/** The gateways' ends of the connections. */
const accepted: Socket[] = [];
listen('net.server.socket', (message) => accepted.push((message as { readonly socket: Socket }).socket));

/** One that is patient, and one whose heart beats every second. */
const patient = await startBank();
const BEAT_MS = 1_000;
Object.assign(limits, { heartbeatIntervalMs: BEAT_MS });
const strict = await startBank();
const link = await slowLink(Number(new URL(strict.url).port));
afterAll(() => link.close());

const EVENTS = 'subscription($after: Cursor) { events(after: $after) { signal cursor event { position } } }';
const CHANGES = 'subscription($id: ID!) { accountChanged(id: $id) { signal node { balance } } }';
const SEND = 'mutation($commands: [CommandEnvelope!]!) { sendCommands(commands: $commands) { __typename } }';

async function send(gateway: TestGateway, commands: readonly object[]): Promise<void> {
  for (let i = 0; i < commands.length; i += 100) {
    const answer = await gateway.ask(SEND, { commands: commands.slice(i, i + 100) });
    expect(answer.errors).toEqual([]);
    const kinds: string[] = answer.data.sendCommands.map((one: { readonly __typename: string }) => one.__typename);
    expect(new Set(kinds)).toEqual(new Set(['CommandAccepted']));
  }
}
const opening = (id: string) => ({
  aggregate: 'account',
  id,
  type: 'OpenAccount',
  input: { owner: 'Ada', currency: 'EUR' },
});
const deposit = (id: string) => ({ aggregate: 'account', id, type: 'Deposit', input: { amount: 1 } });
/** One stream takes one command after the other. Their events have positions when it returns: a subscription of now gets none. */
async function openAccounts(gateway: TestGateway): Promise<readonly string[]> {
  const ids = Array.from({ length: 100 }, () => randomUUID());
  await send(gateway, ids.map(opening));
  for (const id of ids) await settled(gateway, id, 0);
  return ids;
}
const deposits = (count: number, ids: readonly string[]) =>
  Array.from({ length: count }, (_, n) => deposit(ids[n % ids.length] ?? ''));

type Client = Awaited<ReturnType<typeof testSocket>>;
const gatewayEnd = ({ wire }: Client): Socket => {
  const found = accepted.find(({ remotePort }) => remotePort === wire.localPort);
  if (found === undefined) throw new Error('the gateway has no such connection');
  return found;
};
const events = (client: Client): { position: number; cursor: string }[] =>
  client.messages.flatMap(({ type, payload }) => {
    const delivery = type === 'next' ? payload.data.events : undefined;
    return delivery?.event ? [{ position: Number(delivery.event.position), cursor: delivery.cursor }] : [];
  });
const endOfLog = async (gateway: TestGateway): Promise<number> =>
  Number((await gateway.ask('{ events(last: 1) { edges { node { position } } } }')).data.events.edges[0].node.position);
const caughtUp = (client: Client) =>
  client.message('CAUGHT_UP', ({ payload }) => payload?.data?.events?.signal === 'CAUGHT_UP');
const settled = async (gateway: TestGateway, id: string, balance: number) =>
  until('the view', async () => {
    const { data } = await gateway.ask('query($id: ID!) { account(id: $id) { balance } }', { id });
    return data.account?.balance === balance || undefined;
  });

test('3,000 events for a client that has stopped to read: next to nothing is under way to it, and it misses none', async () => {
  const ids = await openAccounts(patient);
  const client = await testSocket(socketUrl(patient.url));
  client.send(subscribe(EVENTS, 'a'));
  await caughtUp(client);
  const begin = await endOfLog(patient);
  const wire = gatewayEnd(client);
  client.wire.pause();
  const before = wire.bytesWritten;
  await send(patient, deposits(3_000, ids));
  for (const id of ids) await settled(patient, id, 30);
  // In the buffers of both systems, and in those of the gateway.
  expect(wire.bytesWritten - before).toBeLessThan(10_000);
  expect(wire.writableLength).toBe(0);
  client.wire.resume();
  await until('all events', () => events(client).length >= 3_000 || undefined, { seen: () => events(client).length });
  expect(events(client).map(({ position }) => position)).toEqual(
    Array.from({ length: 3_000 }, (_, n) => begin + 1 + n),
  );
});

test('100 subscriptions of a client that has stopped to read hold a message each, and end with the newest state', async () => {
  const ids = await openAccounts(patient);
  const client = await testSocket(socketUrl(patient.url));
  for (const id of ids) client.send(subscribe(CHANGES, id, { id }));
  const balance = (id: string): number | undefined =>
    client.messages.findLast((message) => message.id === id && message.type === 'next')?.payload.data.accountChanged
      .node?.balance;
  await until('all snapshots', () => ids.every((id) => balance(id) === 0) || undefined);
  const snapshotCount = client.messages.length;
  client.wire.pause();
  const wire = gatewayEnd(client);
  const before = wire.bytesWritten;
  await send(patient, deposits(3_000, ids));
  for (const id of ids) await settled(patient, id, 30);
  // A message each, about 300 bytes, and its window: the 30 KB of snapshots let that grow to 64 KiB at most. All states are 900 KB.
  expect(wire.bytesWritten - before).toBeLessThan(100_000);
  client.wire.resume();
  await until('all balances', () => ids.every((id) => balance(id) === 30) || undefined, {
    seen: () => ids.map(balance),
  });
  // Of 30 states of each account it was told few.
  expect(client.messages.length - snapshotCount).toBeLessThan(1_000);
});

test('a client that reads one byte a second is closed with 1013 and the reason, and goes on after its last cursor', async () => {
  const ids = await openAccounts(strict);
  const url = `ws://127.0.0.1:${link.port}/graphql`;
  const client = await testSocket(url);
  client.send(subscribe(EVENTS, 'a'));
  await caughtUp(client);
  const begin = await endOfLog(strict);
  link.setBytesPerSecond(1);
  await send(strict, deposits(500, ids));
  // What is under way to it would take a beat of 4 KiB a second.
  await beats(5);
  link.setBytesPerSecond(Number.POSITIVE_INFINITY);
  expect(await client.closing()).toEqual({
    code: 1013,
    reason: expect.stringContaining('go on after the last cursor'),
  });
  const seen = events(client);
  expect(seen.length).toBeLessThan(100);

  const again = await testSocket(url);
  again.send(subscribe(EVENTS, 'b', { after: seen.at(-1)?.cursor ?? begun(client) }));
  await until('the rest', () => seen.length + events(again).length >= 500 || undefined);
  const positions = [...seen, ...events(again)].map(({ position }) => position);
  expect(positions).toEqual(Array.from({ length: 500 }, (_, n) => begin + 1 + n));
  again.ws.terminate();
});
const begun = (client: Client): string =>
  client.messages.find(({ payload }) => payload?.data?.events?.signal === 'CAUGHT_UP')?.payload.data.events.cursor;

/** Waits for so many heartbeats of the strict gateway, as another client sees them. */
async function beats(count: number): Promise<void> {
  const witness = await testSocket(socketUrl(strict.url));
  let seen = 0;
  witness.ws.on('ping', () => {
    seen += 1;
  });
  await until(`${count} heartbeats`, () => seen >= count || undefined);
  witness.ws.terminate();
}

test('a client that reads slowly, but steadily, keeps its socket', async () => {
  const ids = await openAccounts(strict);
  const client = await testSocket(`ws://127.0.0.1:${link.port}/graphql`);
  client.send(subscribe(EVENTS, 'a'));
  await caughtUp(client);
  // A window of 4 KiB in half a second.
  link.setBytesPerSecond(8_192);
  await send(strict, deposits(1_000, ids));
  await beats(4);
  expect(events(client).length).toBeLessThan(1_000);
  link.setBytesPerSecond(Number.POSITIVE_INFINITY);
  const seen = () => [events(client).length, client.ws.readyState];
  await until('all events', () => events(client).length === 1_000 || undefined, { seen });
  expect(client.ws.readyState).toBe(client.ws.OPEN);
  client.ws.terminate();
});

test('a client that was quick and becomes slow all at once keeps its socket', async () => {
  const ids = await openAccounts(strict);
  const client = await testSocket(`ws://127.0.0.1:${link.port}/graphql`);
  client.send(subscribe(EVENTS, 'a'));
  await caughtUp(client);
  await send(strict, deposits(2_000, ids));
  await until('all events', () => events(client).length === 2_000 || undefined);
  // It was sent several times as much as it reads in a beat.
  link.setBytesPerSecond(8_192);
  await send(strict, deposits(1_000, ids));
  await beats(5);
  expect(client.ws.readyState).toBe(client.ws.OPEN);
  link.setBytesPerSecond(Number.POSITIVE_INFINITY);
  await until('all events', () => events(client).length === 3_000 || undefined, {
    seen: () => [events(client).length, client.ws.readyState],
  });
  client.ws.terminate();
});

const texts = Array.from({ length: 28 }, (_, n) => `a${n}: data`);

test('a stream whose client has stopped to read holds little, and is cut', async () => {
  const stream = await fetch(`http://127.0.0.1:${link.port}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    // About 17 KB for each event.
    body: JSON.stringify({ query: `subscription { events { event { ${texts.join(' ')} } } }` }),
  });
  const wire = accepted.at(-1);
  link.setBytesPerSecond(1);
  let mostWaiting = 0;
  // More than the buffers of the system on the way hold.
  const large = () => ({ ...opening(randomUUID()), input: { owner: '€'.repeat(200), currency: 'EUR' } });
  const writing = (async () => {
    for (let round = 0; round < 12 && wire?.destroyed === false; round++) {
      await send(strict, Array.from({ length: 100 }, large));
      mostWaiting = Math.max(mostWaiting, wire.writableLength);
    }
  })();
  await until('the stream to be cut', () => wire?.destroyed || undefined);
  await writing;
  expect(mostWaiting).toBeLessThan(1_000_000);
  link.setBytesPerSecond(Number.POSITIVE_INFINITY);
  await stream.body?.cancel().catch(() => undefined);
});
