import { projector, view } from 'millrace';
import { z } from 'zod';
import { account, amount } from './account.ts';

/** One document a movement of money, for ever: it stays after its account was closed. */
export const movementView = view(
  'movement',
  z
    .object({
      id: z.string(),
      accountId: z.string(),
      kind: z.enum(['DEPOSIT', 'WITHDRAWAL', 'TRANSFER_OUT', 'TRANSFER_IN', 'REFUND']),
      amount,
      at: z.iso.datetime().describe('when it was decided'),
    })
    .describe('One line of an account statement'),
  { indexes: [{ accountId: 1, at: -1 }] },
);

export const statement = projector({
  name: 'statement',
  version: 1,
  from: [account],
  into: movementView,
  key: ({ stream }) => `${stream.id}-${stream.version}`,
  on: {
    MoneyDeposited: (_doc, { stream, data, at }, id) => ({
      id,
      accountId: stream.id,
      kind: 'DEPOSIT',
      amount: data.amount,
      at: at.toISOString(),
    }),
    MoneyWithdrawn: (_doc, { stream, data, at }, id) => ({
      id,
      accountId: stream.id,
      kind: 'WITHDRAWAL',
      amount: data.amount,
      at: at.toISOString(),
    }),
    TransferDebited: (_doc, { stream, data, at }, id) => ({
      id,
      accountId: stream.id,
      kind: 'TRANSFER_OUT',
      amount: data.amount,
      at: at.toISOString(),
    }),
    TransferCredited: (_doc, { stream, data, at }, id) => ({
      id,
      accountId: stream.id,
      kind: data.refund ? 'REFUND' : 'TRANSFER_IN',
      amount: data.amount,
      at: at.toISOString(),
    }),
  },
});
