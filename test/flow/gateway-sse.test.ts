import { randomUUID } from 'node:crypto';
import { get } from 'node:http';
import { createClient } from 'graphql-sse';
import { expect, test } from 'vitest';
import { startBank } from '../setup/gateway.ts';

const bank = await startBank();

/** Reads an event stream as curl would: lines, in order. */
async function stream(query: string, variables: object, signal: AbortSignal) {
  const response = await fetch(`${bank.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query, variables }),
    signal,
  });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  return {
    response,
    async next(what: string): Promise<{ event: string; data: string }> {
      for (;;) {
        const end = text.indexOf('\n\n');
        if (end >= 0) {
          const block = text.slice(0, end);
          text = text.slice(end + 2);
          const event = /^event: ?(.*)$/m.exec(block)?.[1];
          if (event !== undefined) return { event, data: /^data: ?(.*)$/m.exec(block)?.[1] ?? '' };
          continue;
        }
        const { done, value } = await reader.read();
        if (done) throw new Error(`the stream ended before ${what}`);
        text += value;
      }
    },
  };
}

test('a subscription over SSE: the snapshot, then each update', async () => {
  const id = randomUUID();
  await bank.ask('mutation($id: ID!) { openAccount(id: $id, input: { owner: "Ada", currency: EUR }) { __typename } }', {
    id,
  });
  const paid = await bank.ask(
    'mutation($id: ID!) { deposit(id: $id, input: { amount: 1 }) { ... on CommandAccepted { token } } }',
    { id },
  );
  await bank.ask('query($id: ID!, $t: Token) { account(id: $id, atLeast: $t) { id } }', {
    id,
    t: paid.data.deposit.token,
  });
  const abort = new AbortController();
  const changes = await stream(
    'subscription($id: ID!) { accountChanged(id: $id) { signal node { balance } } }',
    { id },
    abort.signal,
  );
  expect(changes.response.headers.get('content-type')).toContain('text/event-stream');
  const first = await changes.next('the snapshot');
  expect(first).toMatchObject({ event: 'next' });
  expect(JSON.parse(first.data)).toEqual({ data: { accountChanged: { signal: 'SNAPSHOT', node: { balance: 1 } } } });
  await bank.ask('mutation($id: ID!) { deposit(id: $id, input: { amount: 2 }) { __typename } }', { id });
  const second = await changes.next('the deposit');
  expect(JSON.parse(second.data)).toEqual({ data: { accountChanged: { signal: 'UPDATE', node: { balance: 3 } } } });
  abort.abort();
});

test("graphql-sse's own client reads a subscription and leaves it", async () => {
  const client = createClient({ url: `${bank.url}/graphql`, retryAttempts: 0 });
  const changes = client.iterate({ query: 'subscription { accountChanged(id: "nobody") { signal node { id } } }' });
  const first = await changes.next();
  expect(first.value?.data).toMatchObject({ accountChanged: { node: null } });
  await changes.return?.();
  client.dispose();
});

test('a GET opens a stream too, for clients like EventSource', async () => {
  const query = encodeURIComponent('subscription { accountChanged(id: "nobody") { signal } }');
  const status = await new Promise<string>((resolve, reject) => {
    const headers = { accept: 'text/event-stream', 'x-requested-with': 'test' };
    const request = get(`${bank.url}/graphql?query=${query}`, { headers }, (response) => {
      resolve(`${response.statusCode} ${response.headers['content-type']}`);
      request.destroy();
    });
    request.on('error', reject);
  });
  expect(status).toBe('200 text/event-stream');
});

test('an error before the stream is an event of the stream', async () => {
  const changes = await stream('subscription { nothing }', {}, new AbortController().signal);
  const answer = JSON.parse((await changes.next('the error')).data);
  expect(answer.errors[0].extensions.code).toBe('GRAPHQL_VALIDATION_FAILED');
  expect(await changes.next('the end')).toEqual({ event: 'complete', data: '' });
});
