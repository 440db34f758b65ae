import { randomUUID } from 'node:crypto';
import { afterAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import {
  type ClientOptions,
  createClient,
  type MillraceClient,
  type SubscriptionMessage,
  type SubscriptionStatus,
} from '../../src/client/index.ts';
import { TcpProxy } from '../faults/harness/tcp-proxy.ts';
import { startBank } from '../setup/gateway.ts';
import { until } from '../setup/until.ts';

/*
 * `millrace/client` against a real gateway, through a proxy that cuts, swallows, and knows no WebSockets.
 */
const bank = await startBank();
const closers: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

async function throughProxy(options: Partial<ClientOptions> = {}) {
  const proxy = await TcpProxy.to(Number(new URL(bank.url).port));
  closers.push(() => proxy.close());
  const statuses: SubscriptionStatus[] = [];
  const client = createClient({
    url: `http://127.0.0.1:${proxy.port}`,
    webSocketImpl: WebSocket,
    retry: { minMs: 20, maxMs: 200 },
    onStatus: (status) => statuses.push(status),
    ...options,
  });
  closers.push(() => client.close());
  const opened = (): string[] => statuses.flatMap((status) => (status.state === 'open' ? [status.transport] : []));
  return { proxy, client, statuses, opened };
}

const OPEN = `mutation Open($id: ID!, $commandId: ID) {
  openAccount(id: $id, input: { owner: "Ada", currency: EUR }, commandId: $commandId) {
    __typename ... on CommandAccepted { id version duplicate token }
  }
}`;
const DEPOSIT = `mutation Deposit($id: ID!, $amount: SafeInt!, $commandId: ID) {
  deposit(id: $id, input: { amount: $amount }, commandId: $commandId) {
    __typename ... on CommandAccepted { id version duplicate token } ... on CommandRejected { code }
  }
}`;
const EVENTS = `subscription Log($id: ID!, $after: Cursor) {
  events(filter: { aggregate: "account", aggregateId: $id }, after: $after) { signal cursor event { position version } }
}`;
interface Delivery {
  readonly signal: string;
  readonly cursor: string;
  readonly event: { readonly position: string; readonly version: number } | null;
}
const direct = createClient({ url: bank.url, transport: 'sse' });
closers.push(() => direct.close());

const deposit = (id: string, amount = 1) => direct.send({ query: DEPOSIT, variables: { id, amount } });

/** Versions of an account's events as the client gives them. */
function follow(client: MillraceClient, id: string, options?: { readonly resumeKey?: string }) {
  const versions: number[] = [];
  const gaps: string[] = [];
  const signals: string[] = [];
  const errors: unknown[] = [];
  const stop = client.subscribe(
    { query: EVENTS, variables: { id } },
    {
      next({ data }: SubscriptionMessage<Record<string, unknown>>) {
        const { event, signal } = data.events as Delivery;
        if (event !== null && event !== undefined) versions.push(event.version);
        if (signal === 'GAP') gaps.push(signal);
        signals.push(signal);
      },
      error: (error) => errors.push(error),
      complete: () => errors.push('complete'),
    },
    options,
  );
  const has = (version: number) =>
    until(`version ${version}`, () => (versions.includes(version) ? true : undefined), {
      seen: () => ({ versions, gaps, errors }),
    });
  const live = () =>
    until('it is live', () => signals.find((signal) => signal === 'CAUGHT_UP'), { seen: () => errors });
  return { versions, gaps, errors, stop, has, live };
}
/** Opened, with its first event in the log: a subscription that begins now gets none. */
async function account(): Promise<string> {
  const id = randomUUID();
  const { outcome } = await direct.send({ query: OPEN, variables: { id } });
  const query = 'query ($id: ID!, $token: Token) { account(id: $id, atLeast: $token) { id } }';
  await direct.query({ query, variables: { id, token: (outcome as { readonly token: string }).token } });
  return id;
}
const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n + 1);

