import { expect, test } from 'vitest';
import { createCausalReads } from '../../src/store/causal-reads.ts';
import { connect } from '../../src/store/connect.ts';
import type { PartitionDocument } from '../../src/store/documents.ts';
import { createPartitionStore, partitionId } from '../../src/store/partitions.ts';
import { createTransactions } from '../../src/store/transactions.ts';
import { testServers } from '../setup/servers.ts';

test('work that is never answered ends, and those that wait for its session go on', async () => {
  const { mongoUrl, database } = testServers();
  const { client, db } = await connect({ url: mongoUrl, database, appName: 'test' });
  await db.createCollection('things');
  const transactions = createTransactions(client, createCausalReads(client), 1);
  // As a command on a connection that dies in the wrong moment.
  const silent = transactions.run(async ({ session }) => {
    await db.collection('things').insertOne({ name: 'never' }, { session });
    return new Promise<boolean>(() => undefined);
  });
  const next = transactions.run(async ({ session }) => {
    await db.collection('things').insertOne({ name: 'next' }, { session });
    return true;
  });
  expect(await silent).toMatchObject({ kind: 'failed', error: { code: 'MONGODB_UNREACHABLE' } });
  expect((await next).kind).toBe('committed');
  expect(
    await db
      .collection('things')
      .find({}, { projection: { _id: 0 } })
      .toArray(),
  ).toEqual([{ name: 'next' }]);
  await transactions.close();
  await client.close();
});

/** As a process leaves it that is killed in the middle of a transaction. */
test('marks of partitions wait for none that is locked', async () => {
  const { mongoUrl, database } = testServers();
  const { client, db } = await connect({ url: mongoUrl, database, appName: 'test' });
  const store = createPartitionStore(client, db, 'main', createCausalReads(client));
  const refs = [0, 1, 2].map((partition) => ({ consumer: 'c', generation: 1, partition }));
  const documents = refs.map((ref) => {
    return { ...ref, _id: partitionId('main', ref), checkpoint: 0, revision: 0, updatedAt: new Date() };
  });
  const partitions = db.collection<PartitionDocument>('partitions');
  await partitions.insertMany(documents);
  const session = client.startSession();
  session.startTransaction();
  await partitions.updateOne({ _id: documents[0]?._id ?? '' }, { $set: { revision: 1 } }, { session });

  const mark = { position: 1, until: 9, count: 1 };
  await store.mark(refs.map((ref) => ({ ...ref, mark })));
  await store.mark([{ consumer: 'c', generation: 1, partition: 2, mark: undefined }]);
  const marksOf = async (options?: { marks: boolean }) => (await store.read(undefined, options)).map((one) => one.mark);
  expect(await marksOf({ marks: true })).toEqual([mark, mark, undefined]);
  expect(await marksOf()).toEqual([undefined, undefined, undefined]);

  await session.abortTransaction();
  await session.endSession();
  await store.close();
  await client.close();
});
