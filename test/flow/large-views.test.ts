import { createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { MongoClient } from 'mongodb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { partitionOf } from '../../src/define/partition.ts';
import { aggregate, type Module, module, projector, view } from '../../src/index.ts';
import { readSettings } from '../../src/settings.ts';
import { type RunningApp, startApp } from '../../src/start.ts';
import type { ViewDocument } from '../../src/store/documents.ts';
import { post } from '../setup/gateway.ts';
import { logRecords } from '../setup/log-records.ts';
import { testServers } from '../setup/servers.ts';

/** More than a count counts, and so many that a walk of them all shows. */
const COUNT = 200_000;
const GROUP_COUNT = 200;

const thing = aggregate({
  name: 'thing',
  events: { Put: z.object({}) },
  commands: { Put: z.object({}) },
  initial: () => null,
  evolve: { Put: () => null },
  decide: { Put: () => ({ type: 'Put', data: {} }) },
});
type Index = { readonly group?: 1; readonly rank?: 1; readonly half?: 1 };
function moduleWith(indexes: readonly Index[]): Module {
  const fields = { id: z.string(), group: z.string(), rank: z.number(), half: z.boolean() };
  const things = view('thing', z.object(fields), { indexes });
  const put = projector({
    name: 'things',
    version: 1,
    from: [thing],
    into: things,
    on: { Put: (_doc, { stream: { id } }) => ({ id, group: 'new', rank: 0, half: true }) },
  });
  return module({ name: 'things', parts: [thing, things, put] });
}

const servers = testServers();
const mongo = new MongoClient(servers.mongoUrl);
const db = mongo.db(servers.database);
const things = db.collection<ViewDocument>('view_thing_g1');
const { logger, records } = logRecords();
async function start(indexes: readonly Index[]): Promise<RunningApp> {
  const builder = createSchemaBuilder();
  const own = moduleWith(indexes);
  exposeModule(builder, own);
  const settings = readSettings({
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    PORT: '0',
  });
  return startApp({ modules: [own], schema: builder.toSchema(), role: 'gateway', settings, logger });
}
let app: RunningApp;
beforeAll(async () => {
  const before = await start([{ group: 1 }]);
  await before.stop();
  for (let begin = 0; begin < COUNT; begin += 20_000) {
    const batch = Array.from({ length: 20_000 }, (_, n) => documentAt(begin + n));
    await things.insertMany(batch, { ordered: false, writeConcern: { w: 1 } });
  }
  app = await start([{ group: 1 }, { rank: 1 }, { half: 1, rank: 1 }]);
});
afterAll(async () => {
  await app.stop();
  await mongo.close();
});

function documentAt(n: number): ViewDocument {
  const id = `t${String(n).padStart(6, '0')}`;
  const marks = { _id: id, _partition: partitionOf(id, 16), _revision: 1, _position: 1, _version: 1, _origins: [] };
  return { ...marks, id, group: `g${n % GROUP_COUNT}`, rank: n, half: n % 4 !== 0 };
}
const ask = (text: string) => post(app.url ?? '', JSON.stringify({ query: `{ ${text} }` }));

interface Profiled {
  readonly command: { readonly find?: string; readonly pipeline?: readonly object[] };
  readonly keysExamined?: number;
  readonly docsExamined?: number;
}
/** The greatest number of documents and keys that one question to the view examined while `work` ran. */
async function examined(work: () => Promise<unknown>) {
  await db.command({ profile: 2 });
  await work();
  await db.command({ profile: 0 });
  const profiled = await db.collection<Profiled>('system.profile').find({ ns: things.namespace }).toArray();
  await db.collection('system.profile').drop();
  expect(profiled.length).toBeGreaterThan(0);
  const most = (figure: 'docsExamined' | 'keysExamined') => Math.max(...profiled.map((one) => one[figure] ?? 0));
  return { documents: most('docsExamined'), keys: most('keysExamined') };
}

test('a start that builds an index over a large view says so, and when it is built', () => {
  const said = records.filter(({ view: name }) => name === 'thing');
  const about = { view: 'thing', indexes: ['{ rank: 1, _id: 1 }', '{ half: 1, rank: 1, _id: 1 }'] };
  expect(said[0]).toMatchObject({ ...about, msg: expect.stringContaining('the start waits'), documentCount: COUNT });
  expect(said.at(-1)).toMatchObject({ ...about, msg: 'indexes of a view are built' });
});

test('a list of a large view reads what it gives, at any depth', async () => {
  const page = '{ edges { cursor node { id } } }';
  const deep = (
    await ask('things(sort: [{ field: rank }], filter: { rank: { gte: 150000 } }, first: 1) { edges { cursor } }')
  ).data;
  const cursor: string = deep.things.edges[0].cursor;
  for (const list of [
    ...[`things(first: 20) ${page}`, `things(last: 20) ${page}`],
    ...[`things(first: 20, sort: [{ field: rank }]) ${page}`],
    ...[`things(first: 20, sort: [{ field: rank }], after: "${cursor}") ${page}`],
    ...[`things(first: 20, filter: { group: { in: ["g7", "g8"] } }) ${page}`],
  ]) {
    const cost = await examined(async () => expect((await ask(list)).data.things.edges).toHaveLength(20));
    expect(cost.documents, list).toBeLessThanOrEqual(42);
  }
});

test('a list that would walk a large view is refused and names the index', async () => {
  const { errors } = await ask(
    'things(filter: { group: { eq: "g7" }, rank: { gt: 5 } }) { totalCount edges { node { id } } }',
  );
  expect(errors).toMatchObject([{ extensions: { code: 'INDEX_MISSING', index: '{ group: 1, rank: 1 }' } }]);
});

test('a count reads keys only and is exact up to 100,000; beyond it is null, and no more was walked', async () => {
  const count = async (filter: string) =>
    (await ask(`things(first: 0, filter: ${filter}) { totalCount }`)).data.things.totalCount;
  const small = await examined(async () => expect(await count('{ group: { eq: "g7" } }')).toBe(COUNT / GROUP_COUNT));
  expect(small.keys).toBeLessThanOrEqual(COUNT / GROUP_COUNT + 1);
  expect(small.documents).toBeLessThanOrEqual(1);
  expect(await count('{ half: { eq: false } }')).toBe(COUNT / 4);
  expect(await count('{ rank: { lt: 100000 } }')).toBe(100_000);
  const large = await examined(async () => expect(await count('{ rank: { lte: 100000 } }')).toBeNull());
  expect(large).toMatchObject({ documents: expect.any(Number) });
  expect(large.keys).toBeLessThanOrEqual(100_002);
  const all = await examined(async () =>
    expect((await ask('things(first: 0) { totalCount }')).data.things.totalCount).toBeNull(),
  );
  expect(all.documents).toBeLessThanOrEqual(100_002);
});

test('a declared index that is gone degrades the gateway, and what needs it is refused', async () => {
  await things.dropIndex('rank_1__id_1');
  const { errors } = await ask('things(sort: [{ field: rank }]) { totalCount edges { node { id } } }');
  expect(errors).toMatchObject([
    { message: expect.stringContaining('{ rank: 1, _id: 1 }'), extensions: { code: 'INDEX_MISSING' } },
  ]);
  const ready = await fetch(`${app.url}/ready`);
  expect(ready.status).toBe(200);
  expect(await ready.json()).toMatchObject({
    status: 'degraded',
    reasons: [expect.stringContaining('view "thing" (generation 1) has no index { rank: 1, _id: 1 }')],
  });
  // Others are served on.
  expect((await ask('things(filter: { group: { eq: "g7" } }) { totalCount }')).data.things.totalCount).toBe(1_000);
});
