import { MongoClient } from 'mongodb';
import { afterAll, expect, test } from 'vitest';
import { schemaOf } from '../../resolvers/index.ts';
import { module, observer, readSettings, saga, start } from '../../src/index.ts';
import type { ConsumerDocument } from '../../src/store/documents.ts';
import { post } from '../setup/gateway.ts';
import { parcel } from '../setup/operators.ts';
import { testServers } from '../setup/servers.ts';
import { logger } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** What operators do with observers, which act on the outside world, and sagas, which have instances. */
const told: string[] = [];
let broken = false;
const notices = observer({
  name: 'notices',
  from: [parcel],
  startFrom: 'start',
  attempts: 1,
  on: {
    Moved: ({ stream, data }) => {
      if (broken) throw new Error('the line is dead');
      told.push(`${stream.id} ${data.to}`);
    },
  },
});
const echoed: string[] = [];
let silent = false;
const echoes = observer({
  name: 'echoes',
  from: [parcel],
  startFrom: 'start',
  attempts: 1,
  replays: true,
  on: {
    Moved: ({ stream, data }) => {
      if (silent) throw new Error('no echo');
      echoed.push(`${stream.id} ${data.to}`);
    },
  },
});
const trips = saga({
  name: 'trips',
  from: [parcel],
  startFrom: 'start',
  attempts: 1,
  initial: () => ({ moves: 0 }),
  on: {
    Moved: (state) => {
      if (broken) throw new Error('lost the way');
      return { state: { moves: state.moves + 1 } };
    },
  },
});
const servers = testServers();
const modules = [module({ name: 'kinds', parts: [parcel, notices, echoes, trips] })];
const app = await start({
  modules,
  schema: schemaOf(modules),
  settings: readSettings({
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    SWEEP_INTERVAL_MS: '250',
    PORT: '0',
  }),
  logger,
});
const mongo = await MongoClient.connect(servers.mongoUrl);
afterAll(async () => {
  await app.stop();
  await mongo.close();
});

async function data(query: string) {
  const answer = await post(app.url ?? '', JSON.stringify({ query }));
  if (answer.errors.length > 0) throw new Error(JSON.stringify(answer.errors));
  return answer.data;
}
const code = async (query: string) =>
  (await post(app.url ?? '', JSON.stringify({ query }))).errors[0]?.extensions.code ?? 'no error';
let movedCount = 0;
const move = async (id: string, to: string): Promise<void> => {
  await app.send(parcel, id, { type: 'Move', data: { to } });
  movedCount++;
};
const hears = (count: number) =>
  until(`${count} notices`, () => (told.length === count ? true : undefined), { seen: () => told });
/** With every move: what was accepted gets its position a little later. */
const level = (name: string) =>
  until(`${name} is level`, async () => {
    const { consumers } = await data('{ consumers { name caughtUp logEnd } }');
    const { caughtUp, logEnd } = consumers.find((one: { name: string }) => one.name === name);
    return caughtUp && Number(logEnd) === movedCount ? true : undefined;
  });
const reset = async (name: string, args: string) => {
  await data(`mutation { pauseConsumer(name: "${name}", reason: "r") { state } }`);
  const { resetConsumer } = await data(
    `mutation { resetConsumer(name: "${name}", ${args}, reason: "r") { documentCount deadLetterCount effects } }`,
  );
  await data(`mutation { resumeConsumer(name: "${name}", reason: "r") { state } }`);
  await level(name);
  return resetConsumer;
};
const letters = async (consumer: string) => {
  const query = `{ deadLetters(filter: { consumer: "${consumer}", state: DEAD }) { edges { node { id key position } } } }`;
  return (await data(query)).deadLetters.edges.map(({ node }: { node: { id: string } }) => node);
};
const healed = () =>
  until('all are healed', async () => {
    const { deadLetters } = await data('{ deadLetters { edges { node { id } } } }');
    return deadLetters.edges.length === 0 ? true : undefined;
  });

test('dead letters of observers and sagas are tried dry where that does nothing, retried and skipped', async () => {
  broken = true;
  await move('a', 'one');
  await move('b', 'two');
  const [notice, trip] = await until('both have two dead letters', async () => {
    const [of, other] = [await letters('notices'), await letters('trips')];
    return of.length === 2 && other.length === 2 ? [of[0], other[0]] : undefined;
  });
  broken = false;
  const dry = async (id: string) =>
    (await data(`{ previewRetry(filter: { ids: ["${id}"] }) { dryRun { result } } }`)).previewRetry.dryRun.result;
  expect(await dry(notice.id)).toBe('NOT_TRIED');
  expect(await dry(trip.id)).toBe('WOULD_SUCCEED');
  await data(`mutation { skipDeadLetter(id: "${notice.id}", reason: "nobody cares") { id } }`);
  await data('mutation { retryDeadLetters(filter: {}, reason: "the line is back") { id } }');
  await healed();
  await hears(1);
});

