import { parse } from 'graphql';
import { describe, expect, test } from 'vitest';
import { type ChangeMessage, Repeats } from '../../src/client/change-message.ts';
import { CursorKeeper } from '../../src/client/cursor-keeper.ts';
import { readDocument } from '../../src/client/document.ts';
import { createClient, type MillraceClient, MillraceClientError, type TypedDocument } from '../../src/client/index.ts';
import { retryDelayMs } from '../../src/client/retry-delay.ts';
import type { SubscriptionSink } from '../../src/client/subscription.ts';
import { ViewStore } from '../../src/client/view-store.ts';
import { ViewStores } from '../../src/client/view-stores.ts';
import { type ErrorCode, MillraceError } from '../../src/errors.ts';
import { clientErrors, coded } from '../../src/gateway/client-errors.ts';
import { createLogger } from '../../src/logger.ts';

/** Of polls; by default they give up after a second, which a busy machine may take. */
const patience = { timeout: 30_000 };

interface Account {
  readonly id: string;
  readonly balance: number;
}

/** A store that is fed by hand, and every state that a screen would have drawn. */
function screen(settleMs = 60_000, single = false) {
  let sink: SubscriptionSink<unknown> | undefined;
  const store = new ViewStore<Account>({
    open: (given) => {
      sink = given;
      return () => undefined;
    },
    root: 'accounts',
    single,
    settleMs,
    queuedSettleMs: 60_000,
    graceMs: 0,
    onClosed: () => undefined,
  });
  const frames: string[] = [];
  store.subscribe(() => {
    const { documents, isStale } = store.getSnapshot();
    const frame = documents.map(({ id, balance }) => `${id}=${balance}`).join(' ') + (isStale ? ' stale' : '');
    if (frames.at(-1) !== frame) frames.push(frame);
  });
  const tell = (signal: string, id?: string, balance?: number, version?: number, origins: readonly string[] = []) =>
    sink?.next({
      data: {
        accounts: { signal, id: id ?? null, node: balance === undefined ? null : { id, balance }, version, origins },
      },
    });
  const add = (id: string, amount: number) => (all: readonly Account[]) =>
    all.map((one) => (one.id === id ? { ...one, balance: one.balance + amount } : one));
  const accepted = (commandId: string, id: string, version: number) =>
    store.end(commandId, { kind: 'accepted', id, version });
  if (!single) {
    tell('SNAPSHOT', 'a', 10, 1);
    tell('SNAPSHOT', 'b', 20, 1);
    tell('CAUGHT_UP');
  }
  const lose = () =>
    sink?.status?.({ state: 'waiting', error: new MillraceClientError('NETWORK', 'away'), retryInMs: 1_000 });
  const fail = () => sink?.error(new MillraceClientError('SOCKET_REFUSED', 'for good'));
  return { store, frames, tell, add, accepted, lose, fail };
}
const others = (count: number): string[] => Array.from({ length: count }, (_, n) => `other-${n}`);

describe('what a screen shows', () => {
  test('a snapshot appears in one step', () => {
    expect(screen().frames).toEqual(['a=10 b=20']);
  });
  test('after a GAP the old list stays, stale, until the new one is complete', () => {
    const { frames, tell } = screen();
    tell('GAP');
    tell('SNAPSHOT', 'b', 21, 2);
    tell('SNAPSHOT', 'c', 30, 1);
    tell('CAUGHT_UP');
    expect(frames).toEqual(['a=10 b=20', 'a=10 b=20 stale', 'b=21 c=30']);
  });
  test('of one document the snapshot is complete at once, also when there is none', () => {
    const { store, tell } = screen(1, true);
    tell('SNAPSHOT', 'a');
    expect(store.getSnapshot()).toMatchObject({ document: undefined, isLive: true, isLoading: false });
    tell('UPDATE', 'a', 1, 1);
    expect(store.getSnapshot().document).toEqual({ id: 'a', balance: 1 });
  });
  test('REMOVED takes a document away', () => {
    const { frames, tell } = screen();
    tell('REMOVED', 'a');
    expect(frames.at(-1)).toBe('b=20');
  });
});

