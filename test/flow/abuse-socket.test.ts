import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { abuseSchema } from '../setup/abuse-schema.ts';
import { socketUrl, startBank } from '../setup/gateway.ts';
import { until } from '../setup/until.ts';

const { schema, open } = abuseSchema();
const bank = await startBank({ schema });
const url = socketUrl(bank.url);

const INIT = JSON.stringify({ type: 'connection_init' });
const subscribe = (query: string, id: string = randomUUID(), variables?: object): string =>
  JSON.stringify({ id, type: 'subscribe', payload: { query, variables } });
const COUNTED = 'subscription { counted }';

interface Message {
  readonly type: string;
  readonly id?: string;
  // biome-ignore lint/suspicious/noExplicitAny: payloads have any shape
  readonly payload?: any;
}

/** A WebSocket that remembers what it was told. */
async function socket(
  options: {
    readonly ack?: boolean;
    readonly path?: string;
    readonly protocol?: string;
    readonly origin?: string;
  } = {},
) {
  const { ack = true, path = url, protocol = 'graphql-transport-ws', origin } = options;
  const ws = new WebSocket(path, [protocol], origin === undefined ? {} : { origin });
  const messages: Message[] = [];
  let closed: { readonly code: number; readonly reason: string } | undefined;
  let refused: { readonly status: number; readonly text: string } | undefined;
  ws.on('message', (data) => messages.push(JSON.parse(String(data))));
  ws.on('close', (code, reason) => {
    closed = { code, reason: String(reason) };
  });
  ws.on('error', () => undefined);
  ws.on('unexpected-response', async (_request, response: IncomingMessage) => {
    let text = '';
    for await (const chunk of response) text += chunk;
    refused = { status: response.statusCode ?? 0, text };
  });
  const seen = () => ({ messages: messages.slice(-3), closed, refused });
  const self = {
    ws,
    messages,
    send: (text: string) => ws.send(text),
    /** The bytes under the frames. */
    get wire(): Socket {
      return (ws as never as { readonly _socket: Socket })._socket;
    },
    closing: () => until('the socket to close', () => closed, { seen }),
    refusal: () => until('the upgrade to be refused', () => refused, { seen }),
    message: (what: string, match: (message: Message) => boolean) => until(what, () => messages.find(match), { seen }),
    async answer(query: string, variables?: object): Promise<Message> {
      const id = randomUUID();
      ws.send(subscribe(query, id, variables));
      return self.message(`an answer to ${query}`, (message) => message.id === id && message.type !== 'complete');
    },
  };
  await until(
    'the socket to open',
    () => (ws.readyState !== WebSocket.CONNECTING || refused !== undefined ? true : undefined),
    { seen },
  );
  if (ack && refused === undefined && ws.readyState === WebSocket.OPEN) {
    ws.send(INIT);
    await self.message('connection_ack', ({ type }) => type === 'connection_ack');
  }
  return self;
}
const closingOf = async (...texts: readonly string[]) => {
  const one = await socket({ ack: false });
  for (const text of texts) one.send(text);
  return one.closing();
};
const alive = async (): Promise<void> => {
  expect((await (await socket()).answer('{ __typename }')).payload).toEqual({ data: { __typename: 'Query' } });
};

describe('the upgrade', () => {
  test('from a foreign origin is refused with 403', async () => {
    const refusal = await (await socket({ origin: 'https://evil.example' })).refusal();
    expect(refusal.status).toBe(403);
    expect(refusal.text).toContain('ORIGIN_NOT_ALLOWED');
  });
  test.each(['graphql-ws', 'soap'])('to the subprotocol %s is refused with 400', async (protocol) => {
    const refusal = await (await socket({ protocol })).refusal();
    expect(refusal.status).toBe(400);
    expect(refusal.text).toContain('SUBPROTOCOL_UNKNOWN');
  });
  test.each(['/', '/graphql/', '/x/graphql', '/health'])('at %s is refused with 404', async (path) => {
    const refusal = await (await socket({ path: url.replace(/\/graphql$/, path) })).refusal();
    expect(refusal.status).toBe(404);
  });
  test('from its own origin is taken', async () => {
    const one = await socket({ origin: bank.url });
    expect((await one.answer('{ __typename }')).type).toBe('next');
  });
});

