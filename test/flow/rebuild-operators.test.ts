import { createClient } from 'graphql-ws';
import { afterAll, expect, test, vi } from 'vitest';
import WebSocket from 'ws';
import { runCli } from '../../src/cli/main.ts';
import { buildModel, module, type Projector } from '../../src/index.ts';
import { connect } from '../../src/store/connect.ts';
import { socketUrl, values } from '../setup/gateway.ts';
import { actOn, contents, REBUILDS, type StockApp, startStock } from '../setup/rebuilds.ts';
import { type TestServers, testServers } from '../setup/servers.ts';
import { stockModules } from '../setup/stock-modules.ts';
import { until } from '../setup/until.ts';

const apps: StockApp[] = [];
afterAll(async () => {
  await Promise.all(apps.map((one) => one.stop()));
});
async function open(servers: TestServers, options: Parameters<typeof startStock>[1]): Promise<StockApp> {
  const app = await startStock(servers, options);
  apps.push(app);
  return app;
}
/** What `millrace rebuild …` prints, and its exit code. */
async function millrace(app: StockApp, ...args: string[]) {
  const write = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  try {
    const code = await runCli(['rebuild', ...args, '--url', app.url]);
    return { code, text: write.mock.calls.map(([text]) => String(text)).join('') };
  } finally {
    write.mockRestore();
  }
}
/** Version 1 with these documents as their last event left them, stopped again. */
async function stockAt(servers: TestServers, documents: Readonly<Record<string, readonly [number, string?][]>>) {
  const old = await open(servers, { version: 1 });
  for (const [id, changes] of Object.entries(documents)) {
    let token: string | undefined;
    for (const [count, note] of changes) token = await old.stock(id, count, note);
    await old.data(AT_LEAST, { id, token });
  }
  await old.stop();
}
const AT_LEAST = 'query($id: ID!, $token: Token) { stock(id: $id, atLeast: $token, timeoutMs: 30000) { count } }';
const COUNTS = 'sameCount changedCount onlyOldCount onlyNewCount unsettledCount';
const DIFF = `query($after: Cursor) { rebuildDiff(projector: "stocks", after: $after) { from to oldPosition newPosition logEnd
  ${COUNTS} samples { id kind fields { name old new } } next totalCount } }`;
const reason = 'test';
/** Refused as long as version 1 is read: it has no such index, and no such field. */
const BY_CHANGES = '{ stocks(sort: [{ field: changes }]) { totalCount edges { node { id } } } }';
const CHANGES_OF = '{ changesOf(id: "a") { changes } }';
async function isRebuilding(app: StockApp, query: string): Promise<void> {
  const { errors } = await app.ask(query);
  expect(errors).toMatchObject([{ extensions: { code: 'VIEW_BEHIND', reason: 'REBUILDING' } }]);
}

