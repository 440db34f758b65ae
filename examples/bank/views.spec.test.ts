import { spec } from 'millrace/testing';
import { expect, test } from 'vitest';
import { balances } from './balances.ts';
import { statement } from './statement.ts';

const opened = (id: string, owner: string) =>
  ({ type: 'AccountOpened', id, data: { owner, currency: 'EUR' } }) as const;

test('balances: each account has its own', () => {
  const { documents } = spec(balances).given(
    opened('a', 'Ada'),
    opened('b', 'Bob'),
    { type: 'MoneyDeposited', id: 'a', data: { amount: 100 } },
    { type: 'MoneyDeposited', id: 'b', data: { amount: 7 } },
    { type: 'MoneyWithdrawn', id: 'a', data: { amount: 30 } },
  );
  expect(documents.get('a')).toEqual({ id: 'a', owner: 'Ada', currency: 'EUR', balance: 70 });
  expect(documents.get('b')?.balance).toBe(7);
});

test('balances: a closed account is gone', () => {
  const { documents } = spec(balances).given(opened('a', 'Ada'), { type: 'AccountClosed', id: 'a', data: {} });
  expect(documents.size).toBe(0);
});

test('statement: one line a movement, kept after closing', () => {
  const at = new Date('2024-02-29T12:00:00Z');
  const { documents } = spec(statement).given(
    opened('a', 'Ada'),
    { type: 'MoneyDeposited', id: 'a', data: { amount: 100 }, at },
    { type: 'MoneyWithdrawn', id: 'a', data: { amount: 100 }, at },
    { type: 'AccountClosed', id: 'a', data: {} },
  );
  expect([...documents.values()]).toEqual([
    { id: 'a-2', accountId: 'a', kind: 'DEPOSIT', amount: 100, at: '2024-02-29T12:00:00.000Z' },
    { id: 'a-3', accountId: 'a', kind: 'WITHDRAWAL', amount: 100, at: '2024-02-29T12:00:00.000Z' },
  ]);
});
