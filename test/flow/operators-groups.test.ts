import { createClient } from 'graphql-ws';
import { afterAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { socketUrl, values } from '../setup/gateway.ts';
import { type Bugs, startParcels } from '../setup/operators.ts';
import { until } from '../setup/until.ts';

/** Failures with three causes: half of them, and a quarter each. `OPERATORS_COUNT=10000` for as many as it is meant for. */
const COUNT = Number(process.env.OPERATORS_COUNT ?? 2_000);
const [HALF, QUARTER] = [COUNT / 2, COUNT / 4];
const causes = [
  (id: string) => new TypeError(`no stamp on parcel ${id}`),
  (id: string) => new RangeError(`parcel ${id} weighs 1${id.length} kg`),
  () => 'torn',
] as const;
let mended: number | undefined;
const bugs: Bugs = {
  trouble: (to, id) =>
    to === `cause-${mended}` || !to.startsWith('cause-') ? undefined : causes[Number(to.slice(6))]?.(id),
};
const parcels = await startParcels(bugs);
const sockets = createClient({ url: socketUrl(parcels.url), webSocketImpl: WebSocket });
afterAll(async () => {
  await sockets.dispose();
  await parcels.stop();
});
const { data, code } = parcels;

const GROUPS = `{ deadLetterGroups { fingerprint count deadCount retryingCount keyCount parkedCount consumers oldest newest
  sample { key error { type message } } } }`;
const RETRY = `mutation($filter: DeadLetterFilter!, $rate: Float) {
  retryDeadLetters(filter: $filter, ratePerSecond: $rate, reason: "mended") { id totalCount state } }`;
const STOP = 'mutation($id: ID!) { stopOperation(id: $id, reason: "enough") { state doneCount totalCount } }';
const groups = async () => (await data(GROUPS)).deadLetterGroups;

async function fail(): Promise<void> {
  const send = (index: number) => parcels.move(`parcel-${index}`, `cause-${Math.min(2, index % 4)}`);
  for (let start = 0; start < COUNT; start += 500) {
    await Promise.all(Array.from({ length: 500 }, (_, index) => send(start + index)));
  }
  // A second event for some: it waits.
  await Promise.all(Array.from({ length: 100 }, (_, index) => parcels.move(`parcel-${index}`, 'shelf')));
  await until(
    'all have failed and all else waits',
    async () => ((await parcels.letters.countDocuments({ state: 'DEAD' })) === COUNT ? true : undefined),
    { timeoutMs: 60_000 },
  );
  await until('100 wait', async () => ((await parcels.parked.countDocuments()) === 100 ? true : undefined));
}

test('many failures with three causes are three groups; a retry of one can be slowed, stopped and goes on', async () => {
  await fail();
  const three = await groups();
  expect(three.map((one: { count: number }) => one.count)).toEqual([HALF, QUARTER, QUARTER]);
  const [torn, ...others] = three;
  expect(torn).toMatchObject({
    deadCount: HALF,
    keyCount: HALF,
    retryingCount: 0,
    parkedCount: 50,
    consumers: ['places'],
    sample: { error: { type: 'string', message: 'torn' } },
  });
  expect(others.map((one: { sample: { error: { type: string } } }) => one.sample.error.type).sort()).toEqual([
    'RangeError',
    'TypeError',
  ]);
  const stamps = others.find((one: { sample: { error: { type: string } } }) => one.sample.error.type === 'TypeError');
  const filter = { fingerprint: stamps.fingerprint };
  const { previewRetry } = await data(
    'query($filter: DeadLetterFilter!) { previewRetry(filter: $filter) { keyCount eventCount consumers { name keyCount } dryRun { result } } }',
    { filter },
  );
  expect(previewRetry).toEqual({
    keyCount: QUARTER,
    eventCount: QUARTER + 25,
    consumers: [{ name: 'places', keyCount: QUARTER }],
    dryRun: null,
  });

  // The first cause is mended.
  mended = 0;
  const startedMs = performance.now();
  // All of them would take twenty seconds: it is stopped long before, however late this process gets its turn.
  const { retryDeadLetters } = await data(RETRY, { filter, rate: 25 });
  expect(retryDeadLetters).toMatchObject({ totalCount: QUARTER, state: 'RUNNING' });
  // Another operator, for the same or for some of them.
  expect(await code(RETRY, { filter })).toBe('OPERATION_RUNNING');
  expect(await code(RETRY, { filter: { consumer: 'places' } })).toBe('OPERATION_RUNNING');
  const { id } = retryDeadLetters;
  const query = `subscription { operationProgress(id: "${id}") { state doneCount totalCount } }`;
  type Progress = { readonly data?: { readonly operationProgress: { state: string; doneCount: number } } | null };
  const progress = values(sockets.iterate({ query }) as AsyncIterable<Progress>);
  let seen = 0;
  while (seen < 50) {
    const now = (await progress.next('progress')).data?.operationProgress;
    expect(now?.doneCount).toBeGreaterThanOrEqual(seen);
    seen = now?.doneCount ?? 0;
  }
  const { stopOperation } = await data(STOP, { id });
  const tookS = (performance.now() - startedMs) / 1_000;
  expect(stopOperation.state).toBe('STOPPED');
  for (;;) {
    const now = (await progress.next('the end')).data?.operationProgress;
    if (now?.state !== 'RUNNING') break;
  }
  await progress.end();
  expect(tookS).toBeGreaterThan(1.5);
  const healedCount = () => parcels.db.collection('view_place_g1').countDocuments();
  const done = await until('what was released is healed', async () => {
    const { operation } = await data(`{ operation(id: "${id}") { state doneCount } }`);
    return operation.doneCount === (await healedCount()) ? operation.doneCount : undefined;
  });
  expect(done).toBeGreaterThanOrEqual(50);
  expect(done).toBeLessThan(25 * tookS + 50);
  const left = await groups();
  expect(left.find((one: { fingerprint: string }) => one.fingerprint === stamps.fingerprint)).toMatchObject({
    count: QUARTER - done,
    deadCount: QUARTER - done,
  });

  // The rest of them, fast; and those that are not mended are dead again.
  const rest = (await data(RETRY, { filter, rate: 5_000 })).retryDeadLetters;
  expect(rest.totalCount).toBe(QUARTER - done);
  const ofGroup = { 'error.fingerprint': stamps.fingerprint };
  await until(
    'the group is gone',
    async () => ((await parcels.letters.countDocuments(ofGroup)) === 0 ? true : undefined),
    {
      timeoutMs: 30_000,
    },
  );
  expect(await groups()).toHaveLength(2);
  expect(await healedCount()).toBe(QUARTER);
  const again = (await data(RETRY, { filter: { fingerprint: torn.fingerprint, key: 'parcel-2' } })).retryDeadLetters;
  await until('it is over', async () => {
    const { operation } = await data(`{ operation(id: "${again.id}") { state } }`);
    return operation.state === 'DONE' ? true : undefined;
  });
  await until('it is dead again', async () =>
    (await parcels.letters.countDocuments({ state: 'DEAD' })) === COUNT - QUARTER ? true : undefined,
  );
});

test('a group is given up with a reason, one entry in the audit each', async () => {
  const [torn] = await groups();
  const filter = { fingerprint: torn.fingerprint };
  const skip = `mutation($filter: DeadLetterFilter!) {
    skipDeadLetters(filter: $filter, ratePerSecond: 5000, reason: "torn for good") { id totalCount } }`;
  const { skipDeadLetters } = await data(skip, { filter });
  expect(skipDeadLetters.totalCount).toBe(HALF);
  await until(
    'it is over',
    async () => {
      const { operation } = await data(`{ operation(id: "${skipDeadLetters.id}") { state doneCount } }`);
      return operation.state === 'DONE' ? (expect(operation.doneCount).toBe(HALF) ?? true) : undefined;
    },
    { timeoutMs: 30_000 },
  );
  expect(await parcels.db.collection('audit').countDocuments({ action: 'deadLetter.skip' })).toBe(HALF);
  // What waited behind them was handled.
  await until('nothing of the group is left', async () => ((await groups()).length === 1 ? true : undefined));
  expect((await data('{ place(id: "parcel-2") { place } }')).place).toEqual({ place: 'shelf' });
});