test('in one process: the old version is served until an operator swaps, the difference is shown, and open subscriptions get GAP and a snapshot', async () => {
  const servers = testServers();
  await stockAt(servers, { a: [[1], [2]], b: [[5], [7, 'void']], c: [[3, 'void']], d: [[4]] });
  const app = await open(servers, { version: 2, carries: true, swap: 'byOperator' });
  const sockets = createClient({ url: socketUrl(app.url), webSocketImpl: WebSocket });
  type Change = { readonly data?: { readonly stockChanged: Record<string, unknown> } | null };
  const query = 'subscription { stockChanged(id: "b") { signal gap cursor node { count changes } } }';
  const changes = values(sockets.iterate({ query }) as AsyncIterable<Change>);
  const first = (await changes.next('the snapshot')).data?.stockChanged;
  expect(first).toMatchObject({ signal: 'SNAPSHOT', node: { count: 12, changes: null } });

  type ListChange = { readonly data?: { readonly stocksChanged: Record<string, unknown> } | null };
  const filtered = 'subscription { stocksChanged(filter: { count: { eq: 4 } }) { signal gap id } }';
  const list = values(sockets.iterate({ query: filtered }) as AsyncIterable<ListChange>);
  expect((await list.next('d')).data?.stocksChanged).toMatchObject({ signal: 'SNAPSHOT', id: 'd' });

  const ready = await app.rebuild('READY');
  expect(ready).toMatchObject({ percent: 100, position: '6', waitsFor: [expect.stringContaining('rebuild swap')] });
  // Partitions of the old one that have no event go along a little later.
  const rebuildDiff = await until('the old version has gone along', async () => {
    const { rebuildDiff: seen } = await app.data(DIFF);
    return seen.oldPosition === '6' ? seen : undefined;
  });
  expect(rebuildDiff).toMatchObject({ from: 1, to: 2, oldPosition: '6', newPosition: '6', logEnd: '6', next: null });
  // `changes` is new in all; in b the count differs, too, and c is no document any more.
  expect(rebuildDiff).toMatchObject({ sameCount: 0, changedCount: 3, onlyOldCount: 1, onlyNewCount: 0 });
  expect(rebuildDiff.unsettledCount).toBe(0);
  const sample = (id: string) => rebuildDiff.samples.find((one: { readonly id: string }) => one.id === id);
  expect(sample('b')).toEqual({
    id: 'b',
    kind: 'CHANGED',
    fields: [
      { name: 'count', old: 12, new: 5 },
      { name: 'changes', old: null, new: 1 },
    ],
  });
  expect(sample('c')).toMatchObject({ kind: 'ONLY_OLD' });
  expect((await app.data('{ stock(id: "b") { count changes } }')).stock).toEqual({ count: 12, changes: null });
  for (const query of [BY_CHANGES, CHANGES_OF]) await isRebuilding(app, query);
  const shown = await millrace(app, 'diff', 'stocks');
  expect(shown.code).toBe(1);
  expect(shown.text).toContain('generation 1 at position 6, generation 2 at 6 of 6: level.');
  expect(shown.text).toMatch(
    /0 documents are the same, 3 changed, 1 are only in the old one.*changed b {2}count: 12 → 5/s,
  );
  expect((await millrace(app, 'list')).text).toMatch(/PROJECTOR +GEN .*stocks +1 → 2 +ready +100 %/s);
  expect(await millrace(app, 'watch', 'stocks')).toMatchObject({
    code: 1,
    text: expect.stringContaining('swap it in'),
  });

  expect(await millrace(app, 'watch', 'stocks', '--generation', '1')).toMatchObject({ code: 1 });
  expect(await millrace(app, 'watch', 'stocks', '--generation', '2')).toMatchObject({
    code: 1,
    text: expect.stringContaining('swap stocks --reason'),
  });
  expect(await millrace(app, 'swap', 'stocks', '--reason', reason)).toMatchObject({ code: 0 });
  expect(await millrace(app, 'watch', 'stocks', '--generation', '2')).toMatchObject({ code: 0 });
  const gap = (await changes.next('the gap')).data?.stockChanged;
  expect(gap).toMatchObject({ signal: 'GAP', gap: 'GENERATION', node: null });
  const snapshot = (await changes.next('the new snapshot')).data?.stockChanged;
  expect(snapshot).toMatchObject({ signal: 'SNAPSHOT', node: { count: 5, changes: 1 } });
  expect((await changes.next('the end of it')).data?.stockChanged).toMatchObject({ signal: 'CAUGHT_UP' });
  // Its index is none of the new version's.
  for (const message of [{ signal: 'CAUGHT_UP' }, { signal: 'GAP' }, { signal: 'SNAPSHOT', id: 'd' }]) {
    expect((await list.next(message.signal)).data?.stocksChanged).toMatchObject(message);
  }
  await list.end();
  await app.stock('b', 1);
  expect((await app.data(BY_CHANGES)).stocks.totalCount).toBe(3);
  expect((await app.data(CHANGES_OF)).changesOf).toEqual({ changes: 2 });
  const update = (await changes.next('a change')).data?.stockChanged;
  expect(update).toMatchObject({ signal: 'UPDATE', node: { count: 6, changes: 2 } });
  await changes.end();
  // A cursor from before the swap.
  const resumed = values(
    sockets.iterate({
      query: `subscription { stockChanged(id: "b", after: "${first?.cursor}") { signal gap } }`,
    }) as AsyncIterable<Change>,
  );
  expect((await resumed.next('the gap')).data?.stockChanged).toEqual({ signal: 'GAP', gap: 'GENERATION' });
  await resumed.end();
  await sockets.dispose();
  expect(await app.code(actOn('swap'), { reason })).toBe('UNKNOWN_REBUILD');
  const { audit } = await app.data(
    '{ audit(filter: { action: "rebuild.swap" }) { edges { node { target reason } } } }',
  );
  expect(audit.edges).toEqual([{ node: { target: 'stocks/2', reason } }]);
});

