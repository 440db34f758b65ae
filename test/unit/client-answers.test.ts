import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';
import { afterAll, describe, expect, test } from 'vitest';
import WebSocket, { WebSocketServer } from 'ws';
import { type ClientOptions, createClient, type MillraceClientError } from '../../src/client/index.ts';
import { MillraceProvider, useView } from '../../src/react/index.ts';
import { until } from '../setup/until.ts';

/*
 * What `millrace/client` makes of answers that no gateway gives, or not at will: a server says what the test says.
 */
interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}
/** Of requests that are answered for good, or told to come again still later: not ended by a busy machine. */
const PATIENT_MS = 30_000;
/** Of those that are to run out of time. */
const IMPATIENT_MS = 300;
const closers: (() => void)[] = [];
afterAll(() => {
  for (const close of closers) close();
});

/** Answers in this order, then with the last one for ever. */
async function answering(answers: readonly Answer[], options: Partial<ClientOptions> = {}) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const { status = 200, headers = {}, body: said } = answers[Math.min(asked.length, answers.length - 1)] ?? {};
      asked.push(body);
      const text = typeof said === 'string' ? said : JSON.stringify(said);
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text);
    });
  });
  server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => server.close());
  const { port } = server.address() as AddressInfo;
  const client = createClient({
    url: `http://127.0.0.1:${port}`,
    transport: 'sse',
    retry: { minMs: 5, maxMs: 20 },
    timeoutMs: PATIENT_MS,
    ...options,
  });
  closers.push(() => void client.close());
  return { client, asked };
}
const streaming = (messages: readonly object[]): Answer => ({
  headers: { 'content-type': 'text/event-stream' },
  body: [
    ...messages.map((data) => `event: next\ndata: ${JSON.stringify({ data })}\n\n`),
    'event: complete\ndata:\n\n',
  ].join(''),
});
const refusal = (code: string, extensions: object = {}) => ({
  errors: [{ message: code, extensions: { code, ...extensions } }],
});
const SEND = { query: 'mutation ($commandId: ID) { deposit(commandId: $commandId) { __typename version } }' };
const READ = { query: '{ account { id } accounts { id } }' };
const thrown = (promise: Promise<unknown>) =>
  promise.then(
    () => 'nothing was thrown',
    (error: unknown) => error,
  );

describe('a command', () => {
  test('with an outcome is answered, whatever failed beside it', async () => {
    const errors = [
      { message: 'later', path: ['deposit', 'view'], extensions: { code: 'VIEW_BEHIND', retryable: true } },
    ];
    const { client, asked } = await answering([
      { body: { data: { deposit: { __typename: 'CommandAccepted', version: 2, view: null } }, errors } },
    ]);
    expect(await client.send(SEND)).toMatchObject({ outcome: { version: 2, view: null }, errors });
    expect(asked).toHaveLength(1);
    const told = await new Promise((next, error) => client.forward(SEND).subscribe({ next, error }));
    expect(told).toMatchObject({ data: { deposit: { version: 2 } }, errors });
  });
  test.each([
    ['no GraphQL', { status: 502, body: '<html>' }],
    [
      'a refusal that says nothing of the tries before',
      { status: 503, body: refusal('TOO_BUSY', { retryAfterMs: 60_000 }) },
    ],
    ['a page of somebody else', { status: 404, body: '<html>' }],
  ])('of which a try may have been taken is OUTCOME_UNKNOWN at the end: %s', async (_what, last) => {
    const { client } = await answering([{ status: 502, body: '<html>' }, last], { timeoutMs: IMPATIENT_MS });
    expect(await thrown(client.send(SEND))).toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      retryable: true,
      commandId: expect.any(String),
    });
  });
  test.each([
    ['TOO_BUSY', { status: 503, body: refusal('TOO_BUSY', { retryAfterMs: 60_000 }) }],
    ['GRAPHQL_VALIDATION_FAILED', { body: refusal('GRAPHQL_VALIDATION_FAILED') }],
  ])('that no gateway has taken is what it is: %s', async (code, answer) => {
    const { client } = await answering([answer]);
    expect(await thrown(client.send(SEND))).toMatchObject({ code });
  });
});

