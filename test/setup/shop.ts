import { aggregate, command, module, type SagaSpec, saga } from 'millrace';
import { z } from 'zod';

/*
 * A shop: an order is paid, then shipped, then done; what cannot be paid or shipped is undone. Its saga is the fixture of all
 * tests of sagas.
 */

export const order = aggregate({
  name: 'order',
  events: {
    OrderPlaced: z.object({ sku: z.string(), amount: z.int() }),
    OrderCompleted: z.object({}),
    OrderFailed: z.object({ reason: z.string() }),
  },
  commands: {
    PlaceOrder: z.object({ sku: z.string(), amount: z.int() }),
    CompleteOrder: z.object({}),
    FailOrder: z.object({ reason: z.string() }),
  },
  creates: ['PlaceOrder'],
  closes: ['OrderCompleted', 'OrderFailed'],
  initial: () => null,
  evolve: { OrderPlaced: () => null, OrderCompleted: () => null, OrderFailed: () => null },
  decide: {
    PlaceOrder: (_order, data) => ({ type: 'OrderPlaced', data }),
    CompleteOrder: () => ({ type: 'OrderCompleted', data: {} }),
    FailOrder: (_order, data) => ({ type: 'OrderFailed', data }),
  },
});

/** Everybody's money; it counts what it took, so that a second effect shows. */
export const purse = aggregate({
  name: 'purse',
  events: {
    Paid: z.object({ orderId: z.string(), amount: z.int() }),
    Repaid: z.object({ orderId: z.string(), amount: z.int() }),
  },
  commands: {
    Pay: z.object({ orderId: z.string(), amount: z.int() }),
    Repay: z.object({ orderId: z.string(), amount: z.int() }),
  },
  rejections: ['TOO_MUCH'],
  initial: () => ({ taken: 0 }),
  evolve: {
    Paid: (s, { amount }) => ({ taken: s.taken + amount }),
    Repaid: (s, { amount }) => ({ taken: s.taken - amount }),
  },
  decide: {
    Pay: (_s, data, { reject }) =>
      data.amount > 1_000 ? reject('TOO_MUCH', 'nobody has that much') : { type: 'Paid', data },
    Repay: (_s, data) => ({ type: 'Repaid', data }),
  },
});

export const shipment = aggregate({
  name: 'shipment',
  events: { Shipped: z.object({ orderId: z.string() }) },
  commands: { Ship: z.object({ orderId: z.string(), sku: z.string() }) },
  rejections: ['SOLD_OUT'],
  creates: ['Ship'],
  initial: () => null,
  evolve: { Shipped: () => null },
  decide: {
    Ship: (_s, { orderId, sku }, { reject }) =>
      sku === 'unicorn' ? reject('SOLD_OUT', 'there are no unicorns') : { type: 'Shipped', data: { orderId } },
  },
});

const from = [order, purse, shipment] as const;
export interface Fulfilment {
  readonly step: 'new' | 'paying' | 'shipping' | 'repaying' | 'done' | 'failed';
  readonly sku: string;
  readonly amount: number;
  readonly reason: string;
}
export type FulfilmentSpec = SagaSpec<typeof from, Fulfilment>;

/** An order that is not done after this is failed. */
export const DEADLINE_MS = 30 * 86_400_000;
const purseOf = (orderId: string) => `purse-${orderId.length % 3}`;

export const fulfilmentSpec: FulfilmentSpec = {
  name: 'fulfilment',
  from,
  key: (event) => ('orderId' in event.data ? event.data.orderId : event.stream.id),
  starts: ['OrderPlaced'],
  initial: () => ({ step: 'new', sku: '', amount: 0, reason: '' }),
  on: {
    OrderPlaced: (_s, { data }, { id }) => ({
      state: { step: 'paying', sku: data.sku, amount: data.amount, reason: '' },
      send: [command(purse, purseOf(id), { type: 'Pay', data: { orderId: id, amount: data.amount } })],
      timers: { deadline: { afterMs: DEADLINE_MS } },
    }),
    Paid: (s, _event, { id }) => ({
      state: { ...s, step: 'shipping' },
      send: [command(shipment, id, { type: 'Ship', data: { orderId: id, sku: s.sku } })],
    }),
    Shipped: (s, _event, { id }) => ({
      state: { ...s, step: 'done' },
      send: [command(order, id, { type: 'CompleteOrder', data: {} })],
      timers: { deadline: 'cancel' },
      end: true,
    }),
    Repaid: (s, _event, { id }) => ({
      state: { ...s, step: 'failed' },
      send: [command(order, id, { type: 'FailOrder', data: { reason: s.reason } })],
      end: true,
    }),
  },
  onTimer: {
    deadline: (s, _timer, { id }) => ({
      state: { ...s, step: 'failed', reason: 'too late' },
      send: [command(order, id, { type: 'FailOrder', data: { reason: 'too late' } })],
      end: true,
    }),
  },
  onRejected: (s, { code }, { id }) =>
    s.step === 'shipping'
      ? {
          state: { ...s, step: 'repaying', reason: code },
          send: [command(purse, purseOf(id), { type: 'Repay', data: { orderId: id, amount: s.amount } })],
          timers: { deadline: 'cancel' },
        }
      : {
          state: { ...s, step: 'failed', reason: code },
          send: [command(order, id, { type: 'FailOrder', data: { reason: code } })],
          end: true,
        },
};

/** The shop with its saga, changed as a test needs it. */
export function shopModule(change: Partial<FulfilmentSpec> = {}) {
  const fulfilment = saga({ ...fulfilmentSpec, ...change });
  return { fulfilment, module: module({ name: 'shop', parts: [order, purse, shipment, fulfilment] }) };
}
