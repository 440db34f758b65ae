import { expect, test } from 'vitest';
import { abuseSchema } from '../setup/abuse-schema.ts';
import { socketUrl, startBank } from '../setup/gateway.ts';
import { subscribe, testSocket } from '../setup/socket.ts';
import { until } from '../setup/until.ts';

const { schema, open } = abuseSchema();
const bank = await startBank({ schema, env: { SOCKETS_PER_CLIENT_MAX: '3', SUBSCRIPTIONS_PER_CLIENT_MAX: '5' } });
const socket = () => testSocket(socketUrl(bank.url));
/** A socket that is taken: one that was closed before counts until the gateway has heard of it. */
const place = () =>
  until('a free place', async () => {
    const one = await socket();
    return one.ws.readyState === one.ws.OPEN ? one : undefined;
  });
const COUNTED = 'subscription { counted }';
const readers = (count: number) =>
  until(`${count} readers`, () => open.count === count || undefined, { seen: () => open });
const streamed = (signal: AbortSignal) =>
  fetch(`${bank.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query: COUNTED }),
    signal,
  });

test('a client that holds as many sockets as it may gets 429 for one more, until one of them is closed', async () => {
  const sockets = [await place(), await place(), await place()];
  const refused = await (await socket()).refusal();
  expect(refused).toMatchObject({ status: 429, retryAfter: '10', text: expect.stringContaining('TOO_MANY_SOCKETS') });
  expect((await sockets[0]?.answer('{ __typename }'))?.type).toBe('next');
  sockets[0]?.wire.destroy();
  const next = await place();
  for (const one of [...sockets.slice(1), next]) one.ws.terminate();
});

test('subscriptions of a client count on all its sockets and streams; what is refused costs it nothing else', async () => {
  const [a, b] = [await place(), await place()];
  for (const id of ['1', '2']) for (const one of [a, b]) one.send(subscribe(COUNTED, id));
  await readers(4);
  const stream = new AbortController();
  expect((await streamed(stream.signal)).status).toBe(200);
  await readers(5);

  b.send(subscribe(COUNTED, '3'));
  const { payload } = await b.message('a refusal', ({ id, type }) => id === '3' && type === 'error');
  expect(payload[0]).toMatchObject({
    message: expect.stringContaining('SUBSCRIPTIONS_PER_CLIENT_MAX'),
    extensions: { code: 'TOO_MANY_SUBSCRIPTIONS' },
  });
  expect(await (await streamed(new AbortController().signal)).text()).toContain('TOO_MANY_SUBSCRIPTIONS');
  expect((await b.answer('{ __typename }')).type).toBe('next');

  // One that its client completes twice, and one that never was, count once and not at all.
  for (const id of ['1', '1', 'never']) a.send(JSON.stringify({ id, type: 'complete' }));
  await readers(4);
  b.send(subscribe(COUNTED, '4'));
  await readers(5);
  a.send(subscribe(COUNTED, '5'));
  await a.message('a refusal', ({ id, type }) => id === '5' && type === 'error');

  stream.abort();
  a.wire.destroy();
  await readers(3);
  for (const id of ['6', '7']) b.send(subscribe(COUNTED, id));
  await readers(5);
  b.ws.terminate();
  await readers(0);
});
