import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { schemaOf } from '../../resolvers/index.ts';
import { type RunningApp, readSettings } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { startApp } from '../../src/start.ts';
import type { TimerDocument } from '../../src/store/documents.ts';
import { post } from '../setup/gateway.ts';
import { startSource } from '../setup/source-process.ts';
import { lampModule, lighting, timerProcesses } from '../setup/timer-processes.ts';
import { until } from '../setup/until.ts';

const MINUTE_MS = 60_000;
const stage = await timerProcesses();
const lamps = lampModule([lighting('0 0 1 1 *')]);
let app: RunningApp;
let base = 0;

beforeAll(async () => {
  // The worker that knows the schedule is gone: nothing fires what is late here.
  const worker = await stage.start({ schedules: [lighting('0 0 1 1 *')] });
  await until('the schedule is known', async () => (await stage.timers.findOne({ kind: 'schedule' })) ?? undefined);
  await worker.stop();
  base = Math.floor((await stage.store.timers.now()) / 1_000) * 1_000;
  const sameTime = new Date(base + 10 * MINUTE_MS);
  await stage.timers.insertMany([
    stage.timer('late\u001b[2J', new Date(base - 5 * MINUTE_MS)),
    ...Array.from({ length: 30 }, (_, i) => stage.timer(`same${i}`, sameTime)),
    { ...stage.timer('gone', new Date(base - 60 * MINUTE_MS)), _id: 'gone', generation: 7 },
  ]);
  const { servers } = stage;
  app = await startApp({
    modules: [lamps],
    schema: schemaOf([lamps]),
    role: 'gateway',
    settings: readSettings({
      MONGODB_URL: servers.mongoUrl,
      MONGODB_DATABASE: servers.database,
      REDIS_URL: servers.redisUrl,
      REDIS_PREFIX: servers.prefix,
      PORT: '0',
    }),
    logger: createLogger({ level: 'silent', pretty: false }),
  });
  for (const [id, minutes] of [
    ['before', 9],
    ['same', 10],
    ['after', 11],
  ] as const) {
    const notBefore = new Date(base + minutes * MINUTE_MS);
    await stage.queued.insertOne({
      ...{
        _id: `default/account/${id}\u0000c-${id}`,
        logId: 'main',
        stream: `default/account/${id}`,
        target: 'account',
      },
      ...{ targetKind: 'aggregate', id, commandId: `c-${id}`, type: 'Deposit', data: { amount: 1 }, hash: '-' },
      meta: { correlationId: 'c', causationId: null, actor: null, tenant: 'default', traceparent: null, client: null },
      ...{ state: 'RECEIVED', attempts: 0, delivery: 1, dueAt: notBefore, notBefore },
      ...{ receivedAt: new Date(base), updatedAt: new Date(base) },
    });
  }
});

afterAll(() => app.stop());

const TIMERS = `query($kind: TimerKind, $consumer: String, $dueBefore: DateTime, $first: Int, $after: Cursor) {
  timers(kind: $kind, consumer: $consumer, dueBefore: $dueBefore, first: $first, after: $after) {
    edges { cursor node { id kind name consumer key dueAt setAt lateMs correlationId } }
    pageInfo { hasNextPage hasPreviousPage endCursor }
  }
}`;
const ask = (query: string, variables: object) => post(app.url ?? '', JSON.stringify({ query, variables }));
const read = async (variables: object) => {
  const { data, errors } = await ask(TIMERS, variables);
  expect(errors).toEqual([]);
  return data.timers as {
    readonly edges: readonly { readonly cursor: string; readonly node: Record<string, unknown> }[];
    readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string };
  };
};
const nodes = async (variables: object) => (await read(variables)).edges.map(({ node }) => node);

