/**
 * The bank as an author writes it without a thought for types: no `as const`, no annotations but the state's.
 * `npm run typecheck` is the test.
 */
import { aggregate, type CommandOf, type Doc, event, module, projector, query, type RejectionOf, view } from 'millrace';
import { spec } from 'millrace/testing';
import { z } from 'zod';

type Account = { status: 'none' | 'open' | 'closed'; owner: string; balance: number; tags: string[] };

const money = z.object({ amount: z.number().int().positive() });

export const account = aggregate({
  name: 'account',
  events: {
    AccountOpened: event(z.object({ owner: z.string(), currency: z.enum(['EUR', 'USD']) }), {
      version: 2,
      upcast: { 1: (old) => ({ ...old, currency: 'EUR' }) },
    }),
    MoneyDeposited: money,
    MoneyWithdrawn: money,
    AccountClosed: z.object({}),
  },
  commands: {
    OpenAccount: z.object({ owner: z.string().min(1), currency: z.enum(['EUR', 'USD']), pin: z.string() }),
    Deposit: money,
    // A command may transform: the handler gets a number.
    Withdraw: z.object({ amount: z.string().transform(Number) }),
    CloseAccount: z.object({}),
  },
  creates: ['OpenAccount'],
  closes: ['AccountClosed'],
  fields: { OpenAccount: { pin: { store: false } } },
  rejections: ['ACCOUNT_EXISTS', 'ACCOUNT_NOT_OPEN', 'INSUFFICIENT_FUNDS'],
  initial: (): Account => ({ status: 'none', owner: '', balance: 0, tags: [] }),
  evolve: {
    AccountOpened: (_a, { owner }) => ({ status: 'open', owner, balance: 0, tags: [owner] }),
    MoneyDeposited: (a, { amount }) => ({ ...a, balance: a.balance + amount, tags: [...a.tags, 'deposit'] }),
    MoneyWithdrawn: (a, { amount }) => ({ ...a, balance: a.balance - amount }),
    AccountClosed: () => ({ status: 'closed', owner: '', balance: 0, tags: [] }),
  },
  decide: {
    OpenAccount: (a, { owner, currency }, { reject }) =>
      a.status === 'none'
        ? { type: 'AccountOpened', data: { owner, currency } }
        : reject('ACCOUNT_EXISTS', 'this account was opened before'),
    Deposit: (a, data, { reject }) => {
      if (a.status !== 'open') return reject('ACCOUNT_NOT_OPEN', a.status);
      if (data.amount > 1_000_000) return [];
      return [1, 2].map(() => ({ type: 'MoneyDeposited', data }));
    },
    Withdraw: (a, { amount }, { reject }) =>
      a.balance >= amount
        ? { type: 'MoneyWithdrawn', data: { amount: amount + 0 } }
        : reject('INSUFFICIENT_FUNDS', `balance is ${a.balance}, asked for ${amount}`),
    CloseAccount: () => [{ type: 'AccountOpened', data: { owner: 'x', currency: 'USD' } }],
  },
});

export const accountView = view(
  'account',
  z.object({ id: z.string(), owner: z.string(), currency: z.string(), balance: z.number() }),
  { indexes: [{ owner: 1 }, { balance: -1, owner: 1 }] },
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
  },
});

const kinds = view('kind', z.object({ kind: z.enum(['in', 'out']), list: z.array(z.object({ on: z.literal(true) })) }));
export const kindOf = projector({
  name: 'kinds',
  version: 1,
  from: [account],
  into: kinds,
  key: ({ type, stream }) => (type === 'AccountClosed' ? [] : [stream.id, `${stream.id}-again`]),
  on: {
    MoneyDeposited: () => ({ kind: 'in', list: [{ on: true }] }),
    MoneyWithdrawn: (doc, _event, key) => (key === '' ? null : { kind: 'out', list: doc?.list ?? [] }),
  },
});

export const richest = query({
  name: 'richest',
  input: z.object({ limit: z.number().int().max(100) }),
  output: z.array(accountView.schema),
  run: ({ limit }, read) => read(accountView).list({ sort: { balance: -1 }, limit }),
});
export const oneKind = query({
  name: 'oneKind',
  input: z.object({}),
  output: kinds.schema,
  run: async (_input, read) => (await read(kinds).get('a')) ?? { kind: 'in', list: [] },
});

export const bank = module({ name: 'bank', parts: [account, accountView, balances, kinds, kindOf, richest, oneKind] });

/* What others see of it. */

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <_Yes extends true>(): void => {};

same<Same<RejectionOf<typeof account>, 'ACCOUNT_EXISTS' | 'ACCOUNT_NOT_OPEN' | 'INSUFFICIENT_FUNDS'>>();
same<Same<Doc<typeof accountView>, { id: string; owner: string; currency: string; balance: number }>>();
// Senders write input, before it is transformed.
same<Same<Extract<CommandOf<typeof account>, { type: 'Withdraw' }>['data'], { amount: string }>>();

const { rejected, state } = spec(account)
  .given({ type: 'AccountOpened', data: { owner: 'Ada', currency: 'EUR' } })
  .when({ type: 'Withdraw', data: { amount: '5' } });
same<
  Same<
    typeof rejected,
    'ACCOUNT_EXISTS' | 'ACCOUNT_NOT_OPEN' | 'INSUFFICIENT_FUNDS' | 'ALREADY_EXISTS' | 'NOT_FOUND' | 'CLOSED' | undefined
  >
>();
same<Same<typeof state, Account>>();

const { documents } = spec(balances).given({ type: 'MoneyDeposited', data: { amount: 5 }, id: 'a', at: new Date(0) });
same<Same<typeof documents, ReadonlyMap<string, Doc<typeof accountView>>>>();
