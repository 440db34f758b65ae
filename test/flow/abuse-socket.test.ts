import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { abuseSchema } from '../setup/abuse-schema.ts';
import { cpuMs } from '../setup/cpu-time.ts';
import { socketUrl, startBank } from '../setup/gateway.ts';
import { INIT, subscribe, testSocket } from '../setup/socket.ts';
import { until } from '../setup/until.ts';

const { schema, open } = abuseSchema();
const bank = await startBank({ schema });
const url = socketUrl(bank.url);

const socket = (options?: Parameters<typeof testSocket>[1]) => testSocket(url, options);
const COUNTED = 'subscription { counted }';
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
  test('by a foreign name is refused with 403, whatever origin it names', async () => {
    for (const origin of [undefined, 'http://evil.example', bank.url]) {
      const refusal = await (await socket({ host: 'evil.example', ...(origin && { origin }) })).refusal();
      expect(refusal.status).toBe(403);
      expect(refusal.text).toContain('HOST_NOT_ALLOWED');
    }
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
  test('refuses an id whose operation has not ended, so that none goes on that nobody can stop', async () => {
    const one = await socket();
    one.wire.cork();
    for (let i = 0; i < 200; i++) {
      one.send(subscribe(COUNTED, 'a'));
      one.send(JSON.stringify({ id: 'a', type: 'complete' }));
    }
    one.wire.uncork();
    const { payload } = await one.message('a refusal', ({ type }) => type === 'error');
    expect(payload).toMatchObject([{ extensions: { code: 'BAD_REQUEST' } }]);
    expect((await one.answer('{ __typename }')).type).toBe('next');
    await until('no reader to be left', () => open.count === 0 || undefined, { seen: () => open });
    one.send(subscribe(COUNTED, 'a'));
    await one.message('a value under the same id', ({ id, type }) => id === 'a' && type === 'next');
    one.send(JSON.stringify({ id: 'a', type: 'complete' }));
    await until('no reader to be left', () => open.count === 0 || undefined, { seen: () => open });
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
      timeoutMs: 60_000,
    });
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
    const idle: Awaited<ReturnType<typeof socket>>[] = [];
    // Each must say connection_init within five seconds, also where opening all of them at once takes as long.
    while (idle.length < 1_000) idle.push(...(await Promise.all(Array.from({ length: 100 }, () => socket()))));
    const start = cpuMs();
    // What waits uses no CPU time. So wide a limit ends only what hangs.
    let ended = false;
    const asked = alive().finally(() => {
      ended = true;
    });
    await until('an answer beside them', () => ended || undefined, { timeoutMs: 30_000 });
    await asked;
    expect(cpuMs() - start).toBeLessThan(10_000);
    for (const one of idle) one.ws.terminate();
  });
});