test('an observer that is set back passes what it had handled, unless it is told to repeat it', async () => {
  await move('a', 'three');
  await hears(2);
  await level('notices');
  const kept = await reset('notices', 'to: { start: true }');
  expect(kept.effects.join(' ')).toMatch(/passed without side effects/);
  await move('a', 'four');
  await hears(3);
  expect(told.at(-1)).toBe('a four');
  await level('notices');
  const repeated = await reset('notices', 'to: { start: true }, repeatEffects: true');
  expect(repeated.effects.join(' ')).toMatch(/happen again/);
  // Four events in the log.
  await hears(7);
});

test('a reset that was to repeat effects does so also when it is cut off before its end and asked for again', async () => {
  // Leaves what is not to be repeated up to here.
  await reset('notices', 'to: { start: true }');
  const before = told.length;
  const consumers = mongo.db(servers.database).collection<ConsumerDocument>('consumers');
  const kept = await consumers.findOne({ _id: 'main/notices/1' });
  expect(kept?.replayUntil).toBe(movedCount);
  const again = 'name: "notices", to: { start: true }, repeatEffects: true';
  await data('mutation { pauseConsumer(name: "notices", reason: "r") { state } }');
  await data(`mutation { resetConsumer(${again}, reason: "r") { position } }`);
  // As it lies there when its process died before the end.
  const resetting = { since: new Date(), position: 0, dropInstances: false, repeatEffects: true };
  await consumers.updateOne({ _id: 'main/notices/1' }, { $set: { resetting, replayUntil: movedCount } });
  const { previewReset } = await data(`{ previewReset(${again}) { effects } }`);
  expect(previewReset.effects.join(' ')).toMatch(/happen again/);
  await data(`mutation { resetConsumer(${again}, reason: "r") { position } }`);
  await data('mutation { resumeConsumer(name: "notices", reason: "r") { state } }');
  await hears(before + movedCount);
});

test('an event that waits behind a dead letter is counted once, however often a reset brings it again', async () => {
  broken = true;
  await move('c', 'nowhere');
  const [notice] = await until('it failed', async () => {
    const [found, trips] = [await letters('notices'), await letters('trips')];
    return found.length === 1 && trips.length === 1 ? found : undefined;
  });
  broken = false;
  await move('c', 'one');
  await move('c', 'two');
  const parkedCount = async () => {
    await level('notices');
    const { deadLetter } = await data(`{ deadLetter(id: "${notice.id}") { parkedCount } }`);
    return deadLetter.parkedCount;
  };
  expect(await parkedCount()).toBe(2);
  await reset('notices', `to: { position: "${notice.position}" }, repeatEffects: true`);
  expect(await parkedCount()).toBe(2);
  const before = told.length;
  await data('mutation { retryDeadLetters(filter: {}, reason: "the line is back") { id } }');
  await hears(before + 3);
  await healed();
});

test('a saga goes back only without its instances', async () => {
  await level('trips');
  const preview = 'previewReset(name: "trips", to: { start: true }';
  expect(await code(`{ ${preview}) { position } }`)).toBe('BAD_INPUT');
  const { previewReset } = await data(`{ ${preview}, dropInstances: true) { documentCount eventCount } }`);
  expect(previewReset).toEqual({ documentCount: 3, eventCount: 7 });
  await reset('trips', 'to: { start: true }, dropInstances: true');
  const moves = async (id: string) => (await data(`{ saga(name: "trips", id: "${id}") { state } }`)).saga?.state;
  expect(await moves('a')).toEqual({ moves: 3 });
  expect(await moves('b')).toEqual({ moves: 1 });
  // Forward with them.
  const forward = await reset('trips', 'to: { now: true }');
  expect(forward.documentCount).toBe(0);
  expect(await moves('a')).toEqual({ moves: 3 });
});

test('an observer that says it replays does so when it is set back, and the operator is told', async () => {
  await level('echoes');
  silent = true;
  await move('d', 'nowhere');
  const [letter] = await until('it failed', async () => {
    const found = await letters('echoes');
    return found.length === 1 ? found : undefined;
  });
  silent = false;
  await move('d', 'one');
  await level('echoes');
  const parkedCount = async () =>
    (await data(`{ deadLetter(id: "${letter.id}") { parkedCount } }`)).deadLetter.parkedCount;
  expect(await parkedCount()).toBe(1);
  const back = await reset('echoes', `to: { position: "${letter.position}" }`);
  expect(back.effects.join(' ')).toMatch(/happen again/);
  expect(back.effects.join(' ')).not.toMatch(/passed/);
  expect(await parkedCount()).toBe(1);
  await data('mutation { retryDeadLetters(filter: { consumer: "echoes" }, reason: "it echoes") { id } }');
  await until('both echo', () => echoed.at(-1) === 'd one' || undefined, { seen: () => echoed });
  expect(echoed.slice(-2)).toEqual(['d nowhere', 'd one']);
  await until('the key is healed', async () => {
    const { deadLetters } = await data('{ deadLetters(filter: { consumer: "echoes" }) { edges { node { id } } } }');
    return deadLetters.edges.length === 0 || undefined;
  });

  const count = echoed.length;
  const again = await reset('echoes', 'to: { start: true }');
  expect(again.deadLetterCount).toBe(0);
  await until('all echo again', () => echoed.length === 2 * count || undefined, { seen: () => echoed });
  expect(echoed.slice(count).sort()).toEqual(echoed.slice(0, count).sort());
});