describe('a subscription with a cursor', () => {
  test('goes on after cuts, over WebSocket: every event once', async () => {
    const { client, proxy, opened } = await throughProxy({ transport: 'ws' });
    const id = await account();
    const log = follow(client, id);
    await log.live();
    await deposit(id);
    await log.has(2);
    for (let round = 0; round < 5; round++) {
      proxy.set({ kind: 'reset' });
      await deposit(id);
      proxy.set({ kind: 'pass' });
      await deposit(id);
      await log.has(4 + round * 2);
    }
    expect(log.versions.slice(log.versions.indexOf(2))).toEqual(range(12).slice(1));
    expect(log).toMatchObject({ gaps: [], errors: [] });
    expect(new Set(opened())).toEqual(new Set(['ws']));
  });
  test('falls back to SSE where WebSockets are cut, resumes there, and moves back when they work', async () => {
    const { client, proxy, opened } = await throughProxy({ webSocketAgainMs: 300 });
    proxy.set({ kind: 'noUpgrade' });
    const id = await account();
    const log = follow(client, id);
    await log.live();
    expect(opened()).toEqual(['sse']);
    await deposit(id);
    await log.has(2);
    proxy.set({ kind: 'reset' });
    await deposit(id);
    proxy.set({ kind: 'noUpgrade' });
    await log.has(3);
    proxy.set({ kind: 'pass' });
    await until('it is back on WebSocket', () => (opened().at(-1) === 'ws' ? true : undefined), { seen: opened });
    await deposit(id);
    await log.has(4);
    expect(log.versions.slice(log.versions.indexOf(2))).toEqual([2, 3, 4]);
    expect(log).toMatchObject({ gaps: [], errors: [] });
  });
  test('notices a connection that says nothing any more', async () => {
    for (const transport of ['ws', 'sse'] as const) {
      const { client, proxy, statuses } = await throughProxy({ transport, silenceMs: 300, ackTimeoutMs: 300 });
      const id = await account();
      const log = follow(client, id);
      await log.live();
      // A busy machine may have been silent for so long before.
      await until('it is open', () => statuses.at(-1)?.state === 'open' || undefined, { seen: () => statuses });
      const before = statuses.length;
      proxy.set({ kind: 'blackhole' });
      await deposit(id);
      await until('it knows', () => statuses.slice(before).find(({ state }) => state === 'waiting'));
      proxy.set({ kind: 'reset' });
      proxy.set({ kind: 'pass' });
      await log.has(2);
      expect(log).toMatchObject({ gaps: [], errors: [] });
    }
  });
  test('of a later page goes on where the one before it was', async () => {
    const kept = new Map<string, string>();
    const storage = {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => void kept.set(key, value),
      removeItem: (key: string) => void kept.delete(key),
    };
    const id = await account();
    const first = await throughProxy({ storage });
    const before = follow(first.client, id, { resumeKey: 'log' });
    await before.live();
    await deposit(id);
    await before.has(2);
    await first.client.close();
    await deposit(id);
    const second = await throughProxy({ storage });
    const after = follow(second.client, id, { resumeKey: 'log' });
    await after.has(3);
    expect(after.versions).toEqual([3]);
    // Or it would go on to keep cursors.
    await second.client.close();
    // What a storage holds may be anything.
    kept.set('millrace:log', 'no cursor');
    const third = await throughProxy({ storage });
    const anew = follow(third.client, id, { resumeKey: 'log' });
    await until('it says so', () => anew.gaps[0], { seen: () => anew });
    await anew.live();
    await deposit(id);
    await anew.has(4);
    expect(anew).toMatchObject({ gaps: ['GAP'], errors: [] });
  });
  test('whose sink throws is over; the others go on, and a later page gets the message again', async () => {
    const kept = new Map<string, string>();
    const storage = {
      getItem: (key: string) => kept.get(key) ?? null,
      setItem: (key: string, value: string) => void kept.set(key, value),
      removeItem: (key: string) => void kept.delete(key),
    };
    const { client } = await throughProxy({ transport: 'ws', storage });
    const id = await account();
    const [bystander, log] = [follow(client, id), follow(client, id, { resumeKey: 'log' })];
    await Promise.all([bystander.live(), log.live()]);
    const thrown = new Error('the list could not be drawn');
    const errors: unknown[] = [];
    log.stop();
    client.subscribe(
      { query: EVENTS, variables: { id } },
      {
        next({ data }) {
          if ((data.events as Delivery).event !== null) throw thrown;
        },
        error: (error) => errors.push(error),
        complete: () => undefined,
      },
      { resumeKey: 'log' },
    );
    await deposit(id);
    await until('it is over', () => errors[0]);
    expect(errors).toMatchObject([{ code: 'SINK_FAILED', retryable: false, cause: thrown }]);
    await deposit(id);
    await bystander.has(3);
    const again = follow(client, id, { resumeKey: 'log' });
    await again.has(3);
    expect(again.versions).toEqual([2, 3]);
    expect(bystander).toMatchObject({ gaps: [], errors: [] });
  });
  test('has as many others beside it as it likes: they take another socket', async () => {
    const { client, statuses } = await throughProxy({ transport: 'ws', ackTimeoutMs: 60_000, silenceMs: 60_000 });
    const id = await account();
    const all = Array.from({ length: 130 }, () => follow(client, id));
    await Promise.all(all.map((log) => log.live()));
    await deposit(id);
    await Promise.all(all.map((log) => log.has(2)));
    expect(all.flatMap(({ errors }) => errors)).toEqual([]);
    expect(new Set(statuses.map(({ state }) => state))).toEqual(new Set(['connecting', 'open']));
    for (const { stop } of all) stop();
  });
  test('comes again after connectionParams failed, and the end of that socket is not its own', async () => {
    let calls = 0;
    const { client, proxy, statuses } = await throughProxy({
      transport: 'ws',
      retry: { minMs: 1, maxMs: 1 },
      ackTimeoutMs: 60_000,
      connectionParams: () => (calls++ === 0 ? Promise.reject(new Error('no session yet')) : {}),
    });
    proxy.set({ kind: 'delay', ms: 150 });
    const id = await account();
    const log = follow(client, id);
    await log.live();
    await deposit(id);
    await log.has(2);
    expect(statuses.map(({ state }) => state)).toEqual(['connecting', 'waiting', 'connecting', 'open']);
  });
  test('as an iterable: leaving the loop ends it', async () => {
    const { client } = await throughProxy();
    const id = await account();
    const seen: number[] = [];
    let isLive = false;
    const loop = (async () => {
      for await (const { data } of client.iterate({ query: EVENTS, variables: { id } })) {
        const { event, signal } = data.events as Delivery;
        if (signal === 'CAUGHT_UP') isLive = true;
        if (event !== null) seen.push(event.version);
        if (seen.includes(3)) break;
      }
    })();
    await until('it is live', () => isLive || undefined);
    await deposit(id);
    await deposit(id);
    await loop;
    expect(seen.slice(-2)).toEqual([2, 3]);
  });
  test('fails for what will not be better, and says why', async () => {
    for (const transport of ['ws', 'sse'] as const) {
      const { client, statuses } = await throughProxy({ transport });
      const errors: unknown[] = [];
      const sink = { next: () => undefined, error: (error: unknown) => errors.push(error), complete: () => undefined };
      client.subscribe({ query: 'subscription { nothing }' }, sink);
      await until('its error', () => errors[0]);
      expect(errors).toMatchObject([{ code: 'GRAPHQL_VALIDATION_FAILED', retryable: false }]);
      expect(statuses.at(-1)).toMatchObject({ state: 'failed' });
    }
  });
});

