import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { limits } from '../../src/gateway/limits.ts';
import { readSettings } from '../../src/settings.ts';
import { abuseSchema } from '../setup/abuse-schema.ts';
import { answerOf, socketUrl, startBank } from '../setup/gateway.ts';
import { subscribe, testSocket } from '../setup/socket.ts';
import { until } from '../setup/until.ts';

async function subscribed(url: string): Promise<{ readonly ws: WebSocket; closed: number | undefined }> {
  const ws = new WebSocket(socketUrl(url), ['graphql-transport-ws']);
  const seen: { readonly ws: WebSocket; closed: number | undefined; next: boolean } = {
    ws,
    closed: undefined,
    next: false,
  };
  ws.on('open', () => ws.send('{"type":"connection_init"}'));
  ws.on('message', (data) => {
    const text = String(data);
    if (text.includes('connection_ack')) {
      ws.send('{"id":"a","type":"subscribe","payload":{"query":"subscription { counted }"}}');
    }
    seen.next ||= text.includes('"next"');
  });
  ws.on('close', (code) => {
    seen.closed = code;
  });
  await until('the first value', () => seen.next || undefined);
  return seen;
}

const streamed = (url: string) =>
  fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query: 'subscription { counted }' }),
  });

test('a stop closes sockets with 1012, cuts streams, lets what runs finish and takes nothing new', async () => {
  const { schema, open, latch } = abuseSchema();
  const bank = await startBank({ schema });
  const socket = await subscribed(bank.url);
  const stream = await streamed(bank.url);
  await until('both readers', () => open.count === 2 || undefined, { seen: () => open });
  const reached = new Promise<void>((resolve) => {
    latch.reached = resolve;
  });
  const running = bank.ask('{ slow }');
  await reached;

  const stopped = bank.stop();
  await until('the socket to be closed', () => socket.closed);
  expect(socket.closed).toBe(1012);
  // A stream that is cut is opened again by its client; one that ended in order would not be.
  await expect(stream.text()).rejects.toThrow();
  await until('the doors to be shut', async () => {
    const refused = await fetch(`${bank.url}/ready`).then(
      () => false,
      () => true,
    );
    return refused || undefined;
  });
  latch.release();
  expect((await running).data).toEqual({ slow: 'done' });
  await stopped;
  expect(open.count).toBe(0);
});

/** Two sockets go in the middle of the first and of the second five minutes. */
function stopSlowly(bank: { stop(): Promise<void> }): Promise<void> {
  const { drainStepMaxMs } = limits;
  const { random } = Math;
  Object.assign(limits, { drainStepMaxMs: 300_000 });
  Math.random = () => 0.5;
  try {
    return bank.stop();
  } finally {
    Object.assign(limits, { drainStepMaxMs });
    Math.random = random;
  }
}

describe('while the sockets are closed one after the other', async () => {
  const { schema, open } = abuseSchema();
  const bank = await startBank({ schema, env: { DRAIN_WINDOW_MS: '600000' } });
  const sockets = [await testSocket(socketUrl(bank.url)), await testSocket(socketUrl(bank.url))];
  const stopped = stopSlowly(bank);

  test('a load balancer is told at once, and neither sockets nor streams are taken', async () => {
    const ready = await fetch(`${bank.url}/ready`);
    expect([ready.status, await ready.json()]).toEqual([
      503,
      { status: 'unavailable', reasons: ['this gateway is shutting down'] },
    ]);
    const upgrade = await (await testSocket(socketUrl(bank.url))).refusal();
    expect([upgrade.status, upgrade.retryAfter]).toEqual([503, '1']);
    expect(upgrade.text).toContain('SHUTTING_DOWN');
    const stream = await streamed(bank.url);
    expect([stream.status, stream.headers.get('retry-after')]).toEqual([503, '1']);
  });

  test('queries and mutations are answered, on sockets too, and the connection is not kept', async () => {
    const answer = await bank.ask('{ __typename }');
    expect(answer.data).toEqual({ __typename: 'Query' });
    expect(answer.headers.get('connection')).toBe('close');
    for (const socket of sockets) expect((await socket.answer('{ __typename }')).type).toBe('next');
  });

  test('the stop goes on as soon as nobody is left', async () => {
    for (const socket of sockets) socket.ws.close();
    await stopped;
    expect(open.count).toBe(0);
  });
});

test('a socket is closed when its mutation is answered, and takes no other before that', async () => {
  const { schema, latch } = abuseSchema();
  const bank = await startBank({ schema });
  const socket = await testSocket(socketUrl(bank.url));
  const reached = new Promise<void>((resolve) => {
    latch.reached = resolve;
  });
  socket.send(subscribe('{ slow }', 'slow'));
  await reached;
  const stopped = bank.stop();
  await until('a refusal', async () => {
    const { type, payload } = await socket.answer('{ __typename }');
    return (type === 'error' && payload[0].extensions.code === 'SHUTTING_DOWN') || undefined;
  });
  latch.release();
  expect((await socket.message('the answer', ({ id }) => id === 'slow')).payload.data).toEqual({ slow: 'done' });
  expect(await socket.closing()).toEqual({ code: 1012, reason: 'Service restart' });
  await stopped;
});

test('a stop does not wait for ever for an operation that never ends', async () => {
  const { schema, latch } = abuseSchema();
  const bank = await startBank({ schema, env: { SHUTDOWN_TIMEOUT_MS: '1000' } });
  const reached = new Promise<void>((resolve) => {
    latch.reached = resolve;
  });
  const running = bank.ask('{ slow }').catch((error: unknown) => error);
  await reached;
  await bank.stop();
  expect(await running).toBeInstanceOf(Error);
});

test('a port that is taken is refused at start, with the cure', async () => {
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const address = taken.address();
  const port = typeof address === 'object' && address !== null ? String(address.port) : '';
  await expect(startBank({ env: { PORT: port } })).rejects.toMatchObject({
    code: 'PORT_IN_USE',
    message: expect.stringMatching(new RegExp(`Port ${port} .*set PORT`)),
  });
  taken.close();
});

test('a host that is none of this machine is refused at start', async () => {
  await expect(startBank({ env: { HOST: '203.0.113.1' } })).rejects.toMatchObject({ code: 'SETTINGS_INVALID' });
});

test('health says that the process lives, ready that traffic may come', async () => {
  const bank = await startBank();
  const health = await fetch(`${bank.url}/health`);
  expect([health.status, await health.json()]).toEqual([200, { status: 'ok' }]);
  const ready = await until('ready', async () => {
    const response = await fetch(`${bank.url}/ready`);
    const body = (await response.json()) as { readonly status: string };
    return body.status === 'ready' ? { status: response.status, body } : undefined;
  });
  expect(ready).toEqual({ status: 200, body: { status: 'ready', reasons: [] } });
  expect((await fetch(`${bank.url}/health`, { method: 'HEAD' })).status).toBe(200);
  expect((await answerOf(await fetch(`${bank.url}/`))).status).toBe(404);
});

test('settings name what is wrong in the environment', () => {
  expect(() => readSettings({ MONGODB_URL: 'http://x', PORT: '70000' })).toThrow(
    /MONGODB_URL[\s\S]*REDIS_URL: is missing[\s\S]*PORT/,
  );
});
