import { aggregate } from 'millrace';
import { z } from 'zod';
import { amount } from './account.ts';

const accountId = z.string().min(1).max(256);
const order = z.object({ from: accountId, to: accountId, amount });

interface Transfer {
  readonly open: boolean;
}

/** A transfer as its owner ordered it, and how it ended. The money itself is moved by the saga, between two accounts. */
export const transfer = aggregate({
  name: 'transfer',
  description: 'A transfer of money between two accounts',
  events: {
    TransferRequested: order,
    TransferCompleted: z.object({}),
    TransferFailed: z.object({ reason: z.string() }),
  },
  commands: {
    RequestTransfer: order.describe('Move money from one account to another'),
    CompleteTransfer: z.object({}).describe('The money has arrived; sent by the transfer saga'),
    FailTransfer: z
      .object({ reason: z.string().max(1_000) })
      .describe('The money is where it was; sent by the transfer saga'),
  },
  creates: ['RequestTransfer'],
  closes: ['TransferCompleted', 'TransferFailed'],
  rejections: ['SAME_ACCOUNT'],
  initial: (): Transfer => ({ open: false }),
  evolve: {
    TransferRequested: () => ({ open: true }),
    TransferCompleted: () => ({ open: false }),
    TransferFailed: () => ({ open: false }),
  },
  decide: {
    RequestTransfer: (_transfer, data, { reject }) =>
      data.from === data.to
        ? reject('SAME_ACCOUNT', 'from and to are the same account')
        : { type: 'TransferRequested', data },
    CompleteTransfer: () => ({ type: 'TransferCompleted', data: {} }),
    FailTransfer: (_transfer, data) => ({ type: 'TransferFailed', data }),
  },
});
