import { projector, view } from 'millrace';
import { z } from 'zod';
import { account, currency } from './account.ts';

/** One document an open account. */
export const accountView = view(
  'account',
  z
    .object({
      id: z.string(),
      owner: z.string(),
      currency,
      balance: z.int().describe('minor units, e.g. cents'),
    })
    .describe('An open bank account'),
  { indexes: [{ owner: 1 }, { balance: -1 }] },
);

export const balances = projector({
  name: 'balances',
  version: 1,
  from: [account],
  into: accountView,
  on: {
    AccountOpened: (_doc, { stream, data }) => ({
      id: stream.id,
      owner: data.owner,
      currency: data.currency,
      balance: 0,
    }),
    MoneyDeposited: (doc, { data }) => doc && { ...doc, balance: doc.balance + data.amount },
    MoneyWithdrawn: (doc, { data }) => doc && { ...doc, balance: doc.balance - data.amount },
    TransferDebited: (doc, { data }) => doc && { ...doc, balance: doc.balance - data.amount },
    TransferCredited: (doc, { data }) => doc && { ...doc, balance: doc.balance + data.amount },
    AccountClosed: () => null,
  },
});
