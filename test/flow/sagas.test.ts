import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { endedSagas } from '../../src/engine/sweep/ended-sagas.ts';
import { aggregate, module, type RunningApp, type SagaTimelineStep, saga } from '../../src/index.ts';
import { deadLetterId } from '../../src/store/dead-letters.ts';
import { createDeliveryStore } from '../../src/store/delivery-store.ts';
import type { LogDocument, QueuedCommandDocument, SagaDocument, SagaKeyDocument } from '../../src/store/documents.ts';
import { sagaKeyId } from '../../src/store/sagas.ts';
import { sagaApps } from '../setup/saga-apps.ts';
import { order, shopModule } from '../setup/shop.ts';
import { until } from '../setup/until.ts';

const shop = sagaApps();
const parcels = sagaApps();

const TRACKING = { consumer: 'tracking', generation: 1 };
const OVER_AT_START: SagaKeyDocument = {
  ...{ _id: sagaKeyId('main', TRACKING, 'over'), ...TRACKING, partition: 0, key: 'over', instance: 'gone' },
  expiresAt: new Date(0),
};

const place = (app: RunningApp, id: string, sku = 'tea', amount = 7) =>
  app.send(order, id, { type: 'PlaceOrder', data: { sku, amount } });

/** Types of the events that a flow of one order made, as far as they carry it. */
async function eventsOf(id: string): Promise<readonly string[]> {
  const mine = {
    $or: [{ 'data.orderId': id }, { stream: { $in: [`default/order/${id}`, `default/shipment/${id}`] } }],
  };
  const found = await shop.db.collection<LogDocument>('events').find(mine).sort({ _id: 1 }).toArray();
  return found.map(({ type }) => type);
}
const ended = (app: RunningApp, id: string) =>
  until(`the saga of ${id} to end`, async () => {
    const record = await app.runtime.saga('fulfilment', id);
    return record?.status === 'ENDED' ? record : undefined;
  });
const shown = ({ kind, name, sent }: SagaTimelineStep) => ({
  kind,
  name,
  sent: sent.map((one) => [one.type, one.state]),
});

describe('an order', () => {
  let app: RunningApp;
  beforeAll(async () => {
    app = await shop.start(shopModule({ startFrom: 'start' }).module);
  });

  test('is paid, shipped and completed by its saga, and its timeline tells how', async () => {
    const id = `o-${randomUUID()}`;
    await place(app, id);
    const record = await ended(app, id);
    expect(record).toMatchObject({ status: 'ENDED', stepCount: 3, timers: [], state: { step: 'done' } });
    await until('the last command is settled', async () => (await eventsOf(id)).length === 4 || undefined);
    expect(await eventsOf(id)).toEqual(['OrderPlaced', 'Paid', 'Shipped', 'OrderCompleted']);
    const steps = await until('the timeline knows', async () => {
      const timeline = await app.runtime.sagaTimeline(record);
      return timeline.at(-1)?.sent[0]?.state === 'ACCEPTED' ? timeline : undefined;
    });
    expect(steps.map(shown)).toEqual([
      { kind: 'event', name: 'OrderPlaced', sent: [['Pay', 'ACCEPTED']] },
      { kind: 'event', name: 'Paid', sent: [['Ship', 'ACCEPTED']] },
      { kind: 'event', name: 'Shipped', sent: [['CompleteOrder', 'ACCEPTED']] },
    ]);
    const queued = await shop.db
      .collection<QueuedCommandDocument>('queued_commands')
      .find({ 'sender.key': id })
      .toArray();
    expect(queued.map(({ meta }) => meta.depth)).toEqual([1, 2, 3]);
    expect(new Set(queued.map(({ meta }) => meta.correlationId)).size).toBe(1);
  });

  test('that cannot be shipped is repaid: the refusal comes back to the saga', async () => {
    const id = `o-${randomUUID()}`;
    await place(app, id, 'unicorn');
    const record = await ended(app, id);
    await until('the order has failed', async () => (await eventsOf(id)).includes('OrderFailed') || undefined);
    expect(await eventsOf(id)).toEqual(['OrderPlaced', 'Paid', 'Repaid', 'OrderFailed']);
    const steps = await app.runtime.sagaTimeline(record);
    expect(steps[2]).toMatchObject({ kind: 'refusal', name: 'Ship', refusal: { code: 'SOLD_OUT' } });
    expect(steps[1]?.sent).toMatchObject([{ type: 'Ship', state: 'REJECTED', refusal: { code: 'SOLD_OUT' } }]);
    const left = await shop.db.collection('queued_commands').countDocuments({ 'sender.key': id, tell: true });
    expect(left).toBe(0);
  });
});

