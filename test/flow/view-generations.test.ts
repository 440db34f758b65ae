import { EventEmitter, once } from 'node:events';
import { expect, test } from 'vitest';
import { z } from 'zod';
import type { ConsumerModel } from '../../src/define/model.ts';
import { type ConsumerControlDeps, createConsumerControls } from '../../src/engine/operators/consumer-controls.ts';
import { buildModel, module, projector, type StartFrom, view } from '../../src/index.ts';
import { deadLetterId } from '../../src/store/dead-letters.ts';
import type { AuditDocument, ConsumerDocument, LogDocument, ServedViewDocument } from '../../src/store/documents.ts';
import { createPastStore } from '../../src/store/view-past.ts';
import { counter } from '../setup/counter.ts';
import { deliveryFixture } from '../setup/delivery.ts';

const fixture = await deliveryFixture();
const { store } = fixture;
const { db } = fixture.connection;
const consumers = db.collection<ConsumerDocument>('consumers');
const views = db.collection<ServedViewDocument>('views');
const logId = store.logId;

function projectorOf(
  name: string,
  options: { readonly version?: number; readonly into: string; readonly startFrom?: StartFrom },
) {
  const into = view(options.into, z.object({ id: z.string() }));
  const { version = 1, startFrom = 'start' } = options;
  const on = {
    Counted: (_doc: unknown, { stream }: { readonly stream: { readonly id: string } }) => ({ id: stream.id }),
  };
  return buildModel([
    module({ name: 'm', parts: [counter, into, projector({ name, version, from: [counter], into, startFrom, on })] }),
  ]);
}
const only = ({ consumers: [consumer] }: { readonly consumers: readonly ConsumerModel[] }): ConsumerModel => {
  if (consumer === undefined) throw new Error('the model has no consumer');
  return consumer;
};
const swapsOf = async (name: string) =>
  (await views.findOne({ _id: `${logId}/${name}` }))?.swaps.map(({ generation }) => generation);
/** As if nobody had written for it for a minute. */
const age = () => db.collection('partitions').updateMany({}, { $set: { updatedAt: new Date(Date.now() - 60_000) } });
const controls = (other: Partial<ConsumerControlDeps> = {}) =>
  createConsumerControls({
    logId,
    model: projectorOf('other', { into: 'other' }),
    store: store.operators,
    partitions: store.partitions,
    instances: store.instances,
    leases: store.leases,
    end: store.log.end,
    hints: { publish: () => undefined },
    ...other,
  });
const call = { actor: null, reason: 'test' };
const exists = async (name: string) => (await db.listCollections({ name }).toArray()).length > 0;

test('a projector under another name is refused its view until the old one is retired', async () => {
  await store.consumers.ensure(only(projectorOf('stocks', { into: 'stock' })));
  const renamed = only(projectorOf('items', { into: 'stock' }));
  const refused = { code: 'DEFINITION_INVALID', message: expect.stringContaining('is kept by projector "stocks"') };
  await expect(store.consumers.ensure(renamed)).rejects.toMatchObject(refused);
  expect(await consumers.findOne({ consumer: 'items' })).toBeNull();
  await age();
  await controls().retireConsumer('stocks', 1, call);
  expect(await swapsOf('stock')).toBeUndefined();
  await store.consumers.ensure(renamed);
  expect(await swapsOf('stock')).toEqual([1]);
});

test('retiring a generation leaves a collection alone that another projector writes', async () => {
  await store.consumers.ensure(only(projectorOf('kept', { into: 'shared' })));
  // Let in by code that did not refuse it.
  const { _id, ...rest } = (await consumers.findOne({ consumer: 'kept' })) ?? {};
  await consumers.insertOne({ ...rest, _id: `${logId}/late/1`, consumer: 'late' } as ConsumerDocument);
  await controls().retireConsumer('late', 1, call);
  expect(await exists('view_shared_g1')).toBe(true);
  expect(await swapsOf('shared')).toEqual([1]);
});

test('a projector that goes over to another view reads what it builds there', async () => {
  await store.consumers.ensure(only(projectorOf('moving', { into: 'before' })));
  await store.consumers.ensure(only(projectorOf('moving', { version: 2, into: 'after' })));
  expect(await swapsOf('after')).toEqual([2]);
});

test("a rebuild of a projector that began 'now' begins where that one began", async () => {
  const log = [1, 2, 3].map((_id) => ({ _id, stream: 's', version: _id, type: 'Counted' }));
  await db.collection<LogDocument>('events').insertMany(log as never);
  const at = (version: number) => only(projectorOf('late', { version, into: 'lates', startFrom: 'now' }));
  expect((await store.consumers.ensure(at(1))).startPosition).toBe(3);
  await db.collection<LogDocument>('events').insertOne({ _id: 4, stream: 's', version: 4, type: 'Counted' } as never);
  expect((await store.consumers.ensure(at(2))).startPosition).toBe(3);
});

