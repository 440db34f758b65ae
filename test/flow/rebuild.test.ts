import { afterAll, expect, test } from 'vitest';
import { connect } from '../../src/store/connect.ts';
import { REBUILDS, type StockApp, startStock } from '../setup/rebuilds.ts';
import { type TestServers, testServers } from '../setup/servers.ts';
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
/** As if nobody had written for generation 1 for a minute. */
async function age({ mongoUrl, database }: TestServers): Promise<void> {
  const { client, db } = await connect({ url: mongoUrl, database, appName: 'test' });
  const updatedAt = new Date(Date.now() - 60_000);
  await db.collection('partitions').updateMany({ generation: 1 }, { $set: { updatedAt } });
  await client.close();
}
const READ = '{ stocks(first: 100, sort: [{ field: count, direction: DESC }]) { edges { node { id count } } } }';

/** Reads all documents again and again; what it got is looked at by the test. */
function readers(app: StockApp, count: number) {
  let reading = true;
  const problems: string[] = [];
  let readCount = 0;
  const read = async (): Promise<void> => {
    while (reading) {
      const { data, errors } = await app.ask(READ);
      readCount++;
      const found = data?.stocks.edges.length ?? 0;
      if (errors.length > 0 || found !== count) problems.push(`${found} ${JSON.stringify(errors)}`);
    }
  };
  const ended = Promise.all([read(), read()]);
  return async () => {
    await until('it has read some', () => readCount > 10 || undefined);
    reading = false;
    await ended;
    return problems;
  };
}

test('a new version is built beside the old one under reads and writes, swapped in by itself, and both gateways see it', async () => {
  const servers = testServers();
  const old = await open(servers, { version: 1 });
  const ids = Array.from({ length: 20 }, (_, index) => `item-${index}`);
  for (const id of ids) await old.stock(id, 10);
  await until('all are shown', async () => ((await old.data(READ)).stocks.edges.length === 20 ? true : undefined));
  expect((await old.data(REBUILDS)).rebuilds).toEqual([]);

  const fresh = await open(servers, { version: 2, carries: true });
  const stops = [readers(old, 20), readers(fresh, 20)];
  let writing = true;
  const writes = (async () => {
    for (let n = 0; writing; n++) {
      const token = await old.stock(ids[n % 20] ?? '', 1);
      const { stock } = await fresh.data(
        'query($id: ID!, $token: Token) { stock(id: $id, atLeast: $token, timeoutMs: 30000) { count } }',
        { id: ids[n % 20], token },
      );
      expect(stock.count).toBeGreaterThan(10);
    }
  })();
  const swapped = await fresh.rebuild('SWAPPED');
  expect(swapped).toMatchObject({ projector: 'stocks', view: 'stock', from: 1, to: 2, percent: 100, deadCount: 0 });
  const changed = await until('the new gateway reads the new version', async () => {
    const { stock } = await fresh.data('{ stock(id: "item-1") { count changes } }');
    return stock.changes === null ? undefined : stock;
  });
  expect(changed.changes).toBeGreaterThan(0);
  writing = false;
  await writes;
  for (const stop of stops) expect(await stop()).toEqual([]);
  // The old gateway goes on with what its schema knows, and is no worse off.
  const token = await fresh.stock('item-1', 1_000);
  const AT_LEAST = 'query($token: Token) { stock(id: "item-1", atLeast: $token, timeoutMs: 30000) { count } }';
  const { stock } = await old.data(AT_LEAST, { token });
  expect(stock.count).toBeGreaterThan(1_000);
  const retire = 'mutation { retireConsumer(name: "stocks", generation: 1, reason: "version 2 is read") }';
  expect(await fresh.code(retire)).toBe('CONSUMER_RUNNING');
  await old.stop();
  const { readerCount } = await until('nobody reads the old one', async () => {
    const [one] = (await fresh.data(REBUILDS)).rebuilds;
    return one.readerCount === 0 ? one : undefined;
  });
  expect(readerCount).toBe(0);
  // Whoever writes to it without a word in `instances` would have done so by now.
  await age(servers);
  await until('the old one is retired', async () => ((await fresh.code(retire)) === 'no error' ? true : undefined), {
    timeoutMs: 60_000,
  });
  expect((await fresh.data(REBUILDS)).rebuilds).toEqual([]);
  expect((await fresh.data('{ stock(id: "item-1") { count } }')).stock.count).toBe(stock.count);
});
