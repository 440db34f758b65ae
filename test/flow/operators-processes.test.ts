import { afterAll, expect, test } from 'vitest';
import { type Bugs, type Parcels, startParcels } from '../setup/operators.ts';
import { testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

/** A gateway without workers, and workers that come and go. */
const COUNT = 200;
const bugs: Bugs = { trouble: (to) => (to === 'bad' ? new Error('bad') : undefined) };
const servers = testServers();
const opened: Parcels[] = [];
const open = async (role: 'gateway' | 'worker'): Promise<Parcels> => {
  const one = await startParcels(bugs, { servers, role });
  opened.push(one);
  return one;
};
afterAll(async () => {
  for (const one of opened.reverse()) await one.stop();
});

test('an operation goes on when its worker leaves; what it counts is what was done', async () => {
  const gateway = await open('gateway');
  const first = await open('worker');
  await Promise.all(Array.from({ length: COUNT }, (_, index) => gateway.move(`p-${index}`, 'bad')));
  await gateway.blocked(COUNT);
  bugs.trouble = () => undefined;
  // A gateway alone can try a handler dry, too.
  const [letter] = await gateway.letters.find().limit(1).toArray();
  const dry = `{ previewRetry(filter: { ids: ["${letter?._id}"] }) { dryRun { result } } }`;
  expect((await gateway.data(dry)).previewRetry.dryRun).toEqual({ result: 'WOULD_SUCCEED' });
  const { retryDeadLetters } = await gateway.data(
    'mutation { retryDeadLetters(filter: {}, ratePerSecond: 100, reason: "mended") { id totalCount } }',
  );
  expect(retryDeadLetters.totalCount).toBe(COUNT);
  const operation = async () =>
    (await gateway.data(`{ operation(id: "${retryDeadLetters.id}") { state doneCount totalCount } }`)).operation;
  await until('it is under way', async () => ((await operation()).doneCount > 20 ? true : undefined));
  const second = await open('worker');
  await first.app.stop();
  await until('the second one has done the rest', async () =>
    (await operation()).state === 'DONE' ? true : undefined,
  );
  expect(await operation()).toEqual({ state: 'DONE', doneCount: COUNT, totalCount: COUNT });
  await until('all are healed', async () => ((await gateway.letters.countDocuments()) === 0 ? true : undefined));
  expect(await gateway.db.collection('view_place_g1').countDocuments({ moves: 1 })).toBe(COUNT);

  // Both of two processes stop at a pause, and neither goes on before it is resumed.
  await open('worker');
  await gateway.data('mutation { pauseConsumer(name: "places", reason: "all of them") { state } }');
  await Promise.all(Array.from({ length: 50 }, (_, index) => gateway.move(`p-${index}`, 'home')));
  await until('the other consumer has handled all', async () => {
    const { moveCount } = await gateway.data('{ moveCount(id: "all") { count } }');
    return moveCount.count === COUNT + 50 ? true : undefined;
  });
  expect(await gateway.db.collection('view_place_g1').countDocuments({ place: 'home' })).toBe(0);
  await gateway.data('mutation { resumeConsumer(name: "places", reason: "go") { state } }');
  await until('they went on', async () =>
    (await gateway.db.collection('view_place_g1').countDocuments({ place: 'home' })) === 50 ? true : undefined,
  );
  await second.app.stop();
});

test('a retry or skip is done by the process that runs the version, whoever came first; what none runs is said to be left', async () => {
  const rolling: Bugs = { trouble: () => new Error('bad') };
  const own = testServers();
  const old = await startParcels(rolling, { servers: own, role: 'worker', version: 1 });
  const now = await startParcels(rolling, { servers: own, version: 2 });
  opened.push(old, now);
  const letterOf = async (generation: number, key: string): Promise<string> =>
    (await now.letters.findOne({ generation, key }))?._id ?? 'none';
  const SKIP = 'mutation($id: ID!) { skipDeadLetter(id: $id, reason: "given up") { id } }';
  const retryAll = async (filter: object) => {
    const retry = 'mutation($filter: DeadLetterFilter!) { retryDeadLetters(filter: $filter, reason: "mended") { id } }';
    const { id } = (await now.data(retry, { filter })).retryDeadLetters;
    return until('it is over', async () => {
      const { operation } = await now.data(`{ operation(id: "${id}") { state doneCount totalCount error } }`);
      return operation.state === 'RUNNING' ? undefined : operation;
    });
  };
  await Promise.all(['a', 'b', 'c'].map((id) => now.move(id, 'bad')));
  await now.blocked(6);
  await now.data(SKIP, { id: await letterOf(2, 'a') });
  await now.blocked(5);
  rolling.trouble = () => undefined;
  expect(await retryAll({ key: 'b' })).toEqual({ state: 'DONE', doneCount: 2, totalCount: 2, error: null });
  expect(await now.letters.countDocuments()).toBe(3);

  await old.app.stop();
  const lonely = await letterOf(1, 'a');
  expect(await now.code(SKIP, { id: lonely })).toBe('CONSUMER_NOT_RUNNING');
  const retryOne = 'mutation($id: ID!) { retryDeadLetters(filter: { ids: [$id] }, reason: "mended") { id } }';
  expect(await now.code(retryOne, { id: lonely })).toBe('CONSUMER_NOT_RUNNING');
  expect(await retryAll({})).toEqual({
    state: 'FAILED',
    doneCount: 1,
    totalCount: 3,
    error: expect.stringMatching(/no process runs .*: 2 of "places" \(generation 1\)/),
  });
  expect(await now.letters.countDocuments({ generation: 1 })).toBe(2);
});