test('a retirement that was cut short is finished by the next one, and nothing is built meanwhile', async () => {
  const model = only(projectorOf('cut', { into: 'cuts' }));
  const ref = { consumer: 'cut', generation: 1 };
  await store.consumers.ensure(model);
  await age();
  const audit = { _id: 'cut', logId, at: new Date(), action: 'consumer.retire' } as never;
  expect((await store.operators.consumers.retire(ref, new Date(), audit)).kind).toBe('committed');
  // Whoever did it died here.
  await expect(store.consumers.ensure(model)).rejects.toMatchObject({ code: 'CONSUMER_NOT_RUNNING' });
  expect(await exists('view_cuts_g1')).toBe(true);
  await controls().retireConsumer('cut', 1, call);
  expect(await exists('view_cuts_g1')).toBe(false);
  expect(await swapsOf('cuts')).toBeUndefined();
  expect(await db.collection('partitions').countDocuments({ consumer: 'cut' })).toBe(0);
  await expect(controls().retireConsumer('cut', 1, call)).rejects.toMatchObject({ code: 'UNKNOWN_CONSUMER' });
  await store.consumers.ensure(model);
  expect(await swapsOf('cuts')).toEqual([1]);
});

test('of two retirements at once the slower one leaves alone what is built anew after the other', async () => {
  const model = only(projectorOf('twice', { into: 'twices' }));
  await store.consumers.ensure(model);
  await age();
  const turns = new EventEmitter();
  const [removes, rebuilt, waits] = ['removes', 'rebuilt', 'waits'].map((name) => once(turns, name));
  const { consumers: controlled } = store.operators;
  const removeAll: typeof controlled.removeAll = async (...given) => {
    turns.emit('removes');
    await rebuilt;
    await controlled.removeAll(...given);
  };
  const slow = { store: { ...store.operators, consumers: { ...controlled, removeAll } } };
  const slower = controls(slow).retireConsumer('twice', 1, call);
  await removes;
  const acquire: typeof store.leases.acquire = async (...given) => {
    const isHeld = await store.leases.acquire(...given);
    if (!isHeld) turns.emit('waits');
    return isHeld;
  };
  const other = controls({ leases: { ...store.leases, acquire } }).retireConsumer('twice', 1, call);
  const anew = other.catch(({ code }) => code).then(async (code) => [code, await store.consumers.ensure(model)]);
  await Promise.race([anew, waits]);
  turns.emit('rebuilt');
  await slower;
  const [refusal] = await anew;
  expect(await exists('view_twices_g1')).toBe(true);
  expect(await swapsOf('twices')).toEqual([1]);
  expect(await db.collection('partitions').countDocuments({ consumer: 'twice' })).toBe(16);
  expect(refusal).toBe('UNKNOWN_CONSUMER');
});

test('a rebuild that was swapped in at the same moment is not paused: what it keeps is read', async () => {
  for (const version of [1, 2]) await store.consumers.ensure(only(projectorOf('held', { version, into: 'holds' })));
  const ref = { consumer: 'held', generation: 2 };
  const entry = (action: string) => ({ _id: `${action} held`, logId, at: new Date(), action }) as AuditDocument;
  const paused = { since: new Date(), ...call };
  const { consumers: controlled, views: served } = store.operators;
  const swap = { generation: 2, at: new Date(), position: 0, ...call };
  const move = { view: 'holds', ref, partitionCount: 16, swap, audit: entry('swap') };
  expect((await served.swap(move)).kind).toBe('committed');
  const pausing = (options: { readonly onlyBuilding: boolean }) =>
    controlled.pause(ref, paused, entry('pause'), options);
  expect((await pausing({ onlyBuilding: true })).kind).toBe('refused');
  expect((await controlled.find(ref))?.paused).toBeUndefined();
  expect((await pausing({ onlyBuilding: false })).kind).toBe('committed');
});

test('the past of a build that was aborted and started again knows nothing of skips and resets of the one before', async () => {
  await store.consumers.ensure(only(projectorOf('again', { into: 'agains' })));
  const ref = { consumer: 'again', generation: 1 };
  const skip = { action: 'deadLetter.skip', target: deadLetterId(logId, ref, 'k'), before: { position: 3 } };
  const reset = { action: 'consumer.reset', target: 'again/1', after: { position: 2 } };
  const audit = [skip, reset, { ...skip, before: { position: 4 } }].map((entry, index) => {
    return { ...entry, _id: `past ${index}`, logId, at: new Date(Date.now() + index) };
  });
  await db.collection<AuditDocument>('audit').insertMany(audit as never);
  const past = createPastStore(fixture.connection.client, db, logId);
  expect(await past.basis(ref, 'k')).toEqual({ after: 2, wasReset: true, skipped: new Set([4]) });
  await consumers.updateOne({ consumer: 'again' }, { $set: { startedAt: new Date(Date.now() + 1_000) } });
  expect(await past.basis(ref, 'k')).toEqual({ after: 0, wasReset: false, skipped: new Set() });
});