describe('a view that is not watched any more', () => {
  test('says so to those who listen still, and forgets its error when it begins again', () => {
    const { store, frames, fail } = screen();
    fail();
    expect(store.getSnapshot().error).toMatchObject({ code: 'SOCKET_REFUSED' });
    store.close();
    store.subscribe(() => undefined);
    expect(store.getSnapshot()).toMatchObject({ error: undefined, isStale: true });
    const second = screen();
    second.store.close();
    expect([frames.at(-1), second.frames.at(-1)]).toEqual(['a=10 b=20 stale', 'a=10 b=20 stale']);
  });
  test('is forgotten when nobody ever listened, and known again when somebody does', async () => {
    const stores = new ViewStores({ unusedMs: 1 });
    const document = readDocument('subscription { accounts { signal id node { id } } }');
    const watch = () => stores.watch(document, {}, () => () => undefined);
    const first = watch();
    await expect.poll(watch, patience).not.toBe(first);
    const late = new ViewStores({ unusedMs: 60_000 });
    const kept = late.watch(document, {}, () => () => undefined);
    kept.subscribe(() => undefined);
    kept.close();
    kept.subscribe(() => undefined);
    expect(late.watch(document, {}, () => () => undefined)).toBe(kept);
  });
});

describe('an optimistic change', () => {
  test('leaves with the update that names it, whether the receipt comes before or after', () => {
    for (const receiptFirst of [true, false]) {
      const { store, frames, tell, add, accepted } = screen();
      store.begin('c1', add('a', 5));
      if (receiptFirst) accepted('c1', 'a', 2);
      tell('UPDATE', 'a', 15, 2, ['c1']);
      if (!receiptFirst) accepted('c1', 'a', 2);
      expect(frames).toEqual(['a=10 b=20', 'a=15 b=20']);
      tell('UPDATE', 'a', 16, 3, ['x']);
      expect(frames.at(-1)).toBe('a=16 b=20');
    }
  });
  test('lies over changes of others meanwhile', () => {
    const { store, frames, tell, add } = screen();
    store.begin('c1', add('a', 5));
    tell('UPDATE', 'a', 110, 2, ['x']);
    tell('UPDATE', 'a', 115, 3, ['c1']);
    expect(frames).toEqual(['a=10 b=20', 'a=15 b=20', 'a=115 b=20']);
  });
  test('several are under way: each leaves alone', () => {
    const { store, frames, tell, add } = screen();
    store.begin('c1', add('a', 5));
    store.begin('c2', add('a', 7));
    tell('UPDATE', 'a', 17, 2, ['c2']);
    tell('UPDATE', 'a', 22, 3, ['c1']);
    expect(frames).toEqual(['a=10 b=20', 'a=15 b=20', 'a=22 b=20']);
  });
  test('of two documents leaves each with its own update', () => {
    const { store, frames, tell, add } = screen();
    store.begin('c1', (all) => add('b', 5)(add('a', -5)(all)));
    tell('UPDATE', 'a', 5, 2, ['c1']);
    tell('UPDATE', 'b', 25, 2, ['c1']);
    expect(frames).toEqual(['a=10 b=20', 'a=5 b=25']);
    tell('UPDATE', 'b', 26, 3, ['x']);
    expect(frames.at(-1)).toBe('a=5 b=26');
  });
  test('leaves at a refusal, and at a receipt that says that nothing happened', () => {
    const { store, frames, add } = screen();
    store.begin('c1', add('a', 5));
    store.end('c1', { kind: 'nothing' });
    expect(frames).toEqual(['a=10 b=20', 'a=15 b=20', 'a=10 b=20']);
  });
  test('an update that may hold it unnamed waits for the receipt, and with it all that follow', () => {
    const { store, frames, tell, add, accepted } = screen();
    store.begin('c1', add('a', 5));
    tell('UPDATE', 'a', 115, 12, others(10));
    tell('UPDATE', 'b', 21, 2, ['x']);
    expect(frames.at(-1)).toBe('a=15 b=20');
    accepted('c1', 'a', 2);
    expect(frames).toEqual(['a=10 b=20', 'a=15 b=20', 'a=115 b=21']);
  });
  test('such an update from before the command leaves it', () => {
    const { store, frames, tell, add, accepted } = screen();
    store.begin('c1', add('a', 5));
    tell('UPDATE', 'a', 110, 11, others(10));
    accepted('c1', 'a', 12);
    tell('UPDATE', 'a', 115, 12, ['c1']);
    expect(frames).toEqual(['a=10 b=20', 'a=15 b=20', 'a=115 b=20']);
  });
  test('a GAP in between: the new snapshot names it, or the change stays over it', () => {
    const { store, frames, tell, add } = screen();
    store.begin('c1', add('a', 5));
    store.begin('c2', add('b', 1));
    tell('GAP');
    tell('SNAPSHOT', 'a', 15, 2, ['x', 'c1']);
    tell('SNAPSHOT', 'b', 20, 1, ['x']);
    tell('CAUGHT_UP');
    tell('UPDATE', 'b', 21, 2, ['c2']);
    expect(frames).toEqual(['a=10 b=20', 'a=15 b=20', 'a=15 b=21', 'a=15 b=21 stale', 'a=15 b=21']);
  });
  test('a document that it adds is shown once', () => {
    const { store, frames, tell } = screen();
    store.begin('c1', (all) => (all.some(({ id }) => id === 'c') ? all : [...all, { id: 'c', balance: 0 }]));
    tell('UPDATE', 'c', 0, 1, ['c1']);
    expect(frames).toEqual(['a=10 b=20', 'a=10 b=20 c=0']);
  });
  test('a document that it takes away does not come back', () => {
    const { store, frames, tell } = screen();
    store.begin('c1', (all) => all.filter(({ id }) => id !== 'a'));
    tell('REMOVED', 'a', undefined, undefined, ['c1']);
    tell('UPDATE', 'a', 1, 5, ['x']);
    expect(frames).toEqual(['a=10 b=20', 'b=20', 'b=20 a=1']);
  });
  test('one whose effect is in another view leaves after a while', async () => {
    const { store, frames, add, accepted } = screen(1);
    store.begin('c1', add('a', 5));
    accepted('c1', 'z', 1);
    await expect.poll(() => frames, patience).toEqual(['a=10 b=20', 'a=15 b=20', 'a=10 b=20']);
  });
  test('stays while the view is away, or the command waits for a worker: then nothing could have come', async () => {
    const [away, queued, live] = [screen(20), screen(20), screen(20)];
    away.lose();
    for (const { store, add } of [away, queued, live]) store.begin('c1', add('a', 5));
    away.accepted('c1', 'a', 2);
    queued.store.end('c1', { kind: 'queued' });
    // Timers of one length end in their order.
    live.accepted('c1', 'a', 2);
    await expect.poll(() => live.frames.at(-1), patience).toBe('a=10 b=20');
    expect(away.frames.at(-1)).toBe('a=15 b=20 stale');
    expect(queued.frames.at(-1)).toBe('a=15 b=20');
    away.tell('UPDATE', 'a', 15, 2, ['c1']);
    away.tell('CAUGHT_UP');
    expect(away.frames.at(-1)).toBe('a=15 b=20');
  });
  test('of a command that is sent again is not laid over its own effect', () => {
    const { store, frames, tell, add, accepted } = screen();
    tell('UPDATE', 'a', 15, 2, ['c1']);
    store.begin('c1', add('a', 5));
    accepted('c1', 'a', 2);
    expect(frames).toEqual(['a=10 b=20', 'a=15 b=20']);
  });
});

