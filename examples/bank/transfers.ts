import { projector, view } from 'millrace';
import { z } from 'zod';
import { account, amount } from './account.ts';
import { transfer } from './transfer.ts';

/** One document a transfer. `inTransfer` is the money that has left one account and not yet reached another. */
export const transferView = view(
  'transfer',
  z
    .object({
      id: z.string(),
      from: z.string(),
      to: z.string(),
      amount,
      status: z.enum(['REQUESTED', 'DEBITED', 'COMPLETED', 'FAILED']),
      inTransfer: z.int().describe('minor units on their way'),
      reason: z.string().nullable().describe('why it failed'),
    })
    .describe('A transfer and how far it is'),
  { indexes: [{ status: 1 }] },
);

export const transfers = projector({
  name: 'transfers',
  version: 1,
  from: [transfer, account],
  into: transferView,
  key: (event) =>
    'transferId' in event.data ? event.data.transferId : event.stream.aggregate === 'transfer' ? event.stream.id : [],
  on: {
    TransferRequested: (_doc, { stream, data }) => ({
      ...data,
      id: stream.id,
      status: 'REQUESTED',
      inTransfer: 0,
      reason: null,
    }),
    TransferDebited: (doc, { data }) => doc && { ...doc, status: 'DEBITED', inTransfer: data.amount },
    TransferCredited: (doc) => doc && { ...doc, inTransfer: 0 },
    TransferCompleted: (doc) => doc && { ...doc, status: 'COMPLETED' },
    TransferFailed: (doc, { data }) => doc && { ...doc, status: 'FAILED', reason: data.reason },
  },
});