test('a rebuild is paused, resumed, aborted and started anew, once; what it builds is what a fresh build is', async () => {
  const servers = testServers();
  await stockAt(servers, { a: [[1], [2]], b: [[5]] });
  const app = await open(servers, { version: 2, carries: true, swap: 'byOperator' });
  await app.rebuild('READY');
  const built = await contents(servers, 2);
  expect(await app.code(actOn('start'), { reason })).toBe('REBUILD_RUNNING');
  expect(await app.code(actOn('pause'), { reason: ' ' })).toBe('REASON_MISSING');

  await app.data(actOn('pause'), { reason });
  const token = await app.stock('b', 6);
  // The old version goes on, and what it shows has its position.
  expect((await app.data(AT_LEAST, { id: 'b', token })).stock).toEqual({ count: 11 });
  expect(await app.code(actOn('swap'), { reason })).toBe('REBUILD_NOT_LEVEL');
  const paused = await app.rebuild('PAUSED');
  expect(paused).toMatchObject({ position: '3', logEnd: '4', held: { reason }, eventsPerSecond: null });
  // One that waits is told apart from one that differs.
  const diff = await until('all of the old version has gone along', async () => {
    const { rebuildDiff } = await app.data(DIFF);
    return rebuildDiff.oldPosition === '4' ? rebuildDiff : undefined;
  });
  expect(diff).toMatchObject({ newPosition: '3', unsettledCount: 1, changedCount: 1 });
  await app.data(actOn('resume'), { reason });
  await app.rebuild('READY');

  expect((await app.data(actOn('abort'), { reason: 'wrong' })).abortRebuild).toMatchObject({
    state: 'ABORTED',
    position: '0',
    held: { reason: 'wrong' },
  });
  expect(await contents(servers, 2)).toEqual([]);
  expect((await app.data('{ stock(id: "b") { count } }')).stock).toEqual({ count: 11 });
  expect(await app.code(actOn('resume'), { reason })).toBe('REBUILD_ABORTED');
  const resume = 'mutation { resumeConsumer(name: "stocks", reason: "x") { name } }';
  expect(await app.code(resume)).toBe('REBUILD_ABORTED');
  const reset = 'mutation { resetConsumer(name: "stocks", to: { start: true }, reason: "x") { position } }';
  expect(await app.code(reset)).toBe('REBUILD_ABORTED');
  // Aborted is aborted, also for processes that start later.
  await app.stop();
  const again = await open(servers, { version: 2, carries: true, swap: 'byOperator' });
  expect(await again.rebuild('ABORTED')).toMatchObject({ position: '0' });
  const started = await Promise.all([again.code(actOn('start'), { reason }), again.code(actOn('start'), { reason })]);
  expect(started.sort()).toEqual(['REBUILD_RUNNING', 'no error']);
  await again.rebuild('READY');
  const anew = await contents(servers, 2);
  expect(anew.map(({ _id }) => _id)).toEqual(built.map(({ _id }) => _id));
  await again.data(actOn('swap'), { reason });
  await until('it is read', async () => {
    const { stock } = await again.data('{ stock(id: "b") { count changes } }');
    return stock.changes === 2 ? true : undefined;
  });
});

test('who watches a generation that no process has begun yet waits for it, and hears when it is read', async () => {
  const servers = testServers();
  const old = await open(servers, { version: 1 });
  const first = await until('the first version is level', async () => {
    const { consumers } = await old.data('{ consumers { caughtUp } }');
    return consumers[0]?.caughtUp === true ? millrace(old, 'watch', 'stocks', '--generation', '1') : undefined;
  });
  expect(first).toMatchObject({ code: 0, text: expect.stringContaining('is read') });
  await old.stock('a', 1);
  const told = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const watching = millrace(old, 'watch', 'stocks', '--generation', '2');
  await until('it waits', () =>
    told.mock.calls.some(([text]) => String(text).includes('no process has begun generation 2')) ? true : undefined,
  );
  await open(servers, { version: 2, carries: true });
  expect(await watching).toMatchObject({ code: 0, text: expect.stringContaining('stocks 1 → 2: is read since') });
  told.mockRestore();
});

