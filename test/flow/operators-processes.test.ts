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
  await until(
    'the second one has done the rest',
    async () => ((await operation()).state === 'DONE' ? true : undefined),
    {
      timeoutMs: 15_000,
    },
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
}, 60_000);
