import { afterAll, expect, test } from 'vitest';
import { schemaOf } from '../../resolvers/index.ts';
import { readSettings, start } from '../../src/index.ts';
import { testServers } from '../setup/servers.ts';
import { counter, counterModule, logger } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

const servers = testServers();
let broken = true;
/** It is tried until it is mended, however long the test takes to look. */
const retry = { attempts: 'forever', backoff: { type: 'fixed', delayMs: 500 } } as const;
const modules = [counterModule({ breaks: ({ by }) => broken && by === 666, retry })];
const app = await start({
  modules,
  schema: schemaOf(modules),
  settings: readSettings({
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    PORT: '0',
  }),
  logger,
});
afterAll(() => app.stop());

const QUERY = `{ consumers { name version generation position logEnd lag caughtUp retryingCount deadCount parkedCount failingSince
  failures { partition position key eventType code message attempts since } } }`;

async function consumers() {
  const answer = await fetch(`${app.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: QUERY }),
  });
  const { data, errors } = (await answer.json()) as {
    readonly data: { readonly consumers: readonly Readonly<Record<string, unknown>>[] };
    readonly errors?: unknown;
  };
  expect(errors).toBeUndefined();
  return data.consumers;
}
const count = (by: number) => app.send(counter, 'one', { type: 'Count', data: { by } });

test('consumers tell how far they are, and how many keys wait', async () => {
  for (const by of [1, 2, 3]) await count(by);
  const level = await until('both are level', async () => {
    const found = await consumers();
    return found.every(({ position, caughtUp }) => position === '3' && caughtUp) ? found : undefined;
  });
  const even = {
    version: 1,
    generation: 1,
    position: '3',
    logEnd: '3',
    lag: 0,
    caughtUp: true,
    failures: [],
    retryingCount: 0,
    deadCount: 0,
    parkedCount: 0,
    failingSince: null,
  };
  expect(level).toEqual([
    { name: 'counters', ...even },
    { name: 'groups', ...even },
  ]);

  await count(666);
  await count(4);
  const [counters] = await until('the failing key is told, and the event behind it', async () => {
    const found = await consumers();
    return found.some(({ retryingCount, parkedCount }) => retryingCount === 1 && parkedCount === 1) &&
      found.every(({ lag }) => lag === 0)
      ? found
      : undefined;
  });
  // The consumer goes on: only the key waits.
  expect(counters).toMatchObject({ name: 'counters', position: '5', logEnd: '5', lag: 0, deadCount: 0, failures: [] });
  expect(counters?.failingSince).toEqual(expect.stringMatching(/^\d{4}-.*Z$/));

  broken = false;
  const mended = await until('the key goes on', async () => {
    const found = await consumers();
    return found.every(({ retryingCount, parkedCount }) => retryingCount === 0 && parkedCount === 0)
      ? found
      : undefined;
  });
  expect(mended[0]).toMatchObject({ position: '5', lag: 0, failingSince: null });
});
