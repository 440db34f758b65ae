import { expect, test } from 'vitest';
import { createCausalReads } from '../../src/store/causal-reads.ts';
import { connect } from '../../src/store/connect.ts';
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
