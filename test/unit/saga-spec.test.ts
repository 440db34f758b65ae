import { aggregate, command, isMillraceError, saga } from 'millrace';
import { spec } from 'millrace/testing';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { DEADLINE_MS, order, purse, shipment, shopModule } from '../setup/shop.ts';

const { fulfilment } = shopModule();
const placed = { type: 'OrderPlaced', id: 'o-1', data: { sku: 'tea', amount: 7 } } as const;
const paid = { type: 'Paid', id: 'purse-0', data: { orderId: 'o-1', amount: 7 } } as const;
const shipped = { type: 'Shipped', id: 'o-1', data: { orderId: 'o-1' } } as const;
const pay = command(purse, 'purse-0', { type: 'Pay', data: { orderId: 'o-1', amount: 7 } });
const ship = command(shipment, 'o-1', { type: 'Ship', data: { orderId: 'o-1', sku: 'tea' } });

describe('a saga by itself', () => {
  test('each event has its commands, and the last one ends the instance with its timers', () => {
    const first = spec(fulfilment).given(placed);
    expect(first.sent).toEqual([pay]);
    expect(first.state?.step).toBe('paying');
    expect(first.timers.get('deadline')).toEqual(new Date(first.now.getTime() + DEADLINE_MS));
    const second = first.when(paid);
    expect(second.sent).toEqual([ship]);
    const third = second.when(shipped);
    expect(third.sent).toEqual([command(order, 'o-1', { type: 'CompleteOrder', data: {} })]);
    expect(third).toMatchObject({ ended: true, id: 'o-1', timers: new Map() });
    // Stages are values: the first one is as it was.
    expect(first.state?.step).toBe('paying');
  });

  test('a deadline of 30 days is tested in less than 50 ms of the processor, and fires at its time', () => {
    const since = process.cpuUsage();
    const waiting = spec(fulfilment)
      .given(placed)
      .advance(DEADLINE_MS - 1);
    expect(waiting.sent).toEqual([]);
    const late = waiting.advance(1);
    expect(late.sent).toEqual([command(order, 'o-1', { type: 'FailOrder', data: { reason: 'too late' } })]);
    expect(late).toMatchObject({ ended: true, state: { step: 'failed' } });
    expect(process.cpuUsage(since).user / 1_000).toBeLessThan(50);
  });

  test('a refusal compensates what was done before', () => {
    const refused = spec(fulfilment).given(placed, paid).reject({ code: 'SOLD_OUT' });
    expect(refused.sent).toEqual([command(purse, 'purse-0', { type: 'Repay', data: { orderId: 'o-1', amount: 7 } })]);
    expect(refused.timers.size).toBe(0);
    const undone = refused.when({ type: 'Repaid', id: 'purse-0', data: { orderId: 'o-1', amount: 7 } });
    expect(undone.sent).toEqual([command(order, 'o-1', { type: 'FailOrder', data: { reason: 'SOLD_OUT' } })]);
  });

  test('only what it sent can be refused, by name the earlier one too', () => {
    const stage = spec(fulfilment).given(placed, paid);
    expect(stage.reject({ code: 'TOO_MUCH', command: pay }).state?.step).toBe('repaying');
    const stray = command(order, 'o-9', { type: 'CompleteOrder', data: {} });
    expect(() => stage.reject({ code: 'CLOSED', command: stray })).toThrow(/sent no such command/);
  });

  test('an event that starts nothing, and events after the end, are ignored', () => {
    expect(spec(fulfilment).given(paid)).toMatchObject({ id: undefined, state: undefined, sent: [] });
    const ended = spec(fulfilment).given(placed, paid, shipped);
    expect(ended.when(paid).sent).toEqual([]);
    expect(ended.when(placed)).toMatchObject({ sent: [], ended: true });
    const later = new Date(ended.now.getTime() + 31 * 86_400_000);
    expect(ended.when({ ...placed, at: later })).toMatchObject({ sent: [pay], ended: false });
  });

  test('an event with a later time moves the clock, and what is due before it fires first', () => {
    const at = new Date(Date.UTC(2000, 3, 1));
    const late = spec(fulfilment).given(placed, { ...paid, at });
    expect(late).toMatchObject({ ended: true, now: at, state: { step: 'failed' } });
  });

  test('a command that its aggregate would not take fails the step, with the issues of its schema', () => {
    const { fulfilment: wrong } = shopModule({
      on: { OrderPlaced: () => ({ send: [{ aggregate: 'purse', id: 'a', type: 'Pay', data: { amount: '7' } }] }) },
    });
    const error = thrown(() => spec(wrong).given(placed));
    expect(isMillraceError(error, 'SAGA_COMMAND_INVALID') && error.details.issues).toMatchObject([
      { path: ['orderId'] },
      { path: ['amount'] },
    ]);
  });
});

describe('several correlation keys', () => {
  const parcel = aggregate({
    name: 'parcel',
    events: {
      Packed: z.object({ orders: z.array(z.string()) }),
      Tracked: z.object({ code: z.string() }),
      Arrived: z.object({ code: z.string() }),
    },
    commands: { Note: z.object({}) },
    initial: () => null,
    evolve: { Packed: () => null, Tracked: () => null, Arrived: () => null },
    decide: { Note: () => [] },
  });
  const tracking = saga({
    name: 'tracking',
    from: [parcel],
    keys: (event) => {
      if (event.type === 'Packed') return event.data.orders.map((id) => `order:${id}`);
      return event.type === 'Arrived' ? [`code:${event.data.code}`] : [`parcel:${event.stream.id}`];
    },
    starts: ['Packed'],
    initial: () => ({ arrived: false }),
    on: {
      Packed: (_s, { stream }) => ({ keys: [`parcel:${stream.id}`] }),
      Tracked: (_s, { data }) => ({ keys: [`code:${data.code}`] }),
      Arrived: () => ({ state: { arrived: true }, end: true }),
    },
  });
  test('each key that it learned leads to the instance that the first one started', () => {
    const stage = spec(tracking)
      .given({ type: 'Packed', id: 'p', data: { orders: ['1', '2'] } })
      .when({ type: 'Tracked', id: 'p', data: { code: 'x' } })
      .when({ type: 'Arrived', id: 'anything', data: { code: 'x' } });
    expect(stage).toMatchObject({ id: 'order:1', state: { arrived: true }, ended: true });
    expect(stage.instances.size).toBe(1);
  });
  test('an event whose keys lead nowhere is ignored', () => {
    expect(spec(tracking).given({ type: 'Arrived', data: { code: 'x' } }).id).toBeUndefined();
  });
});

function thrown(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('it did not throw');
}