test('fields of a query that did not fail reach other clients with the errors', async () => {
  const { client } = await answering([
    { body: { data: { account: { id: 'a' }, accounts: null }, ...refusal('BAD_INPUT') } },
  ]);
  expect(await thrown(client.query(READ))).toMatchObject({ code: 'BAD_INPUT', data: { account: { id: 'a' } } });
  const told = await new Promise((next, error) => client.forward(READ).subscribe({ next, error }));
  expect(told).toMatchObject({ data: { account: { id: 'a' } }, errors: [{ message: 'BAD_INPUT' }] });
});

describe('a subscription', () => {
  test('is told everything where nothing says that it is a repeat', async () => {
    // Steps of a flow come as they began, and again when they change.
    const steps = ['5', '3', '5'].map((position) => ({ flow: { id: position, event: { position } } }));
    const first = await answering([streaming(steps)]);
    const query = 'subscription { flow(correlationId: "x") { id event { position } } }';
    const seen: unknown[] = [];
    for await (const { data } of first.client.iterate({ query })) seen.push(data);
    expect(seen).toEqual(steps);
    // Without `signal` a GAP, after which versions begin anew, is not seen.
    const changes = [2, 1].map((version) => ({ accounts: { cursor: `c${version}`, id: 'a', version } }));
    const second = await answering([streaming(changes)]);
    const watched: unknown[] = [];
    const unsigned = 'subscription ($after: Cursor) { accounts(after: $after) { cursor id version } }';
    for await (const { data } of second.client.iterate({ query: unsigned })) {
      watched.push(data);
      if (watched.length === 2) break;
    }
    expect(watched).toEqual(changes);
  });
  test('looks for a socket again where a proxy says that no gateway is there', async () => {
    const tried: string[] = [];
    const { client } = await answering([{ status: 502, body: '<html>' }], {
      transport: 'auto',
      webSocketImpl: WebSocket,
      onStatus: (status) => status.state === 'connecting' && tried.push(status.transport),
    });
    client.subscribe({ query: 'subscription { nothing }' }, { next() {}, error() {}, complete() {} });
    await until('five tries', () => (tried.length >= 5 ? true : undefined), { seen: () => tried });
    expect(tried.slice(0, 5)).toEqual(['ws', 'ws', 'sse', 'ws', 'sse']);
  });
  test('is lost with a socket that goes silent, whatever it said after the last ping', async () => {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    closers.push(() => server.close());
    await once(server, 'listening');
    server.on('connection', (socket) => {
      socket.on('message', (message) => {
        const { type } = JSON.parse(String(message));
        if (type === 'connection_init') socket.send('{"type":"connection_ack"}');
        // Anything but the pong, which the network has lost.
        if (type === 'ping') socket.send('{"type":"ping"}');
      });
    });
    const states: string[] = [];
    const client = createClient({
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      transport: 'ws',
      webSocketImpl: WebSocket,
      silenceMs: 150,
      onStatus: ({ state }) => states.push(state),
    });
    closers.push(() => void client.close());
    client.subscribe({ query: 'subscription { nothing }' }, { next() {}, error() {}, complete() {} });
    await until('it knows', () => states.find((state) => state === 'waiting'), { seen: () => states });
    expect(states.slice(0, 3)).toEqual(['connecting', 'open', 'waiting']);
  });
});