describe('the protocol', () => {
  test('asks for connection_init, in time', async () => {
    expect(await closingOf(subscribe('{ __typename }'))).toMatchObject({ code: 4401 });
    const silent = await socket({ ack: false });
    expect(await silent.closing()).toMatchObject({ code: 4408 });
  });
  test('takes it once', async () => {
    expect(await closingOf(INIT, INIT)).toMatchObject({ code: 4429 });
  });
  test.each([
    '',
    '{',
    'null',
    '[]',
    '{"type":"nonsense"}',
    '{"id":1,"type":"subscribe"}',
    '{"id":"a","type":"subscribe","payload":{"query":1}}',
  ])('closes on %j', async (text) => {
    const one = await socket();
    one.send(text);
    expect((await one.closing()).code).toBe(4400);
  });
  test('closes when an id is used twice at once', async () => {
    const one = await socket();
    one.send(subscribe(COUNTED, 'a'));
    one.send(subscribe(COUNTED, 'a'));
    expect(await one.closing()).toMatchObject({ code: 4409 });
  });
  test('takes an id that JavaScript has a meaning for', async () => {
    const one = await socket();
    for (const id of ['__proto__', 'constructor', 'toString']) {
      one.send(subscribe('{ __typename }', id));
      await one.message(`the answer to ${id}`, (message) => message.id === id && message.type === 'next');
    }
  });
});