describe('timers in GraphQL', () => {
  test('the one that is due first comes first, and what is late says for how long', async () => {
    const [late] = await nodes({ first: 1 });
    expect(late).toMatchObject({ kind: 'SAGA', name: 'dark', consumer: 'evening', key: 'late\u001b[2J' });
    expect(late?.lateMs).toBeGreaterThanOrEqual(5 * MINUTE_MS);
    expect(late?.lateMs).toBeLessThan(6 * MINUTE_MS);
    expect((await nodes({ kind: 'COMMAND', first: 1 }))[0]).toMatchObject({ lateMs: 0 });
  });
  test('pages hold each timer and delayed command once, in order, also among many of one time', async () => {
    const seen: Record<string, unknown>[] = [];
    for (let after: string | null = null; ; ) {
      const page = await read({ first: 7, after });
      seen.push(...page.edges.map(({ node }) => node));
      if (!page.pageInfo.hasNextPage) break;
      after = page.pageInfo.endCursor;
    }
    expect(seen).toHaveLength(1 + 30 + 3 + 1);
    expect(new Set(seen.map(({ id }) => id)).size).toBe(seen.length);
    const times = seen.map(({ dueAt }) => Date.parse(String(dueAt)));
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });
  test('can be asked for by kind, by saga or target, and up to a time', async () => {
    expect((await nodes({ kind: 'COMMAND' })).map(({ key, name, consumer }) => [key, name, consumer])).toEqual([
      ['before', 'Deposit', 'account'],
      ['same', 'Deposit', 'account'],
      ['after', 'Deposit', 'account'],
    ]);
    expect((await nodes({ kind: 'SCHEDULE' })).map(({ name, consumer, key }) => [name, consumer, key])).toEqual([
      ['lighting', null, null],
    ]);
    expect(await nodes({ consumer: 'evening' })).toHaveLength(31);
    expect((await nodes({ consumer: 'account' })).map(({ key }) => key)).toEqual(['before', 'same', 'after']);
    expect(await nodes({ dueBefore: new Date(base + 10 * MINUTE_MS).toISOString() })).toHaveLength(2);
    expect(await nodes({ consumer: 'nobody' })).toEqual([]);
  });
  test('schedules tell their last time and the next', async () => {
    const query = '{ schedules { name cron timeZone nextAt lateMs last { dueAt } failure { code } } }';
    const { data } = await ask(query, {});
    expect(data.schedules).toEqual([
      {
        ...{ name: 'lighting', cron: '0 0 1 1 *', timeZone: 'UTC', lateMs: 0, last: null, failure: null },
        nextAt: expect.stringMatching(/^\d{4}-01-01T00:00:00.000Z$/),
      },
    ]);
  });
  test('bad pages, cursors and times are refused', async () => {
    const refusal = async (variables: object) =>
      (await ask(TIMERS, variables)).errors.map(({ extensions }) => extensions.code);
    expect(await refusal({ first: 5_000 })).toEqual(['BAD_INPUT']);
    expect(await refusal({ first: -1 })).toEqual(['BAD_INPUT']);
    expect(await refusal({ after: 'nonsense' })).toEqual(['BAD_CURSOR']);
    expect(await refusal({ dueBefore: '2026-05-01' })).toEqual(['BAD_INPUT']);
    expect(await refusal({ dueBefore: 'soon' })).toEqual(['BAD_INPUT']);
  });
});

describe('millrace timers', () => {
  const run = async (...args: string[]) => {
    const { servers } = stage;
    const cli = startSource('test/setup/processes/cli.ts', ['timers', ...args], {
      PATH: process.env.PATH,
      MONGODB_URL: servers.mongoUrl,
      MONGODB_DATABASE: servers.database,
    });
    const lines: string[] = [];
    for (;;) {
      const line = await cli.line().catch(() => undefined);
      if (line === undefined) break;
      lines.push(line);
    }
    return { code: await cli.exited, lines, errors: cli.errors() };
  };
  test('shows a table for people, without what would move their cursor', async () => {
    const { code, lines } = await run('--limit', '3', '--consumer', 'evening');
    expect(code).toBe(0);
    expect(lines[0]).toMatch(/due +late +kind +of +name +key/);
    expect(lines[1]).toMatch(/Z +1 h \d+ min +SAGA +evening +dark +gone$/);
    expect(lines[2]).toMatch(/Z +5 min +SAGA +evening +dark +late\?\[2J$/);
    expect(lines.join('\n')).toContain('There are more');
    expect(lines.at(-1)).toMatch(/lighting +0 0 1 1 \* +UTC +\d{4}-01-01T00:00:00.000Z/);
  });
  test('prints JSON for scripts', async () => {
    const { code, lines } = await run('--json', '--kind', 'command');
    expect(code).toBe(0);
    const printed: { timers: TimerDocument[]; more: boolean; schedules: unknown[] } = JSON.parse(lines.join('\n'));
    expect(printed.timers.map(({ key }) => key)).toEqual(['before', 'same', 'after']);
    expect(printed.more).toBe(false);
    expect(printed.schedules).toMatchObject([{ name: 'lighting', cron: '0 0 1 1 *', last: null, failure: null }]);
  });
  test.each([
    [['--kind', 'alarm'], /--kind is "alarm"/],
    [['--due-before', 'soon'], /--due-before is "soon"/],
    [['--limit', '0'], /--limit is "0"/],
  ])('%j is refused', async (args, message) => {
    const { code, errors } = await run(...args);
    expect(code).toBe(1);
    expect(errors).toMatch(message);
  });
});
