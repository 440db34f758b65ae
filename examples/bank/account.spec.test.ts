import { spec } from 'millrace/testing';
import { describe, expect, test } from 'vitest';
import { account } from './account.ts';

const opened = { type: 'AccountOpened', data: { owner: 'Ada', currency: 'EUR' } } as const;
const deposited = (amount: number) => ({ type: 'MoneyDeposited', data: { amount } }) as const;
const withdrawn = (amount: number) => ({ type: 'MoneyWithdrawn', data: { amount } }) as const;
const closed = { type: 'AccountClosed', data: {} } as const;

describe('opening', () => {
  const open = { type: 'OpenAccount', data: { owner: ' Ada ', currency: 'EUR' } } as const;

  test('an account begins empty, its owner trimmed', () => {
    const { events, state } = spec(account).given().when(open);
    expect(events).toEqual([opened]);
    expect(state).toEqual({ balance: 0 });
  });
  test('a second opening is refused', () => {
    expect(spec(account).given(opened).when(open)).toMatchObject({ events: [], rejected: 'ALREADY_EXISTS' });
  });
  test('an owner must have a name', () => {
    const { invalid } = spec(account)
      .given()
      .when({ type: 'OpenAccount', data: { owner: '  ', currency: 'EUR' } });
    expect(invalid?.map(({ path }) => path)).toEqual([['owner']]);
  });
});

describe('moving money', () => {
  test('a deposit raises the balance', () => {
    const { events, state } = spec(account)
      .given(opened, deposited(100))
      .when({ type: 'Deposit', data: { amount: 50 } });
    expect(events).toEqual([deposited(50)]);
    expect(state).toEqual({ balance: 150 });
  });
  test('everything can be withdrawn, and not a cent more', () => {
    const given = spec(account).given(opened, deposited(100), withdrawn(30));
    expect(given.when({ type: 'Withdraw', data: { amount: 70 } }).state).toEqual({ balance: 0 });
    expect(given.when({ type: 'Withdraw', data: { amount: 71 } })).toMatchObject({
      events: [],
      rejected: 'INSUFFICIENT_FUNDS',
      reason: 'balance is 70, asked for 71',
      state: { balance: 70 },
    });
  });
  test.each([0, -1, 0.5, Number.NaN, 1_000_000_001])('%d is no amount', (amount) => {
    const { invalid, events } = spec(account).given(opened).when({ type: 'Deposit', data: { amount } });
    expect(invalid?.map(({ path }) => path)).toEqual([['amount']]);
    expect(events).toEqual([]);
  });
  test('nothing moves before an account is opened', () => {
    const { rejected } = spec(account)
      .given()
      .when({ type: 'Deposit', data: { amount: 1 } });
    expect(rejected).toBe('NOT_FOUND');
  });
});

describe('closing', () => {
  const close = { type: 'CloseAccount', data: {} } as const;

  test('an empty account can be closed', () => {
    expect(spec(account).given(opened, deposited(5), withdrawn(5)).when(close).events).toEqual([closed]);
  });
  test('an account with money cannot', () => {
    expect(spec(account).given(opened, deposited(5)).when(close).rejected).toBe('BALANCE_NOT_ZERO');
  });
  test('a closed account refuses everything', () => {
    const given = spec(account).given(opened, closed);
    expect(given.when({ type: 'Deposit', data: { amount: 1 } }).rejected).toBe('CLOSED');
    expect(given.when(close).rejected).toBe('CLOSED');
    expect(given.when({ type: 'OpenAccount', data: { owner: 'Eve', currency: 'USD' } }).rejected).toBe('CLOSED');
  });
});