describe('a command', () => {
  test('whose answers are lost takes effect once, and its receipt comes', async () => {
    const { client, proxy } = await throughProxy({ tryTimeoutMs: 1_000 });
    const id = await account();
    // The answer is cut in its middle, again and again.
    proxy.cutAfterBytes(40);
    const { outcome } = await client.send({ query: DEPOSIT, variables: { id, amount: 5 } });
    expect(outcome).toMatchObject({ __typename: 'CommandAccepted', version: 2, duplicate: true });
    const { account: read } = await client.query({
      query: 'query ($id: ID!, $token: Token) { account(id: $id, atLeast: $token) { balance } }',
      variables: { id, token: (outcome as { readonly token: string }).token },
    });
    expect(read).toEqual({ balance: 5 });
  });
  test('without an answer until the deadline is OUTCOME_UNKNOWN, with the id to send it again', async () => {
    const { client, proxy } = await throughProxy({ tryTimeoutMs: 100 });
    const id = await account();
    proxy.set({ kind: 'downOnly' });
    const error = await client
      .send({ query: DEPOSIT, variables: { id, amount: 5 } }, { timeoutMs: 400 })
      .then(() => undefined)
      .catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'OUTCOME_UNKNOWN', retryable: true, commandId: expect.any(String) });
    proxy.set({ kind: 'reset' });
    proxy.set({ kind: 'pass' });
    const { commandId } = error;
    const { outcome } = await client.send({ query: DEPOSIT, variables: { id, amount: 5, commandId } });
    expect(outcome).toMatchObject({ __typename: 'CommandAccepted', version: 2 });
  });
  test('whose view is late is accepted all the same, and says what failed', async () => {
    const { client } = await throughProxy();
    const id = await account();
    const reason = 'its view is to be late';
    const pausing = 'mutation ($reason: String!) { pauseConsumer(name: "balances", reason: $reason) { state } }';
    expect((await bank.ask(pausing, { reason })).errors).toEqual([]);
    const query = `mutation ($id: ID!, $commandId: ID) {
      deposit(id: $id, input: { amount: 5 }, commandId: $commandId) {
        __typename ... on CommandAccepted { version view(timeoutMs: 1) { account { balance } } }
      }
    }`;
    const { outcome, errors } = await client.send({ query, variables: { id } }).finally(async () => {
      const resuming = 'mutation ($reason: String!) { resumeConsumer(name: "balances", reason: $reason) { state } }';
      expect((await bank.ask(resuming, { reason })).errors).toEqual([]);
    });
    expect(outcome).toMatchObject({ __typename: 'CommandAccepted', version: 2 });
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'VIEW_BEHIND', retryable: true });
  });
  test('that is refused is data; one that is given up is ABORTED', async () => {
    const { client } = await throughProxy();
    const { outcome } = await client.send({ query: DEPOSIT, variables: { id: 'nobody', amount: 5 } });
    expect(outcome).toEqual({ __typename: 'CommandRejected', code: 'NOT_FOUND' });
    const sent = client.send(
      { query: DEPOSIT, variables: { id: 'nobody', amount: 5 } },
      { signal: AbortSignal.abort() },
    );
    await expect(sent).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

test('a document without a cursor begins again after a cut, and says so', async () => {
  const { client, proxy } = await throughProxy({ transport: 'ws' });
  const id = await account();
  const signals: string[] = [];
  const gaps: string[] = [];
  client.subscribe(
    { query: 'subscription ($id: ID!) { accountChanged(id: $id) { signal node { balance } } }', variables: { id } },
    {
      next: ({ data, local }) =>
        signals.push(`${(data.accountChanged as { readonly signal: string }).signal}${local ? ' local' : ''}`),
      error: () => undefined,
      complete: () => undefined,
      gap: (reason) => gaps.push(reason),
    },
  );
  await until('the snapshot', () => signals.find((signal) => signal === 'SNAPSHOT'));
  proxy.set({ kind: 'reset' });
  proxy.set({ kind: 'pass' });
  await until('it again', () => (signals.filter((signal) => signal === 'SNAPSHOT').length === 2 ? true : undefined));
  expect(signals.filter((signal) => !['CAUGHT_UP', 'UPDATE'].includes(signal))).toEqual([
    'SNAPSHOT',
    'GAP local',
    'SNAPSHOT',
  ]);
  expect(gaps).toEqual(['RESTARTED']);
});