describe('a client that is closed', () => {
  test('ends what runs, and takes nothing more', async () => {
    const { client } = await answering([{ status: 503, body: 'later' }], { timeoutMs: 60_000 });
    const query = 'subscription { accounts { signal id node { id } } }';
    const waiting = client.iterate({ query }).next();
    const told: string[] = [];
    const sink = (name: string) => ({
      next: () => undefined,
      error: ({ code }: MillraceClientError) => told.push(`${name} ${code}`),
      complete: () => told.push(`${name} complete`),
    });
    client.subscribe({ query }, sink('before'));
    client.forward({ query }).subscribe(sink('forwarded'));
    const [read, sent] = [thrown(client.query(READ)), thrown(client.send(SEND))];
    await client.close();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(await read).toMatchObject({ code: 'ABORTED' });
    expect(await sent).toMatchObject({ code: 'ABORTED', commandId: expect.any(String) });
    expect(await thrown(client.query(READ))).toMatchObject({ code: 'ABORTED' });
    client.subscribe({ query }, sink('after'));
    expect(await thrown(client.iterate({ query }).next())).toMatchObject({ code: 'ABORTED' });
    expect(told).toEqual(['before complete', 'forwarded complete', 'after ABORTED']);
  });
  test('does not wait for a socket that never comes', async () => {
    const silent = createTcpServer(() => undefined).listen(0, '127.0.0.1');
    closers.push(() => silent.close());
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const states: string[] = [];
    const client = createClient({
      url: `http://127.0.0.1:${port}`,
      transport: 'ws',
      webSocketImpl: WebSocket,
      ackTimeoutMs: 60_000,
      onStatus: ({ state }) => states.push(state),
    });
    client.subscribe({ query: 'subscription { nothing }' }, { next() {}, error() {}, complete() {} });
    await until('it connects', () => states.find((state) => state === 'connecting'));
    await client.close();
  });
});

test('a page is drawn on a server, and first in a browser, as if nothing had come', async () => {
  const change = (signal: string, id: string | null) => ({
    accounts: { signal, id, node: id === null ? null : { id } },
  });
  const messages = [change('SNAPSHOT', 'a'), change('CAUGHT_UP', null)];
  const { client } = await answering([streaming(messages)]);
  const query = 'subscription { accounts { signal id node { id } } }';
  const store = client.watch({ query });
  const leave = store.subscribe(() => undefined);
  await until('it is there', () => store.getSnapshot().document, { seen: store.getSnapshot });
  const Page = () => createElement('p', null, useView(query).isLoading ? 'loading' : 'there');
  expect(renderToString(createElement(MillraceProvider, { client }, createElement(Page)))).toBe('<p>loading</p>');
  leave();
});

test('Retry-After of a proxy is how long it waits', async () => {
  // Later than it would try.
  const waitMs = 2 * PATIENT_MS;
  for (const said of [`${waitMs / 1_000}`, new Date(Date.now() + waitMs).toUTCString()]) {
    const { client } = await answering([{ status: 503, headers: { 'retry-after': said }, body: 'later' }]);
    const error = (await thrown(client.query(READ))) as { readonly retryAfterMs: number };
    expect(error).toMatchObject({ code: 'BAD_ANSWER' });
    expect(error.retryAfterMs).toBeGreaterThan(PATIENT_MS);
    expect(error.retryAfterMs).toBeLessThanOrEqual(waitMs);
  }
});

test('variables that JSON cannot hold are refused at once', async () => {
  const { client, asked } = await answering([{ body: {} }]);
  const variables = { amount: 1n };
  const query = 'mutation ($amount: Int, $commandId: ID) { deposit(amount: $amount, commandId: $commandId) { id } }';
  expect(await thrown(client.send({ query, variables }))).toMatchObject({ code: 'BAD_DOCUMENT', retryable: false });
  const watched = {
    query: 'subscription ($amount: Int) { accounts(amount: $amount) { signal id node { id } } }',
    variables,
  };
  const sink = { next() {}, error() {}, complete() {} };
  expect(() => client.subscribe(watched, sink)).toThrow(expect.objectContaining({ code: 'BAD_DOCUMENT' }));
  expect(() => client.watch(watched)).toThrow(expect.objectContaining({ code: 'BAD_DOCUMENT' }));
  const Page = () => createElement('p', null, String(useView(watched.query, variables).isLoading));
  const page = createElement(MillraceProvider, { client }, createElement(Page));
  const refused = { code: 'BAD_DOCUMENT', message: expect.stringMatching(/\(\$amount\).*BigInt/) };
  expect(() => renderToString(page)).toThrow(expect.objectContaining(refused));
  expect(asked).toEqual([]);
});

test('headers that never come end with the try', async () => {
  const { client } = await answering([{ body: {} }], {
    headers: () => new Promise(() => undefined),
    tryTimeoutMs: 20,
    timeoutMs: IMPATIENT_MS,
  });
  expect(await thrown(client.query(READ))).toMatchObject({ code: 'NETWORK' });
});