describe('several correlation keys', () => {
  const parcel = aggregate({
    name: 'parcel',
    events: {
      Packed: z.object({ orders: z.array(z.string()), code: z.string() }),
      Moved: z.object({ code: z.string(), to: z.string() }),
    },
    commands: {
      Pack: z.object({ orders: z.array(z.string()), code: z.string() }),
      Move: z.object({ code: z.string(), to: z.string() }),
    },
    initial: () => null,
    evolve: { Packed: () => null, Moved: () => null },
    decide: {
      Pack: (_s, data) => ({ type: 'Packed', data }),
      Move: (_s, data) => ({ type: 'Moved', data }),
    },
  });
  let broken = false;
  const tracking = saga({
    name: 'tracking',
    from: [parcel],
    attempts: 1,
    keys: (event) =>
      event.type === 'Packed'
        ? [...event.data.orders.map((id) => `order:${id}`), `parcel:${event.stream.id}`]
        : [`code:${event.data.code}`],
    starts: ['Packed'],
    initial: (): { readonly at: readonly string[] } => ({ at: [] }),
    on: {
      Packed: (_s, { data }) => {
        if (broken) throw new Error('a bug');
        return { keys: [`code:${data.code}`] };
      },
      Moved: ({ at }, { data }) => ({ state: { at: [...at, data.to] }, end: data.to === 'home' }),
    },
  });
  let app: RunningApp;
  beforeAll(async () => {
    await parcels.db.collection<SagaKeyDocument>('saga_keys').insertOne(OVER_AT_START);
    app = await parcels.start(module({ name: 'parcels', parts: [parcel, tracking] }));
  });
  const pack = (id: string, orders: readonly string[]) =>
    app.send(parcel, id, { type: 'Pack', data: { orders: [...orders], code: `c-${id}` } });
  const move = (id: string, to: string) =>
    app.send(parcel, `scanner-${to}`, { type: 'Move', data: { code: `c-${id}`, to } });
  const inLog = async (id: string) =>
    (await parcels.db.collection<LogDocument>('events').countDocuments({ stream: `default/parcel/${id}` })) > 0;
  const at = (key: string, places: readonly string[]) =>
    until(`${key} is at ${places.join(', ')}`, async () => {
      const record = await app.runtime.saga('tracking', key);
      return JSON.stringify(record?.state) === JSON.stringify({ at: places }) ? record : undefined;
    });

  test('lead to one instance: those of the first event and those that it learns', async () => {
    await pack('p', ['1', '2']);
    await move('p', 'harbour');
    const record = await at('order:2', ['harbour']);
    expect(record).toMatchObject({ id: 'order:1', keys: ['order:1', 'order:2', 'parcel:p', 'code:c-p'] });
    await move('p', 'door');
    await at('code:c-p', ['harbour', 'door']);
    // Nobody packed it: there is no instance, and none begins.
    await move('q', 'nowhere');
    await pack('last', ['9']);
    await at('parcel:last', []);
    expect(await app.runtime.saga('tracking', 'code:c-q')).toBeUndefined();
  });

  test('of an event that failed lead to its dead letter: what comes later under any of them waits', async () => {
    broken = true;
    await pack('x', ['5', '6']);
    const letter = await until('the dead letter', async () => {
      const record = await app.runtime.saga('tracking', 'order:5');
      return record && (await app.runtime.sagaDeadLetter(record));
    });
    await pack('x', ['6', '7']);
    await until('it waits', async () => {
      const [edge] = (await app.runtime.operators.deadLetters({ ids: [letter.id] }, {})).edges;
      return edge?.node.parkedCount === 1 || undefined;
    });
    broken = false;
    await app.runtime.operators.retryDeadLetters({ ids: [letter.id] }, undefined, { actor: 'test', reason: 'mended' });
    await at('order:7', []);
    await move('x', 'harbour');
    const record = await at('order:7', ['harbour']);
    expect(record).toMatchObject({ id: 'order:5', stepCount: 3 });
  });

  test('go with their instance when its time is over, and what happened until then is handled', async () => {
    const instances = parcels.db.collection<SagaDocument>('saga_tracking_g1');
    const keys = parcels.db.collection<SagaKeyDocument>('saga_keys');
    const left = async (id: string) => [
      await instances.countDocuments({ _id: `order:${id}` }),
      await keys.countDocuments({ instance: `order:${id}` }),
    ];
    await until('the app has removed what was over and rests for a minute: this test makes the rounds', async () =>
      (await keys.countDocuments({ _id: OVER_AT_START._id })) === 0 ? true : undefined,
    );
    // A second try finds what the first one left.
    const run = randomUUID();
    const [old, kept, dead] = [`old-${run}`, `kept-${run}`, `dead-${run}`];
    const [open, late] = [`open-${run}`, `late-${run}`];
    for (const id of [old, kept, dead, open]) await pack(id, [id]);
    for (const id of [old, kept, dead]) await move(id, 'home');
    for (const id of [old, kept, dead]) await at(`order:${id}`, ['home']);
    const ofEnded = { instance: { $in: [old, kept, dead].map((id) => `order:${id}`) } };
    const inAMonth = { $gt: new Date(Date.now() + 29 * 86_400_000) };
    expect(await keys.countDocuments({ ...ofEnded, expiresAt: inAMonth })).toBe(9);
    // Long ago.
    const over = { $set: { expiresAt: new Date(Date.now() - 3_600_000) } };
    await instances.updateMany({ _id: { $in: [`order:${old}`, `order:${dead}`] } }, over);
    await keys.updateMany({ instance: { $in: [`order:${old}`, `order:${dead}`] } }, over);
    const letter = { _id: deadLetterId('main', TRACKING, `order:${dead}`) };
    await parcels.db.collection<{ readonly _id: string }>('dead_letters').insertOne(letter);
    const call = { actor: 'test', reason: 'a month on the beach' };
    await app.runtime.operators.pauseConsumer('tracking', call);
    await pack(late, [late]);
    const store = createDeliveryStore(parcels.db.client, parcels.db, 'main');
    await until('it is in the log', async () => (await inLog(late)) || undefined);
    const round = endedSagas({ ...store, sagas: [TRACKING], store: store.sagas, clock: store.timers });
    for (let count = 0; count < 3; count++) await round.run({ redisLost: false });
    expect(await left(old)).toEqual([1, 3]);
    await app.runtime.operators.resumeConsumer('tracking', call);
    await at(`order:${late}`, []);
    await round.run({ redisLost: false });
    const all = await Promise.all([old, kept, dead, open].map(left));
    expect(all.map(String)).toEqual(['0,0', '1,3', '1,3', '1,3']);
    await parcels.db.collection<{ readonly _id: string }>('dead_letters').deleteOne(letter);
    await pack(old, [old]);
    expect(await at(`parcel:${old}`, [])).toMatchObject({ id: `order:${old}`, status: 'ACTIVE', stepCount: 1 });
  });
});
