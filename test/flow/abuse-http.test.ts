import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { getIntrospectionQuery } from 'graphql';
import { describe, expect, test } from 'vitest';
import { abuseSchema } from '../setup/abuse-schema.ts';
import { cpuMs } from '../setup/cpu-time.ts';
import { answerOf, post, startBank } from '../setup/gateway.ts';
import { logRecords } from '../setup/log-records.ts';

const allowed = 'https://shop.example';
const { schema } = abuseSchema();
const { logger, records } = logRecords();
const bank = await startBank({ schema, env: { ALLOWED_ORIGINS: allowed }, logger });
const production = await startBank({ env: { NODE_ENV: 'production' } });
const portOf = (url: string): number => Number(new URL(url).port);

const json = (query: string, variables?: object): string => JSON.stringify({ query, variables });
const codes = async (query: string, variables?: object): Promise<readonly unknown[]> =>
  (await bank.ask(query, variables)).errors.map(({ extensions }) => extensions.code);
const get = async (query: string, headers = {}, url = bank.url) =>
  answerOf(await fetch(`${url}/graphql${query}`, { headers }));
const asked = { 'x-requested-with': 'test' };

/** Writes bytes to a socket of its own and reads what comes until it is closed. */
function raw(bytes: string, port = portOf(bank.url)): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    socket.setTimeout(30_000, () => reject(new Error(`no end of the connection within 30 s; saw ${text}`)));
    socket.on('data', (data) => {
      text += data.toString('latin1');
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(text));
  });
}

