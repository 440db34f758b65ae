import { aggregate } from 'millrace';
import { z } from 'zod';

/** Money in minor units (cents): whole numbers only, at most a billion of them in one movement. */
export const amount = z.int().positive().max(1_000_000_000).describe('minor units, e.g. cents');
export const currency = z.enum(['EUR', 'USD']);
const owner = z.string().trim().min(1).max(200);
const transferId = z.string().min(1).max(256);

interface Account {
  readonly balance: number;
}

/**
 * A bank account. It is opened once, never overdrawn, and closed only when it is empty; the platform refuses what comes
 * before opening (NOT_FOUND), a second opening (ALREADY_EXISTS) and whatever comes after closing (CLOSED).
 */
export const account = aggregate({
  name: 'account',
  description: 'A bank account',
  events: {
    AccountOpened: z.object({ owner: z.string(), currency }),
    MoneyDeposited: z.object({ amount }),
    MoneyWithdrawn: z.object({ amount }),
    TransferDebited: z.object({ transferId: z.string(), amount }),
    TransferCredited: z.object({ transferId: z.string(), amount, refund: z.boolean() }),
    AccountClosed: z.object({}),
  },
  commands: {
    OpenAccount: z.object({ owner, currency }).describe('Open an account for its owner'),
    Deposit: z.object({ amount }).describe('Pay money in'),
    Withdraw: z.object({ amount }).describe('Take money out, as far as there is some'),
    DebitForTransfer: z.object({ transferId, amount }).describe('First half of a transfer; sent by the transfer saga'),
    CreditForTransfer: z
      .object({ transferId, amount, refund: z.boolean().default(false) })
      .describe('Second half of a transfer, or its refund; sent by the transfer saga'),
    CloseAccount: z.object({}).describe('Close an empty account for ever'),
  },
  creates: ['OpenAccount'],
  closes: ['AccountClosed'],
  rejections: ['INSUFFICIENT_FUNDS', 'BALANCE_NOT_ZERO', 'BALANCE_TOO_LARGE'],
  initial: (): Account => ({ balance: 0 }),
  evolve: {
    AccountOpened: () => ({ balance: 0 }),
    MoneyDeposited: (account, { amount }) => ({ balance: account.balance + amount }),
    MoneyWithdrawn: (account, { amount }) => ({ balance: account.balance - amount }),
    TransferDebited: (account, { amount }) => ({ balance: account.balance - amount }),
    TransferCredited: (account, { amount }) => ({ balance: account.balance + amount }),
    AccountClosed: (account) => account,
  },
  decide: {
    OpenAccount: (_account, data) => ({ type: 'AccountOpened', data }),
    Deposit: ({ balance }, { amount }, { reject }) =>
      Number.isSafeInteger(balance + amount)
        ? { type: 'MoneyDeposited', data: { amount } }
        : reject('BALANCE_TOO_LARGE', `balance is ${balance}, more does not fit`),
    Withdraw: ({ balance }, { amount }, { reject }) =>
      balance >= amount
        ? { type: 'MoneyWithdrawn', data: { amount } }
        : reject('INSUFFICIENT_FUNDS', `balance is ${balance}, asked for ${amount}`),
    DebitForTransfer: ({ balance }, data, { reject }) =>
      balance >= data.amount
        ? { type: 'TransferDebited', data }
        : reject('INSUFFICIENT_FUNDS', `balance is ${balance}, asked for ${data.amount}`),
    CreditForTransfer: ({ balance }, data, { reject }) =>
      Number.isSafeInteger(balance + data.amount)
        ? { type: 'TransferCredited', data }
        : reject('BALANCE_TOO_LARGE', `balance is ${balance}, more does not fit`),
    CloseAccount: ({ balance }, _data, { reject }) =>
      balance === 0
        ? { type: 'AccountClosed', data: {} }
        : reject('BALANCE_NOT_ZERO', `balance is ${balance}, withdraw it first`),
  },
});