describe('broken frames end their own socket only', () => {
  const frames: readonly (readonly [string, readonly number[], number])[] = [
    ['an unmasked frame', [0x81, 0x02, 0x41, 0x42], 1002],
    ['a reserved bit', [0xf1, 0x82, 0, 0, 0, 0, 0x41, 0x42], 1002],
    ['a reserved opcode', [0x83, 0x80, 0, 0, 0, 0], 1002],
    ['text that is not UTF-8', [0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe], 1007],
    ['a continuation of nothing', [0x80, 0x81, 0, 0, 0, 0, 0x41], 1002],
  ];
  test.each(frames)('%s', async (_what, bytes, code) => {
    const one = await socket();
    one.wire.write(Buffer.from(bytes));
    expect((await one.closing()).code).toBe(code);
    await alive();
  });

  test('a frame that is cut off', async () => {
    const one = await socket();
    one.wire.write(Buffer.from([0x81, 0xfe, 0x10]));
    one.wire.destroy();
    await one.closing();
    await alive();
  });

  test('a message over 128 KiB is closed with 1009, whole or in pieces', async () => {
    const whole = await socket();
    whole.send(subscribe(`{ __typename } # ${'x'.repeat(140_000)}`));
    expect((await whole.closing()).code).toBe(1009);
    const pieces = await socket();
    for (let i = 0; i < 3; i++) pieces.ws.send('x'.repeat(50_000), { fin: false });
    expect((await pieces.closing()).code).toBe(1009);
    await alive();
  });

  test('an upgrade that is cut off, and one that never ends', async () => {
    for (const text of [
      'GET /graphql HTTP/1.1\r\nUpgrade: websocket\r\n',
      'GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    ]) {
      const bare = connect(Number(new URL(bank.url).port), '127.0.0.1');
      await once(bare, 'connect');
      bare.write(text);
      bare.destroy();
    }
    await alive();
  });
});

describe('an operation on a socket', () => {
  test('passes the same limits as over HTTP', async () => {
    const one = await socket();
    const code = async (query: string, variables?: object): Promise<unknown> => {
      const { type, payload } = await one.answer(query, variables);
      const errors = type === 'error' ? payload : payload.errors;
      expect(errors[0].extensions).not.toHaveProperty('http');
      return errors[0].extensions.code;
    };
    expect(await code(`{ ${Array.from({ length: 5_000 }, (_, i) => `a${i}: __typename`).join(' ')} }`)).toBe(
      'GRAPHQL_PARSE_FAILED',
    );
    expect(await code(`{ ${'... on Query { '.repeat(50)}__typename${' }'.repeat(50)} }`)).toBe('QUERY_TOO_COMPLEX');
    expect(await code('{ ...a } fragment a on Query { ...a }')).toBe('GRAPHQL_VALIDATION_FAILED');
    expect(await code('{ acount { id } }')).toBe('GRAPHQL_VALIDATION_FAILED');
    expect(await code('{ acount')).toBe('GRAPHQL_PARSE_FAILED');
    expect(await code('query A { __typename } query B { __typename }')).toBe('OPERATION_RESOLUTION_FAILURE');
    expect(await code('query($id: ID!) { account(id: $id) { id } }', { id: { $ne: null } })).toBe('BAD_USER_INPUT');
    expect(await code('{ accounts(first: -1) { edges { cursor } } }')).toBe('BAD_INPUT');
  });

  test.each([
    '{ throws }',
    '{ rejects }',
    '{ throwsText }',
    'subscription { refusedSource }',
    'subscription { poisoned }',
    'subscription { poisonedValue }',
  ])('that fails inside is masked: %s', async (query) => {
    const one = await socket();
    one.send(subscribe(query, 'a'));
    const failed = await one.message(
      'the error',
      ({ type, payload }) => type === 'error' || payload?.errors !== undefined,
    );
    const [error] = failed.type === 'error' ? failed.payload : failed.payload.errors;
    expect(error).toMatchObject({
      message: 'Unexpected error.',
      extensions: { code: 'INTERNAL', errorId: expect.any(String) },
    });
    expect(JSON.stringify(one.messages)).not.toContain('secret');
  });

  test('carries the correlation id that its client gives it', async () => {
    const one = await socket();
    const query =
      'mutation { openAccount(input: { owner: "x", currency: EUR }) { ... on CommandAccepted { correlationId } } }';
    one.send(
      JSON.stringify({ id: 'a', type: 'subscribe', payload: { query, extensions: { correlationId: 'order-18' } } }),
    );
    const { payload } = await one.message('the receipt', ({ id, type }) => id === 'a' && type === 'next');
    expect(payload.data.openAccount.correlationId).toBe('order-18');
  });
});

describe('too much', () => {
  test('10,000 subscriptions close their socket with 4429, and nothing of them stays', async () => {
    const one = await socket();
    for (let i = 0; i < 10_000; i++) if (one.ws.readyState === WebSocket.OPEN) one.send(subscribe(COUNTED, String(i)));
    expect(await one.closing()).toMatchObject({ code: 4429, reason: expect.stringContaining('100') });
    await until('no reader to be left', () => open.count === 0 || undefined, { seen: () => open });
    await alive();
  });

  test('10,000 queries at once on one socket are all answered', async () => {
    const one = await socket();
    const count = 10_000;
    for (let i = 0; i < count; i++) one.send(subscribe('{ __typename }', String(i)));
    await until('all answers', () => one.messages.filter(({ type }) => type === 'next').length === count || undefined, {
      timeoutMs: 20_000,
    });
  });

  test('a flood of pings from a client that does not read ends its socket, and others are served in time', async () => {
    const flood = await socket();
    flood.wire.pause();
    const ping = JSON.stringify({ type: 'ping', payload: { fill: 'x'.repeat(100_000) } });
    let gone = false;
    flood.ws.on('close', () => {
      gone = true;
    });
    const pump = async (): Promise<void> => {
      for (let i = 0; i < 2_000 && !gone && flood.ws.readyState === WebSocket.OPEN; i++) {
        await new Promise<void>((resolve) => flood.ws.send(ping, () => resolve()));
      }
    };
    const pumping = Promise.race([pump(), flood.closing()]);
    const start = performance.now();
    await alive();
    expect(performance.now() - start).toBeLessThan(2_000);
    await pumping;
    flood.wire.destroy();
    await alive();
  });

  test('after 100 hard disconnects no reader is left', async () => {
    const sockets = await Promise.all(Array.from({ length: 100 }, () => socket()));
    for (const one of sockets) one.send(subscribe(COUNTED));
    await until('100 readers', () => open.count === 100 || undefined, { seen: () => open });
    for (const one of sockets) one.wire.destroy();
    await until('no reader to be left', () => open.count === 0 || undefined, { seen: () => open });
  });

  test('a subscription that its client completes ends at once', async () => {
    const one = await socket();
    one.send(subscribe(COUNTED, 'a'));
    await one.message('the first value', ({ type }) => type === 'next');
    one.send(JSON.stringify({ id: 'a', type: 'complete' }));
    await until('no reader to be left', () => open.count === 0 || undefined, { seen: () => open });
    expect((await one.answer('{ __typename }')).type).toBe('next');
  });

  test('1,000 idle sockets do not slow the others', async () => {
    const idle = await Promise.all(Array.from({ length: 1_000 }, () => socket()));
    const start = performance.now();
    await alive();
    expect(performance.now() - start).toBeLessThan(1_000);
    for (const one of idle) one.ws.terminate();
  });
});
