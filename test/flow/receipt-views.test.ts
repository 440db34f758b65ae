import { randomUUID } from 'node:crypto';
import { createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { MongoClient } from 'mongodb';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { aggregate, module, projector, query, service, view } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { readSettings } from '../../src/settings.ts';
import { type RunningApp, startApp } from '../../src/start.ts';
import { post } from '../setup/gateway.ts';
import { testServers } from '../setup/servers.ts';

const counter = aggregate({
  name: 'counter',
  events: { Added: z.object({ by: z.number() }) },
  commands: { Add: z.object({ by: z.number() }) },
  initial: () => 0,
  evolve: { Added: (sum, { by }) => sum + by },
  // Nothing to add: accepted without an event.
  decide: { Add: (_sum, { by }) => (by === 0 ? [] : { type: 'Added', data: { by } }) },
});
const wheel = aggregate({
  name: 'wheel',
  events: { Turned: z.object({}) },
  commands: { Turn: z.object({}) },
  initial: () => null,
  evolve: { Turned: () => null },
  decide: { Turn: () => ({ type: 'Turned', data: {} }) },
});
const bell = service({
  name: 'bell',
  events: { Rung: z.object({ times: z.number() }) },
  commands: { Ring: z.object({ times: z.number() }) },
  handle: { Ring: async ({ times }) => ({ type: 'Rung', data: { times } }) },
});
const sums = view('sum', z.object({ id: z.string(), group: z.string(), sum: z.number() }), {
  indexes: [{ group: 1, sum: 1 }],
});
const turns = view('turn', z.object({ id: z.string(), count: z.number() }));
const rings = view('ring', z.object({ id: z.string(), times: z.number() }));
const parts = [
  ...[counter, wheel, bell, sums, turns, rings],
  projector({
    name: 'sums',
    version: 1,
    from: [counter],
    into: sums,
    on: {
      Added: (doc, { stream: { id }, data }) =>
        data.by < 0 ? null : { id, group: id.split('-')[0] ?? '', sum: (doc?.sum ?? 0) + data.by },
    },
  }),
  projector({
    name: 'turns',
    version: 1,
    from: [wheel],
    into: turns,
    on: { Turned: (doc, { stream }) => ({ id: stream.id, count: (doc?.count ?? 0) + 1 }) },
  }),
  projector({
    name: 'rings',
    version: 1,
    from: [bell],
    into: rings,
    on: { Rung: (_doc, { stream, data }) => ({ id: stream.id, times: data.times }) },
  }),
  query({
    name: 'ofGroup',
    input: z.object({ group: z.string() }),
    output: z.array(z.object({ id: z.string(), sum: z.number() })),
    run: async ({ group }, read) => (await read(sums).list({ filter: { group } })).map(({ id, sum }) => ({ id, sum })),
  }),
] as const;
const counters = module({ name: 'counters', parts });

const servers = testServers();
const mongo = new MongoClient(servers.mongoUrl);
const db = mongo.db(servers.database);
let app: RunningApp;
let start: (role: 'all' | 'gateway') => Promise<RunningApp>;
beforeAll(async () => {
  const builder = createSchemaBuilder();
  exposeModule(builder, counters);
  const settings = readSettings({
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    PORT: '0',
  });
  const logger = createLogger({ level: 'silent', pretty: false });
  const schema = builder.toSchema();
  start = (role) => startApp({ modules: [counters], schema, role, settings, logger });
  app = await start('all');
});
afterAll(async () => {
  await app.stop();
  await mongo.close();
});

const ask = (text: string, variables: object = {}) => post(app.url ?? '', JSON.stringify({ query: text, variables }));
/** The data of an answer without errors. */
async function data(text: string, variables: object = {}) {
  const answer = await ask(text, variables);
  expect(answer.errors).toEqual([]);
  return answer.data;
}
const ADD = `mutation($id: ID!, $by: Float!, $commandId: ID, $dryRun: Boolean, $mode: CommandMode, $timeoutMs: Int) {
  add(id: $id, input: { by: $by }, commandId: $commandId, dryRun: $dryRun, mode: $mode) {
    ... on CommandQueued { token view(timeoutMs: $timeoutMs) { sum { id sum } } }
    ... on CommandAccepted { version duplicate token view(timeoutMs: $timeoutMs) { sum { id sum } turn { id } } } } }`;
const add = (id: string, by: number, more: object = {}) => ask(ADD, { id, by, ...more });

test('one request sends a command and answers the document as it is after it', async () => {
  const id = randomUUID();
  for (let n = 1; n <= 30; n++) {
    const { data: answered, errors } = await add(id, 1);
    expect(errors).toEqual([]);
    // A view of another aggregate is simply read.
    expect(answered.add).toMatchObject({ version: n, view: { sum: { id, sum: n }, turn: null } });
  }
  const removed = await add(id, -1);
  expect(removed.data.add).toMatchObject({ version: 31, view: { sum: null } });
});

test('another document can be named, and a repeat gets the document as it is now', async () => {
  const [first, second] = [randomUUID(), randomUUID()];
  await add(first, 5);
  const commandId = randomUUID();
  await add(second, 1, { commandId });
  await add(second, 2);
  const repeated = await add(second, 1, { commandId });
  expect(repeated.data.add).toMatchObject({ version: 1, duplicate: true, view: { sum: { sum: 3 } } });
  const other = await data(
    `mutation { add(id: "${second}", input: { by: 1 }) { ... on CommandAccepted { view { sum(id: "${first}") { id sum } } } } }`,
  );
  expect(other.add.view.sum).toEqual({ id: first, sum: 5 });
});

test('a command that caused nothing reads at once; a dry run has no view, and says why', async () => {
  const id = randomUUID();
  expect((await add(id, 0)).data.add).toMatchObject({ version: null, view: { sum: null } });
  const dry = await add(id, 7, { dryRun: true });
  expect(dry.data.add).toMatchObject({ version: 1, view: null });
  expect(dry.errors).toMatchObject([{ path: ['add', 'view'], extensions: { code: 'BAD_INPUT' } }]);
  // Of a command that was written before, the answer is its receipt, dry or not.
  const commandId = randomUUID();
  await add(id, 7, { commandId });
  expect((await add(id, 7, { commandId, dryRun: true })).data.add).toMatchObject({
    duplicate: true,
    view: { sum: { sum: 7 } },
  });
});

test('a queued command and one of a service are waited for until they were carried out', async () => {
  const id = randomUUID();
  expect((await add(id, 4, { mode: 'QUEUED' })).data.add.view).toEqual({ sum: { id, sum: 4 } });
  const rung = await data(
    'mutation { ring(input: { times: 3 }) { ... on CommandQueued { id view { ring { id times } } } } }',
  );
  expect(rung.ring.view.ring).toEqual({ id: rung.ring.id, times: 3 });
});

test('a view that does not come is the error VIEW_BEHIND; the receipt is there all the same', async () => {
  const id = randomUUID();
  await data('mutation { pauseConsumer(name: "sums", reason: "test") { state } }');
  const { data: answered, errors } = await add(id, 1, { timeoutMs: 50 });
  expect(answered.add).toMatchObject({ version: 1, token: expect.any(String), view: { sum: null, turn: null } });
  expect(errors).toMatchObject([{ path: ['add', 'view', 'sum'], extensions: { code: 'VIEW_BEHIND', view: 'sum' } }]);
  await data('mutation { resumeConsumer(name: "sums", reason: "test") { state } }');
  const again = await data(`query($atLeast: Token) { sum(id: "${id}", atLeast: $atLeast) { sum } }`, {
    atLeast: answered.add.token,
  });
  expect(again.sum).toEqual({ sum: 1 });
});

const SEND = `mutation($commands: [CommandEnvelope!]!) { sendCommands(commands: $commands) {
  ... on CommandAccepted { id token view { sum { id sum } } } ... on InvalidInput { issues { message } } } }`;
const envelopes = (ids: readonly string[]) =>
  ids.map((id) => ({ aggregate: 'counter', id, type: 'Add', input: { by: 2 } }));

test('each receipt of sendCommands has its own view', async () => {
  const ids = Array.from({ length: 20 }, () => `many-${randomUUID()}`);
  const { sendCommands } = await data(SEND, {
    commands: [...envelopes(ids), { aggregate: 'nothing', type: 'Add' }],
  });
  expect(sendCommands.at(-1)).toEqual({ issues: [{ message: 'there is no such aggregate or service' }] });
  expect(sendCommands.slice(0, -1).map(({ view }: { view: object }) => view)).toEqual(
    ids.map((id) => ({ sum: { id, sum: 2 } })),
  );
});

test('a list is counted when asked for, also under a filter and with atLeast', async () => {
  const group = randomUUID().replaceAll('-', '');
  const ids = Array.from({ length: 12 }, (_, n) => `${group}-${n}`);
  const { sendCommands } = await data(SEND, { commands: envelopes(ids) });
  const tokens: string[] = sendCommands.map(({ token }: { token: string }) => token);
  const count = async (filter: string, atLeast = tokens.at(-1)) =>
    (
      await data(
        `query($atLeast: Token) { sums(first: 2, atLeast: $atLeast, filter: ${filter}) { totalCount edges { node { id } } } }`,
        {
          atLeast,
        },
      )
    ).sums;
  const counted = await count(`{ group: { eq: "${group}" } }`);
  expect(counted).toMatchObject({ totalCount: 12, edges: [{}, {}] });
  expect(await count(`{ group: { in: ["${group}", "nobody"] }, sum: { gt: 2 } }`)).toMatchObject({ totalCount: 0 });
  expect(await count(`{ id: { in: ["${ids[0]}", "${ids[1]}", "${ids[1]}", "nobody"] } }`)).toMatchObject({
    totalCount: 2,
  });
  // Removed documents leave tombstones, which no count counts.
  const everything = (await data('{ sums { totalCount } }')).sums.totalCount;
  const removed = await add(ids[0]!, -1);
  const after = await count(`{ group: { eq: "${group}" } }`, removed.data.add.token);
  expect(after).toMatchObject({ totalCount: 11 });
  expect((await data('{ sums { totalCount } }')).sums.totalCount).toBe(everything - 1);
  const refused = await ask('{ sums(filter: { sum: { gt: 1 } }) { totalCount } }');
  expect(refused.errors).toMatchObject([{ extensions: { code: 'INDEX_MISSING', index: '{ sum: 1 }' } }]);
  const many = Array.from({ length: 11 }, (_, n) => `c${n}: sums(first: 0) { totalCount }`).join('\n');
  const answer = await ask(`{ ${many} }`);
  expect(answer.errors.map(({ extensions }) => extensions.code)).toEqual(['QUERY_TOO_COMPLEX']);
});

interface Profiled {
  readonly ns: string;
  readonly command: object;
}
const places = ['events', 'consumers', 'partitions', 'view_sum_g1'] as const;
/** What a gateway that knows nothing yet asks of the view while `work` runs: number of questions, by collection. */
async function asked(work: (url: string) => Promise<unknown>): Promise<Readonly<Record<string, number>>> {
  const gateway = await start('gateway');
  const sinceMs = performance.now();
  await db.command({ profile: 2 });
  try {
    await work(gateway.url ?? '');
  } finally {
    await db.command({ profile: 0 });
    await gateway.stop();
  }
  const forMs = performance.now() - sinceMs;
  const profile = db.collection<Profiled>('system.profile');
  // Whatever is asked of it, a gateway looks up the end of the log once a second, and no more often.
  const isLook = { ns: /\.events$/, 'command.sort': { _id: -1 } };
  const own = { appName: 'millrace-gateway', op: { $in: ['query', 'command'] } };
  expect(await profile.countDocuments({ ...own, ...isLook })).toBeLessThanOrEqual(2 + forMs / 1_000);
  const profiled = await profile.find({ ...own, $nor: [isLook] }).toArray();
  await db.collection('system.profile').drop();
  const counts = new Map<string, number>();
  for (const { ns, command } of profiled) {
    // Documents are joined by their ids, so the command names their collection.
    const place = places.find((one) => ns.endsWith(`.${one}`) || JSON.stringify(command).includes(`"${one}"`));
    if (place !== undefined) counts.set(place, (counts.get(place) ?? 0) + 1);
  }
  return Object.fromEntries(counts);
}

test('documents of one request are one read, with their tokens too', async () => {
  const ids = Array.from({ length: 25 }, () => `batch-${randomUUID()}`);
  const { sendCommands } = await data(SEND, { commands: envelopes(ids) });
  const tokens = sendCommands.map(({ token }: { token: string }) => token);
  const aliased = (atLeast: boolean) =>
    ids.map((id, n) => `d${n}: sum(id: "${id}"${atLeast ? `, atLeast: "${tokens[n]}"` : ''}) { id }`).join('\n');
  const read = (atLeast: boolean) =>
    asked(async (url) => {
      const answer = await post(url, JSON.stringify({ query: `{ ${aliased(atLeast)} }` }));
      expect(Object.values(answer.data)).toEqual(ids.map((id) => ({ id })));
    });
  expect(await read(false)).toEqual({ view_sum_g1: 1 });
  // The view is there: where the events are, how many partitions it has, how far they are, then the documents.
  expect(await read(true)).toEqual({ events: 1, consumers: 1, partitions: 1, view_sum_g1: 1 });
});

test('receipts that wait for their views read them together as these come', async () => {
  const ids = Array.from({ length: 60 }, () => `wave-${randomUUID()}`);
  const counts = await asked(async (url) => {
    const variables = { commands: envelopes(ids) };
    const answer = await post(url, JSON.stringify({ query: SEND, variables }));
    expect(answer.data.sendCommands.map(({ view }: { view: object }) => view)).toEqual(
      ids.map((id) => ({ sum: { id, sum: 2 } })),
    );
  });
  // Not one by one: a partition's documents become readable together.
  expect(counts.view_sum_g1).toBeLessThanOrEqual(30);
});