describe('repeats', () => {
  const isRepeat = (repeats: Repeats, message: ChangeMessage): boolean => {
    const had = repeats.has(message);
    if (!had) repeats.mark(message);
    return had;
  };
  test('versions of a document only rise, until a GAP', () => {
    const repeats = new Repeats();
    const seen = [
      { signal: 'SNAPSHOT', id: 'a', version: 2 },
      { signal: 'UPDATE', id: 'a', version: 2 },
      { signal: 'UPDATE', id: 'a', version: 3 },
      { signal: 'GAP' },
      { signal: 'SNAPSHOT', id: 'a', version: 1 },
    ].map((message) => isRepeat(repeats, message));
    expect(seen).toEqual([false, true, false, false, false]);
  });
  test('positions are compared as numbers of any size', () => {
    const repeats = new Repeats();
    const seen = ['9', '10', '10', '9007199254740993', '9007199254740992'].map((position) =>
      isRepeat(repeats, { event: { position } }),
    );
    expect(seen).toEqual([false, false, true, false, true]);
  });
});

describe('documents', () => {
  test('fragments and aliases are seen', () => {
    const read = readDocument(
      'subscription Live($after: Cursor) { now: accountsChanged(after: $after) { ...on AccountChange { signal } ...Rest } } fragment Rest on AccountChange { cursor }',
    );
    expect(read).toMatchObject({ kind: 'subscription', operationName: 'Live', root: 'now' });
    expect([...read.selected]).toEqual(['signal', 'cursor']);
  });
  test('`__typename` beside the field that is asked for is not the field', () => {
    expect(readDocument('mutation { __typename deposit { id } }')).toMatchObject({ root: 'deposit' });
    expect(readDocument('{ __typename }').root).toBe('__typename');
    type Answer = { __typename: 'Mutation'; deposit: { version: number } };
    const document: TypedDocument<Answer, { commandId?: string | null }> = {};
    const right = async (client: MillraceClient): Promise<number> =>
      (await client.send({ query: document })).outcome.version;
    const untyped = (client: MillraceClient): unknown => client.watch({ query: '' }).getSnapshot().document?.balance;
    expect([typeof right, typeof untyped]).toEqual(['function', 'function']);
  });
  test('text, parsed documents and typed strings are the same', () => {
    const text = 'query Read($id: ID!) { account(id: $id) { id } }';
    const plain = readDocument(text);
    for (const document of [parse(text), new String(text)]) {
      expect(readDocument(document)).toMatchObject({ root: plain.root, variables: plain.variables });
    }
  });
  test('what a typed document takes and answers is known; the client fills in commandId', () => {
    const document: TypedDocument<{ deposit: { version: number } }, { id: string; commandId?: string | null }> = {};
    const wrong = (client: MillraceClient) => {
      // @ts-expect-error variables are missing
      void client.send({ query: document });
      // @ts-expect-error the id is no number
      void client.send({ query: document, variables: { id: 1 } });
    };
    const right = async (client: MillraceClient): Promise<number> =>
      (await client.send({ query: document, variables: { id: 'a' } })).outcome.version;
    expect([typeof wrong, typeof right]).toEqual(['function', 'function']);
  });
  test.each([
    ['subscription ($after: Cursor) { events(after: $after) { signal } }', /does|Select it/],
    ['subscription { events { cursor } }', /Declare "\$after: Cursor"/],
  ])('one half of what going on needs is an error: %s', async (query, message) => {
    const client = createClient({ url: 'http://127.0.0.1:1', transport: 'sse' });
    expect(() => client.subscribe({ query }, { next() {}, error() {}, complete() {} })).toThrow(message);
    await client.close();
  });
  test('a mutation without $commandId is not sent', async () => {
    const client = createClient({ url: 'http://127.0.0.1:1', transport: 'sse' });
    const sent = client.send({ query: 'mutation { deposit(id: "a", input: { amount: 1 }) { __typename } }' });
    await expect(sent).rejects.toMatchObject({ code: 'BAD_DOCUMENT', retryable: false });
    await expect(sent).rejects.toBeInstanceOf(MillraceClientError);
  });
});