test('a projector that throws is not swapped in: its keys are counted, the rest is built, and skipping them lets it go on', async () => {
  const servers = testServers();
  await stockAt(servers, { a: [[1], [2, 'bad'], [3]], b: [[5]] });
  const app = await open(servers, { version: 2, carries: true, breaks: (note) => note === 'bad' });
  const stuck = await until('the key is dead', async () => {
    const [one] = (await app.data(REBUILDS)).rebuilds;
    return one?.deadCount === 1 && one.state === 'READY' ? one : undefined;
  });
  expect(stuck).toMatchObject({ percent: 100, deadCount: 1, parkedCount: 1 });
  expect(stuck.waitsFor[0]).toContain('1 keys are dead');
  expect(await app.code(actOn('swap'), { reason })).toBe('REBUILD_NOT_LEVEL');
  expect((await app.data('{ stock(id: "a") { count } }')).stock).toEqual({ count: 6 });
  const skip = 'mutation { skipDeadLetters(filter: { consumer: "stocks" }, reason: "bad data") { id } }';
  await app.data(skip);
  await app.rebuild('SWAPPED');
  await until('it is read', async () => {
    const { stock } = await app.data('{ stock(id: "a") { count changes } }');
    return stock.changes === 2 && stock.count === 4 ? true : undefined;
  });
});

test('a process is ready when READY_AFTER is read; an old version that nobody runs is told of, and never stale in silence', async () => {
  const servers = testServers();
  await stockAt(servers, { a: [[1]] });
  const app = await open(servers, { version: 2, swap: 'byOperator', env: { READY_AFTER: 'stocks' } });
  await app.rebuild('READY');
  const token = await app.stock('a', 1);
  const waiting = await app.ready();
  expect(waiting.status).toBe(503);
  expect(waiting.text).toContain('waits for \\"stocks\\" (READY_AFTER)');
  expect(waiting.text).toContain('stands still');
  const query =
    'query($token: Token, $timeoutMs: Int) { stock(id: "a", atLeast: $token, timeoutMs: $timeoutMs) { count } }';
  expect(await app.code(query, { token, timeoutMs: 300 })).toBe('VIEW_BEHIND');
  for (const one of [BY_CHANGES, CHANGES_OF]) await isRebuilding(app, one);
  await app.data(actOn('swap'), { reason });
  await until('it is ready', async () => ((await app.ready()).status === 200 ? true : undefined));
  expect((await app.data(query, { token, timeoutMs: 20_000 })).stock).toEqual({ count: 2 });
  await expect(startStock(servers, { version: 2, env: { READY_AFTER: 'nobody' } })).rejects.toMatchObject({
    code: 'SETTINGS_INVALID',
  });
});

test('a gateway whose version is read and far behind is not ready before that was level once; then it stays so', async () => {
  const servers = testServers();
  await stockAt(servers, { a: [[1], [2]] });
  const { client, db } = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  // As after a time without anybody who ran it.
  const setBack = () => db.collection('partitions').updateMany({ consumer: 'stocks' }, { $set: { checkpoint: 0 } });
  await setBack();
  const gateway = await open(servers, { version: 1, role: 'gateway', env: { READY_AFTER: 'all' } });
  const waiting = await gateway.ready();
  expect(waiting.status).toBe(503);
  expect(waiting.text).toContain('generation 1 is not level yet; it has handled the log up to 0 of 2');
  const worker = await open(servers, { version: 1, role: 'worker' });
  await until('it is ready', async () => ((await gateway.ready()).status === 200 ? true : undefined));
  await worker.stop();
  await setBack();
  expect((await gateway.ready()).status).toBe(200);
  await client.close();
});

test('a version before that is none of this projector is refused at start', () => {
  const [stock] = stockModules({ version: 1 });
  const newer = (spec: object) => {
    const parts = stock?.parts ?? [];
    const own = parts.find((part) => part.kind === 'projector');
    if (own?.kind !== 'projector') throw new Error('no projector');
    const changed = { ...own, version: 2, ...spec } as Projector;
    return () => buildModel([module({ name: 'stock', parts: [...parts.filter((part) => part !== own), changed] })]);
  };
  const own = stock?.parts.find((part) => part.kind === 'projector') as Projector;
  expect(newer({ previous: own })().consumers).toHaveLength(1);
  const refused = expect.objectContaining({ code: 'DEFINITION_INVALID' });
  for (const previous of [
    { ...own, name: 'other' },
    { ...own, version: 2 },
    { ...own, into: { ...own.into, name: 'x' } },
    {},
  ]) {
    expect(newer({ previous })).toThrow(refused);
  }
  expect(newer({ swap: 'never' })).toThrow(refused);
});
