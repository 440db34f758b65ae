import { expect, test } from 'vitest';
import { buildModel, module, observer } from '../../src/index.ts';
import { deadLetterId, parkedEventId } from '../../src/store/dead-letters.ts';
import type { AuditDocument, LogDocument, ParkedEventDocument, PartitionDocument } from '../../src/store/documents.ts';
import { counter } from '../setup/counter.ts';
import { deliveryFixture } from '../setup/delivery.ts';

const mails = observer({ name: 'mails', from: [counter], on: { Counted: () => undefined } });
const model = buildModel([module({ name: 'counts', parts: [counter, mails] })]);

test('a reset keeps what waits behind a dead letter and will be passed over, and takes away what comes again', async () => {
  const { store, connection } = await deliveryFixture();
  const { db } = connection;
  const [consumer] = model.consumers;
  if (consumer === undefined) throw new Error('the model has no consumer');
  await store.consumers.ensure(consumer);
  const ref = { consumer: 'mails', generation: 1, partition: 3 };
  const paused = { $set: { paused: true, checkpoint: 20, blockedCount: 1 } };
  await db.collection<PartitionDocument>('partitions').updateOne(ref, paused);
  const id = deadLetterId(store.logId, ref, 'k');
  const letter = { _id: id, logId: store.logId, ...ref, key: 'k', state: 'DEAD', position: 10, parkedCount: 4 };
  await db.collection('dead_letters').insertOne(letter as never);
  const parked = db.collection<ParkedEventDocument>('parked_events');
  const waiting = [12, 14, 16, 20].map((position) => {
    return { _id: parkedEventId(id, position), deadLetter: id, ...ref, key: 'k', position };
  });
  await parked.insertMany(waiting);
  const { consumers } = store.operators;
  const reset = { ref, position: 5, documents: undefined, deadLetters: 'none', againAfter: 14 } as const;
  expect(await consumers.resetPartition(reset)).toMatchObject({ checkpoint: 5, blockedCount: 1 });
  const left = await parked.find().sort({ _id: 1 }).toArray();
  expect(left.map(({ position }) => position)).toEqual([12, 14]);
  expect(await db.collection('dead_letters').findOne({})).toMatchObject({ parkedCount: 2 });
});

test('an observer that was retired and is deployed again, in a rollback, begins as if it were new and sends nothing twice', async () => {
  const { store, connection } = await deliveryFixture();
  const { db } = connection;
  const [consumer] = model.consumers;
  if (consumer === undefined) throw new Error('the model has no consumer');
  await store.consumers.ensure(consumer);
  const log = [1, 2, 3].map((_id) => ({ _id, stream: 's', version: _id, type: 'Counted' }));
  await db.collection<LogDocument>('events').insertMany(log as never);

  const ref = { consumer: 'mails', generation: 1 };
  const { consumers } = store.operators;
  const audit = { _id: 'a', logId: store.logId, at: new Date(), action: 'consumer.retire' } as AuditDocument;
  expect((await consumers.retire(ref, new Date(), audit)).kind).toBe('committed');
  await consumers.removeAll(ref, []);
  expect(await consumers.list()).toEqual([]);

  // Two processes of the old version start at once.
  const [one, two] = await Promise.all([store.consumers.ensure(consumer), store.consumers.ensure(consumer)]);
  expect([one.startPosition, two.startPosition]).toEqual([3, 3]);
  expect(one.retiredAt).toBeUndefined();
  const partitions = await db.collection<PartitionDocument>('partitions').find({ consumer: 'mails' }).toArray();
  expect(new Set(partitions.map(({ checkpoint }) => checkpoint))).toEqual(new Set([3]));
  // Operators see it again, and can pause it.
  expect(await consumers.list()).toMatchObject([{ consumer: 'mails', generation: 1 }]);
});
