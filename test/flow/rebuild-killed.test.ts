import { afterAll, expect, test } from 'vitest';
import { contents, startStock } from '../setup/rebuilds.ts';
import { testServers } from '../setup/servers.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';

const ITEMS = 50;
const EVENTS = 1_500;
const servers = testServers();
const old = await startStock(servers, { version: 1 });
const running: SourceProcess[] = [];
afterAll(async () => {
  for (const { child } of running) child.kill('SIGKILL');
  await old.stop();
});

/** A process with the new code; its gateway is the old one's. */
function startNew(slowMs: number): SourceProcess {
  const started = startSource(
    'test/setup/processes/cli.ts',
    ['start', '--role', 'worker', '--app', 'test/setup/stock-app.ts'],
    {
      PATH: process.env.PATH,
      MONGODB_URL: servers.mongoUrl,
      MONGODB_DATABASE: servers.database,
      REDIS_URL: servers.redisUrl,
      REDIS_PREFIX: servers.prefix,
      STOCK_SLOW_MS: String(slowMs),
      LOG_PRETTY: 'false',
      LOG_LEVEL: 'error',
    },
  );
  running.push(started);
  return started;
}
const rebuild = async () => (await old.data('{ rebuilds { state percent position runnerCount } }')).rebuilds.at(-1);

test('a rebuild whose process is killed in the middle goes on in the next one, and ends as a fresh build would', async () => {
  const expected = new Map<string, { count: number; changes: number }>();
  const one = async (n: number): Promise<void> => {
    const id = `item-${n % ITEMS}`;
    await old.stock(id, n);
    const before = expected.get(id) ?? { count: 0, changes: 0 };
    expected.set(id, { count: before.count + n, changes: before.changes + 1 });
  };
  for (let n = 0; n < EVENTS; n += 100) await Promise.all(Array.from({ length: 100 }, (_, index) => one(n + index)));

  // It would take a quarter of a minute: time enough to see it, and to kill it.
  const first = startNew(10);
  const middle = await until(
    'it is in the middle',
    async () => {
      const found = await rebuild();
      if (found?.state === 'SWAPPED') throw new Error('it was too fast to be killed in the middle');
      return found !== undefined && (await contents(servers, 2)).length > 0 ? found : undefined;
    },
    { timeoutMs: 120_000, seen: () => first.errors() },
  );
  expect(middle.state).toBe('BUILDING');
  first.child.kill('SIGKILL');
  await first.exited;
  const built = (await contents(servers, 2)).reduce((sum, { changes }) => sum + Number(changes ?? 0), 0);
  expect(built).toBeLessThan(EVENTS);

  // Meanwhile there are more events.
  await one(EVENTS);
  startNew(0);
  await until('it is swapped in', async () => ((await rebuild())?.state === 'SWAPPED' ? true : undefined), {
    timeoutMs: 120_000,
  });
  await until('all is handled', async () => {
    const found = await contents(servers, 2);
    return found.reduce((sum, { changes }) => sum + Number(changes), 0) === EVENTS + 1 ? true : undefined;
  });
  const found = await contents(servers, 2);
  expect(new Map(found.map(({ _id, count, changes }) => [_id, { count, changes }]))).toEqual(expected);
  // Each event once: the version of a document is the number of its changes.
  expect(found.every(({ _version, changes }) => _version === changes)).toBe(true);
}, 300_000);