describe('a body', () => {
  const huge = json('{ __typename }', { fill: 'x'.repeat(1_100_000) });

  test('over 1 MB is refused with 413 before it is parsed', async () => {
    const refused = await post(bank.url, huge);
    expect(refused.status).toBe(413);
    expect(refused.errors[0]?.extensions.code).toBe('PAYLOAD_TOO_LARGE');
    expect(refused.errors[0]?.message).toContain('1000000 bytes');
  });

  test('over 1 MB in chunks, with no length told, is refused with 413', async () => {
    const chunk = 'x'.repeat(65_536);
    const body = `${`10000\r\n${chunk}\r\n`.repeat(17)}0\r\n\r\n`;
    const head =
      'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n';
    expect(await raw(head + body)).toMatch(/^HTTP\/1\.1 413 /);
  });

  test('that would be sent after "100-continue" is refused before it is sent', async () => {
    const head =
      'POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n';
    expect(await raw(`${head}Content-Length: 1100000\r\n\r\n`)).toMatch(/^HTTP\/1\.1 413 /);
    const body = json('{ __typename }');
    const taken = await raw(`${head}Connection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    expect(taken).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
  });

  test('that is compressed is refused with 415: a bomb is never unpacked', async () => {
    const bomb = gzipSync(Buffer.from(huge));
    expect((await post(bank.url, bomb, { 'content-encoding': 'gzip' })).status).toBe(415);
  });

  test.each([
    ['cut off', '{"query":"{ __ty', 400],
    ['no JSON', 'query=x', 400],
    ['a string', '"x"', 400],
    ['null', 'null', 400],
    ['an empty object', '{}', 400],
    ['a batch', `[${json('{ __typename }')}]`, 400],
    ['with a query that is no text', '{"query":{"$ne":null}}', 400],
    ['with variables that are no object', '{"query":"{ __typename }","variables":[1]}', 400],
    ['with a key that nobody knows', '{"query":"{ __typename }","$where":"1"}', 400],
    ['with __proto__', '{"query":"{ __typename }","__proto__":{"x":1}}', 400],
    ['empty', '', 400],
  ])('%s is refused', async (_what, body, status) => {
    const refused = await post(bank.url, body);
    expect(refused.status).toBe(status);
    expect(refused.errors[0]?.extensions.code).toBe('BAD_REQUEST');
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });

  test('that is not UTF-8 is refused', async () => {
    const bytes = Buffer.concat([
      Buffer.from('{"query":"{ __typename } #'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}'),
    ]);
    expect((await post(bank.url, bytes)).status).toBe(400);
  });

  test.each([
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'text/plain',
    'application/graphql',
    'application/json; charset=latin1',
  ])('as %s is refused with 415', async (type) => {
    const refused = await post(bank.url, json('{ __typename }'), { 'content-type': type });
    expect(refused.status).toBe(415);
    expect(refused.errors[0]?.extensions.code).toBe('UNSUPPORTED_MEDIA_TYPE');
  });

  test('nested as deep as its size allows does not hurt', async () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    const query =
      'mutation($c: [CommandEnvelope!]!) { sendCommands(commands: $c) { __typename ... on InvalidInput { issues { message } } } }';
    const body = `{"query":${JSON.stringify(query)},"variables":{"c":[{"aggregate":"account","id":"a","type":"Deposit","input":${deep}}]}}`;
    const answer = await post(bank.url, body);
    expect(answer.data.sendCommands[0].__typename).toBe('InvalidInput');
  });
});

describe('where a request comes from', () => {
  test('a foreign origin is refused and gets no leave to read', async () => {
    const refused = await bank.ask('{ __typename }', {}, { origin: 'https://evil.example' });
    expect(refused.status).toBe(403);
    expect(refused.errors[0]?.extensions.code).toBe('ORIGIN_NOT_ALLOWED');
    expect(refused.headers.get('access-control-allow-origin')).toBeNull();
    const preflight = await fetch(`${bank.url}/graphql`, {
      method: 'OPTIONS',
      headers: { origin: 'https://evil.example' },
    });
    expect(preflight.status).toBe(403);
  });

  test('a listed origin may call and read, without credentials', async () => {
    const answer = await bank.ask('{ __typename }', {}, { origin: allowed });
    expect(answer.data).toEqual({ __typename: 'Query' });
    expect(answer.headers.get('access-control-allow-origin')).toBe(allowed);
    expect(answer.headers.get('access-control-allow-credentials')).toBeNull();
    expect(answer.headers.get('vary')).toContain('Origin');
    const preflight = await fetch(`${bank.url}/graphql`, { method: 'OPTIONS', headers: { origin: allowed } });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toContain('content-type');
  });

  test('its own origin may call', async () => {
    expect((await bank.ask('{ __typename }', {}, { origin: bank.url })).status).toBe(200);
  });
});

describe('the name that a request calls the gateway by', () => {
  const GET = '/graphql?query=%7B__typename%7D';
  const ask = (host: string, path = GET, more = '', url = bank.url): Promise<string> =>
    raw(
      `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nX-Requested-With: x\r\n${more}Connection: close\r\n\r\n`,
      portOf(url),
    );

  test.each(['evil.example:4000', '127.evil.example', '10.0.0.1', 'localhost.evil.example'])(
    'on loopback, %s is refused: a page could have rebound it',
    async (host) => {
      for (const more of ['', 'Accept: text/event-stream\r\n', 'Accept: text/html\r\n']) {
        const answer = await ask(host, GET, more);
        expect(answer).toMatch(/^HTTP\/1\.1 403 /);
        expect(answer).toContain('HOST_NOT_ALLOWED');
        expect(answer).toMatch(/ALLOWED_ORIGINS.* HOST/);
      }
      expect(await ask(host, '/health')).toMatch(/^HTTP\/1\.1 200 /);
      expect(await ask(host, '/ready')).toMatch(/^HTTP\/1\.1 200 /);
    },
  );

  test.each([
    'localhost:4000',
    'LOCALHOST',
    '127.0.0.1:1',
    '127.9.8.7',
    '[::1]:4000',
    'shop.example',
    'shop.example:81',
  ])('on loopback, %s is taken', async (host) => {
    expect(await ask(host)).toMatch(/^HTTP\/1\.1 200 /);
  });

  test('on all addresses, any name is taken', async () => {
    const open = await startBank({ env: { HOST: '0.0.0.0' } });
    expect(await ask('evil.example:4000', GET, '', open.url)).toMatch(/^HTTP\/1\.1 200 /);
    expect(await ask('a b[', GET, '', open.url)).toMatch(/^HTTP\/1\.1 400 /);
    await open.stop();
  });

  test.each(['a b[', 'x:99999', '256.1.1.1', ''])(
    '%j is no name and is refused without a trace of the code',
    async (host) => {
      for (const url of [bank.url, production.url]) {
        const answer = await ask(host, GET, '', url);
        expect(answer).toMatch(/^HTTP\/1\.1 400 /);
        expect(answer).toContain('BAD_REQUEST');
        expect(answer).not.toMatch(/\.js:|\.ts:|node_modules/);
      }
    },
  );
});

describe('a GET', () => {
  const typename = '?query=%7B__typename%7D';
  test('needs a header that no link or image can send', async () => {
    expect((await get(typename)).errors[0]?.extensions.code).toBe('CSRF_HEADER_MISSING');
    expect((await get(typename, asked)).data).toEqual({ __typename: 'Query' });
  });
  test('never runs a mutation', async () => {
    const id = randomUUID();
    const mutation = `mutation{openAccount(id:"${id}",input:{owner:"x",currency:EUR}){__typename}}`;
    expect((await get(`?query=${encodeURIComponent(mutation)}`, asked)).status).toBe(405);
    const { data } = await bank.ask(
      `{ events(filter: { aggregate: "account", aggregateId: "${id}" }) { edges { cursor } } }`,
    );
    expect(data.events.edges).toEqual([]);
  });
  test.each(['%7Bx', '1', '%5B%5D', '%22x%22'])('with variables=%s is refused with 400', async (variables) => {
    expect((await get(`${typename}&variables=${variables}`, asked)).status).toBe(400);
  });
  test('of a path that only ends like one is not that path', async () => {
    expect((await get('?next=/health', asked)).text).not.toContain('"ok"');
    for (const path of ['/graphql/', '/x/graphql', '/x/health', '/healthz', '/ready/']) {
      const answer = await answerOf(await fetch(bank.url + path, { headers: asked }));
      expect(answer.status).toBe(404);
      expect(answer.errors[0]?.extensions.code).toBe('NO_SUCH_PATH');
    }
  });
  test('other methods are refused with 405', async () => {
    for (const method of ['PUT', 'DELETE', 'PATCH', 'HEAD']) {
      expect((await fetch(`${bank.url}/graphql`, { method })).status).toBe(405);
    }
  });
});

describe('a document', () => {
  /** The limit only tells what is bounded from what is not. */
  const inTime = async (query: string): Promise<readonly unknown[]> => {
    await codes(query);
    const start = cpuMs();
    const seen = await codes(`${query} # again`);
    expect(cpuMs() - start).toBeLessThan(5_000);
    return seen;
  };
  const cases: readonly (readonly [string, string, string])[] = [
    [
      '5,000 aliases',
      `{ ${Array.from({ length: 5_000 }, (_, i) => `a${i}: __typename`).join(' ')} }`,
      'GRAPHQL_PARSE_FAILED',
    ],
    [
      '31 aliases',
      `{ ${Array.from({ length: 31 }, (_, i) => `a${i}: account(id: "x") { id }`).join(' ')} }`,
      'QUERY_TOO_COMPLEX',
    ],
    ['100,000 directives', `{ __typename ${'@a'.repeat(100_000)} }`, 'GRAPHQL_PARSE_FAILED'],
    ['60 directives', `{ __typename ${'@skip(if: false) '.repeat(60)} }`, 'QUERY_TOO_COMPLEX'],
    ['10,000 fields', `{ ${'__typename '.repeat(10_000)} }`, 'GRAPHQL_PARSE_FAILED'],
    [
      '10,000 fragments',
      Array.from({ length: 10_000 }, (_, i) => `fragment f${i} on Query { __typename }`).join(' '),
      'GRAPHQL_PARSE_FAILED',
    ],
    ['depth 50', `{ events ${'{ edges { node '.repeat(25)}{ id ${'}'.repeat(52)}`, 'QUERY_TOO_COMPLEX'],
    [
      'a fragment cycle',
      '{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }',
      'GRAPHQL_VALIDATION_FAILED',
    ],
    [
      'a deep document hidden in a fragment named __schema',
      `{ ...__schema } fragment __schema on Query { ${'... on Query { '.repeat(20)} __typename ${'}'.repeat(20)} }`,
      'QUERY_TOO_COMPLEX',
    ],
    ['a page of a million', '{ events(first: 1000000) { edges { node { id } } } }', 'QUERY_TOO_COMPLEX'],
  ];
  test.each(cases)('with %s is refused in time', async (_what, query, code) => {
    expect(await inTime(query)).toContain(code);
  });

  test.each(['accounts', 'events'])('with 30 lists of %s whose length a variable gives is refused', async (list) => {
    const lists = (count: number): string =>
      `query($n: Int) { ${Array.from({ length: count }, (_, i) => `a${i}: ${list}(first: $n) { edges { cursor } }`).join(' ')} }`;
    const refused = await bank.ask(lists(30), { n: 1_000 });
    expect(refused.errors[0]).toMatchObject({
      message: expect.stringContaining('10000'),
      extensions: { code: 'QUERY_TOO_COMPLEX' },
    });
    expect(refused.data).toBeNull();
    for (const [count, n] of [
      [10, 1_000],
      [30, 333],
      [30, null],
    ] as const) {
      expect((await bank.ask(lists(count), { n })).errors).toEqual([]);
    }
    expect(await codes(lists(1), { n: -1 })).toEqual(['BAD_INPUT']);
  });

  test('nested 300 deep is refused, by its depth', async () => {
    const deep = `{ ${'... on Query { '.repeat(300)}__typename${' }'.repeat(300)} }`;
    expect(await inTime(deep)).toContain('QUERY_TOO_COMPLEX');
  });

  test('with an unknown field, type, argument or operation is refused with a code', async () => {
    expect(await codes('{ acount(id: 1) { id } }')).toEqual(['GRAPHQL_VALIDATION_FAILED']);
    expect(await codes('mutation { fireEverybody { __typename } }')).toEqual(['GRAPHQL_VALIDATION_FAILED']);
    expect(await codes('{ account(id: "x", where: 1) { id } }')).toEqual(['GRAPHQL_VALIDATION_FAILED']);
    expect(await codes('{ account(id: {}) { id } }')).toEqual(['GRAPHQL_VALIDATION_FAILED']);
    expect(await codes('query A { __typename } query B { __typename }')).toEqual(['OPERATION_RESOLUTION_FAILURE']);
    expect(await codes('{ account(id: "x") { id }')).toEqual(['GRAPHQL_PARSE_FAILED']);
    expect(await codes('')).toEqual(['GRAPHQL_PARSE_FAILED']);
  });

  test('with a huge value is answered without repeating it', async () => {
    const answer = await bank.ask('query($id: ID!) { account(id: $id) { id } }', { id: { x: 'y'.repeat(100_000) } });
    expect(answer.errors[0]?.extensions.code).toBe('BAD_USER_INPUT');
    expect(answer.text.length).toBeLessThan(3_000);
  });

  test('a thousand documents that differ do not stay in memory, and the next one is served', async () => {
    for (let i = 0; i < 100; i++) await bank.ask(`{ __typename } # ${i} ${'x'.repeat(60_000)}`);
    expect((await bank.ask('{ __typename }')).status).toBe(200);
  });
});

describe('odd data', () => {
  const OPEN =
    'mutation($id: ID, $input: OpenAccountInput!) { openAccount(id: $id, input: $input) { __typename ... on CommandAccepted { id } ... on InvalidInput { issues { path } } } }';
  test.each([
    ['that begins with $', '$ne', 'CommandAccepted'],
    ['with a dot', 'a.b', 'CommandAccepted'],
    ['with a colon', 'a:b', 'CommandAccepted'],
    ['with slashes and escapes', 'a/b%2F', 'CommandAccepted'],
    ['with an emoji', '🦉', 'CommandAccepted'],
    ['that begins with __proto__', '__proto__', 'CommandAccepted'],
    ['that begins with constructor', 'constructor', 'CommandAccepted'],
    ['with NUL', 'a\u0000b', 'InvalidInput'],
    ['that is empty', '', 'InvalidInput'],
    ['with half a character', '\ud800', 'InvalidInput'],
    ['of 10,000 characters', 'x'.repeat(10_000), 'InvalidInput'],
  ])('an id %s names one instance or is InvalidInput', async (_what, odd, kind) => {
    const id = kind === 'CommandAccepted' ? `${odd}${randomUUID()}` : odd;
    const { data, errors } = await bank.ask(OPEN, { id, input: { owner: 'x', currency: 'EUR' } });
    expect(errors).toEqual([]);
    expect(data.openAccount.__typename).toBe(kind);
    if (kind === 'InvalidInput') expect(data.openAccount.issues).toMatchObject([{ path: ['id'] }]);
    else expect(data.openAccount.id).toBe(id);
    expect(({} as Record<string, unknown>).balance).toBeUndefined();
  });

  test('operators in place of values are refused and find nothing', async () => {
    const operator = { $ne: null };
    expect(await codes('query($id: ID!) { account(id: $id) { id } }', { id: operator })).toEqual(['BAD_USER_INPUT']);
    const LIST = 'query($filter: AccountFilter) { accounts(filter: $filter) { edges { node { id } } } }';
    for (const filter of [
      { owner: { eq: operator } },
      { owner: operator },
      { $where: '1' },
      { 'owner.x': { eq: 'x' } },
    ]) {
      expect(await codes(LIST, { filter })).toEqual(['BAD_USER_INPUT']);
    }
    const text = await bank.ask(LIST, { filter: { owner: { eq: '{"$ne":null}' } } });
    expect(text.data.accounts.edges).toEqual([]);
  });

  test('what JSON allows and a command does not is told as data', async () => {
    const SEND = 'mutation($c: [CommandEnvelope!]!) { sendCommands(commands: $c) { __typename } }';
    const inputs = [
      '{"$ne":null}',
      '{"__proto__":{"balance":1}}',
      '{"amount":{"$gt":""}}',
      '"text"',
      '[]',
      '{"amount":1e400}',
      '{"amount":"5"}',
    ];
    for (const input of inputs) {
      const body = `{"query":${JSON.stringify(SEND)},"variables":{"c":[{"aggregate":"account","id":"a","type":"Deposit","input":${input}}]}}`;
      expect((await post(bank.url, body)).data.sendCommands).toEqual([{ __typename: 'InvalidInput' }]);
    }
    expect(
      await codes(SEND, { c: [{ aggregate: 'account', id: 'a', type: 'Deposit', input: { amount: 1 }, $set: 1 }] }),
    ).toEqual(['BAD_USER_INPUT']);
    expect(({} as Record<string, unknown>).balance).toBeUndefined();
  });

  test('data over the cap of a command is told as data', async () => {
    const { data } = await bank.ask(OPEN, { input: { owner: 'x'.repeat(70_000), currency: 'EUR' } });
    expect(data.openAccount.__typename).toBe('InvalidInput');
  });
});

describe('an error', () => {
  test.each(['throws', 'rejects', 'throwsText', 'wrongScalar', 'missing'])(
    'of %s is masked and logged once, under its id and with the correlation id',
    async (field) => {
      const answer = await bank.ask(`{ ${field} }`, {}, { 'x-correlation-id': `of-${field}` });
      expect(answer.text).not.toContain('secret');
      expect(answer.errors).toMatchObject([
        {
          message: 'Unexpected error.',
          path: [field],
          extensions: { code: 'INTERNAL', errorId: expect.stringMatching(/^[0-9a-f-]{36}$/) },
        },
      ]);
      const { errorId } = answer.errors[0]?.extensions ?? {};
      expect(records.filter(({ correlationId }) => correlationId === `of-${field}`)).toEqual([
        expect.objectContaining({ msg: 'unexpected error in an operation', errorId, path: field }),
      ]);
    },
  );
});

test('outside production the whole schema can be read, within the limits', async () => {
  const { data, errors } = await bank.ask(getIntrospectionQuery());
  expect(errors).toEqual([]);
  expect(data.__schema.types.length).toBeGreaterThan(20);
});

describe('in production', () => {
  const ask = production.ask;
  test('there is no introspection, by any door of it', async () => {
    for (const query of [
      '{ __schema { types { name } } }',
      '{ __type(name: "Account") { fields { name } } }',
      '{ a: __schema { queryType { name } } }',
    ]) {
      const answer = await ask(query);
      expect(answer.errors[0]?.extensions.code).toBe('GRAPHQL_VALIDATION_FAILED');
      expect(answer.data).toBeUndefined();
    }
    expect((await ask('{ __typename }')).data).toEqual({ __typename: 'Query' });
  });
  test('nothing is suggested', async () => {
    const attempts: readonly (readonly [string, object?])[] = [
      ['{ acount(id: "x") { id } }'],
      ['{ account(id: "x") { ownr } }'],
      ['{ account(idd: "x") { id } }'],
      ['mutation { openAccount(input: { owner: "x", currency: EURO }) { __typename } }'],
      ['{ accounts { balance } }'],
      ['query($f: AccountFilter) { accounts(filter: $f) { edges { cursor } } }', { f: { ownr: { eq: 'x' } } }],
      ['query($i: AccountSort!) { accounts(sort: [$i]) { edges { cursor } } }', { i: { field: 'ownr' } }],
    ];
    for (const [query, variables] of attempts) {
      const answer = await ask(query, variables);
      expect(answer.errors.length).toBeGreaterThan(0);
      expect(answer.text).not.toContain('Did you mean');
    }
  });
  test.each([
    ['spaces', ' '.repeat(900_000)],
    ['the beginning of a suggestion', 'Did you mean '.repeat(69_000)],
  ])('a huge value of %s costs no time', async (_what, huge) => {
    const start = cpuMs();
    const answer = await ask('query($n: Int) { accounts(first: $n) { edges { cursor } } }', { n: huge });
    expect(cpuMs() - start).toBeLessThan(10_000);
    expect(answer.errors[0]?.extensions.code).toBe('BAD_USER_INPUT');
    expect(answer.errors[0]?.message).toContain('Variable "$n"');
  });
  test('there is no GraphiQL and no landing page', async () => {
    for (const path of ['/graphql', '/']) {
      const answer = await answerOf(await fetch(production.url + path, { headers: { accept: 'text/html' } }));
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.text).not.toContain('<html');
    }
  });
});

test('GraphiQL in development refers to no other host', async () => {
  const answer = await fetch(`${bank.url}/graphql`, { headers: { accept: 'text/html' } });
  expect(answer.headers.get('content-type')).toMatch(/^text\/html/);
  const page = await answer.text();
  expect(page).toContain('<title>Millrace</title>');
  expect(page).toContain('renderYogaGraphiQL(');
  // What a browser fetches for a page: attributes of its tags, url() and @import of its styles.
  const tags = page.replaceAll(/(<(script|style)[^>]*>)[\s\S]*?<\/\2>/g, '$1');
  const styles = [...page.matchAll(/<style>([\s\S]*?)<\/style>/g)].map(([, style]) => style).join('');
  const fetched = [
    ...[...tags.matchAll(/(?:src|href)=["']?([^"'\s>]*)/g)].map(([, url = '']) => url),
    ...[...styles.matchAll(/(?:url\(|@import)\s*["']?([^"')\s]*)/g)].map(([, url = '']) => url),
  ];
  expect(fetched.length).toBeGreaterThan(0);
  expect(fetched.filter((url) => !/^(data:|#)/.test(url))).toEqual([]);
  expect(page).not.toMatch(/unpkg\.com|jsdelivr\.net|cdnjs|raw\.githubusercontent/);
});

test('broken HTTP is answered with 400 and harms nobody', async () => {
  expect(await raw('NONSENSE\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
  expect(await raw(`GET /${'x'.repeat(20_000)} HTTP/1.1\r\n\r\n`)).toMatch(/^HTTP\/1\.1 431 /);
  expect((await bank.ask('{ __typename }')).status).toBe(200);
});
