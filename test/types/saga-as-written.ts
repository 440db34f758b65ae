/** A saga as an author writes it: no `as const`, no annotations but the state's. `npm run typecheck` is the test. */
import { command, saga } from 'millrace';
import { spec } from 'millrace/testing';
import { order, purse } from '../setup/shop.ts';

type Paying = { step: 'new' | 'paying' | 'done'; tags: string[] };
export const paying = saga({
  name: 'paying',
  from: [order, purse],
  key: (e) => (e.type === 'Paid' ? e.data.orderId : e.stream.id),
  starts: ['OrderPlaced'],
  initial: (): Paying => ({ step: 'new', tags: [] }),
  on: {
    OrderPlaced: (s, { data }, { id }) => ({
      state: { step: 'paying', tags: [...s.tags, data.sku] },
      send: [command(purse, 'x', { type: 'Pay', data: { orderId: id, amount: data.amount } })],
      timers: { deadline: { afterMs: 1000 }, other: { at: new Date() }, third: 'cancel' },
    }),
    Paid: () => ({ state: { step: 'done', tags: [] }, timers: { deadline: 'cancel' }, end: true }),
    Repaid: (s) => (s.step === 'done' ? undefined : { end: true }),
  },
  onTimer: {
    deadline: (s) => ({ state: { ...s, step: 'done' } }),
    other: () => ({ state: { step: 'done', tags: [] } }),
  },
  onRejected: (s, { code }) => ({ state: { ...s, step: code === 'X' ? 'new' : 'done' } }),
});
const result = spec(paying).given({ type: 'OrderPlaced', data: { sku: 'a', amount: 1 } });
export const step: 'new' | 'paying' | 'done' | undefined = result.state?.step;
