import { setTimeout as pause } from 'node:timers/promises';
import { MongoClient } from 'mongodb';
import { afterAll, expect, test } from 'vitest';
import { createConsumerControlStore } from '../../src/store/consumer-controls.ts';
import type { ConsumerDocument, PartitionDocument } from '../../src/store/documents.ts';
import { viewCollectionName } from '../../src/store/view-documents.ts';
import { startParcels } from '../setup/operators.ts';
import { until } from '../setup/until.ts';

const parcels = await startParcels({ trouble: () => undefined });
const client = await MongoClient.connect(parcels.servers.mongoUrl);
const logId = 'main';
const store = createConsumerControlStore(client, client.db(parcels.servers.database), logId);
afterAll(async () => {
  await store.close();
  await client.close();
  await parcels.stop();
});
const { data, ask, move } = parcels;
const ref = { consumer: 'places', generation: 1 };

const PAUSE = 'mutation { pauseConsumer(name: "places", reason: "look") { state } }';
const RESUME = 'mutation { resumeConsumer(name: "places", reason: "go on") { state } }';
const RESET = 'mutation { resetConsumer(name: "places", to: { start: true }, reason: "anew") { position } }';
const place = async (id: string) => (await data('query($id: ID!) { place(id: $id) { place moves } }', { id })).place;
const partitions = () => parcels.db.collection<PartitionDocument>('partitions').find({ consumer: 'places' }).toArray();
const consumer = () => parcels.db.collection<ConsumerDocument>('consumers').findOne({ consumer: 'places' });
const moved = (id: string, to: string) =>
  until(`${id} is at ${to}`, async () => ((await place(id))?.place === to ? true : undefined));

test('a process that hears of a pause when it is over stops nobody', async () => {
  await move('a', 'one');
  await moved('a', 'one');
  await data(PAUSE);
  // A worker has read this and is slow to mark the partitions.
  const heard = await store.find(ref);
  expect(heard?.paused).toBeDefined();
  await data(RESUME);
  await store.mark(ref, heard);
  expect((await partitions()).filter(({ paused }) => paused)).toEqual([]);
  await move('a', 'two');
  await moved('a', 'two');
});

test('a process that hears of a resume when it is over sets nobody going', async () => {
  await data(PAUSE);
  await data(RESUME);
  const heard = await store.find(ref);
  expect(heard).toBeDefined();
  await data(PAUSE);
  await store.mark(ref, heard);
  expect((await partitions()).every(({ paused }) => paused)).toBe(true);
  await data(RESUME);
});

test('who resumes and who resets at the same time: one of them wins, and the partitions are as the consumer says', async () => {
  for (let round = 0; round < 15; round++) {
    await data(PAUSE);
    const resumed = pause((round % 5) * 2).then(() => ask(RESUME));
    const [reset, resume] = await Promise.all([ask(RESET), resumed]);
    const codes = [reset, resume].map(({ errors }) => errors[0]?.extensions.code ?? 'done');
    for (const code of codes) expect(['done', 'CONSUMER_RUNNING']).toContain(code);
    expect(codes).toContain('done');
    const { paused, resetting } = (await consumer()) ?? {};
    expect(resetting).toBeUndefined();
    const marks = (await partitions()).map((one) => one.paused === true);
    expect([...new Set(marks)]).toEqual([paused !== undefined]);
    if (paused !== undefined) await data(RESUME);
  }
  await move('a', 'three');
  await moved('a', 'three');
  expect(await place('a')).toEqual({ place: 'three', moves: 3 });
});

test('a reset that was forgotten and goes on when its consumer runs again buries nothing', async () => {
  const documents = { collection: viewCollectionName({ view: 'place', generation: 1 }), how: 'bury' } as const;
  for (const { partition } of await partitions()) {
    const late = store.resetPartition({
      ref: { ...ref, partition },
      position: 0,
      documents,
      deadLetters: 'all',
      againAfter: 0,
    });
    await expect(late).rejects.toMatchObject({ code: 'FENCED' });
  }
  expect(await place('a')).toEqual({ place: 'three', moves: 3 });
});