test('a masked error says whether it may pass, and nothing else of itself', () => {
  const masked = clientErrors({ logger: createLogger({ level: 'silent', pretty: false }), production: true });
  const extensions = (code: ErrorCode) => masked(new MillraceError(code, 'secret')).toJSON();
  const errorId = expect.any(String);
  expect(extensions('MONGODB_UNREACHABLE')).toMatchObject({
    message: 'Unexpected error.',
    extensions: { code: 'INTERNAL', retryable: true, errorId },
  });
  expect(extensions('EVENT_INVALID').extensions).toEqual({ code: 'INTERNAL', errorId });
  expect(coded('SHUTTING_DOWN', 'later').extensions).toEqual({ code: 'SHUTTING_DOWN', retryable: true });
});

test('waits grow with each failure, are never the same for all, and have a top', () => {
  const waits = Array.from({ length: 200 }, () => retryDelayMs(4, { minMs: 100, maxMs: 10_000 }));
  expect(Math.max(...waits)).toBeLessThanOrEqual(800);
  expect(Math.min(...waits)).toBeGreaterThanOrEqual(80);
  expect(new Set(waits).size).toBeGreaterThan(100);
  expect(retryDelayMs(1_000, { maxMs: 50 })).toBeLessThanOrEqual(50);
});

test('a slow storage never ends with an older cursor', async () => {
  const writes: string[] = [];
  const releases: (() => void)[] = [];
  const keeper = new CursorKeeper(
    {
      getItem: () => 'first',
      setItem: (_key, value) =>
        new Promise<void>((resolve) => {
          writes.push(value);
          releases.push(resolve);
        }),
      removeItem: () => undefined,
    },
    'key',
  );
  await keeper.load();
  expect(keeper.cursor).toBe('first');
  for (const cursor of ['1', '2', '3']) keeper.keep(cursor);
  releases[0]?.();
  await expect.poll(() => writes, patience).toEqual(['1', '3']);
});
