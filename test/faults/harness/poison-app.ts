import { z } from 'zod';
import { account } from '../../../examples/bank/account.ts';
import { bank } from '../../../examples/bank/module.ts';
import { defineApp, module, projector, view } from '../../../src/index.ts';

/** A deposit that the handler cannot take, unless the process runs the mended code (POISON_MENDED=1). */
export const POISON_AMOUNT = 666;

const tally = z.object({ id: z.string(), amounts: z.array(z.int()) });
const tallyView = view('tally', tally);

const tallies = projector({
  name: 'tallies',
  version: 1,
  from: [account],
  into: tallyView,
  attempts: 2,
  backoff: { type: 'fixed', delayMs: 200 },
  on: {
    MoneyDeposited: (doc, { stream, data: { amount } }) => {
      if (amount === POISON_AMOUNT && process.env.POISON_MENDED !== '1') throw new Error(`cannot take ${amount}`);
      return { id: stream.id, amounts: [...(doc?.amounts ?? []), amount] };
    },
  },
});

/** The bank with a consumer that has a bug. */
export default defineApp({ modules: [bank, module({ name: 'tallies', parts: [tallyView, tallies] })] });
