/** The samples of docs/*.md, as they stand there, so that they compile; test/unit/docs-fresh.test.ts holds them together. */
import { ApolloClient, ApolloLink, InMemoryCache, Observable } from '@apollo/client/core/index.js';
import { Client, cacheExchange, subscriptionExchange } from '@urql/core';
import { createClient as createSocketClient } from 'graphql-ws';
import {
  aggregate,
  command,
  customProjector,
  observer,
  projector,
  saga,
  service,
  start,
  view,
  webhook,
} from 'millrace';
import { createClient } from 'millrace/client';
import { createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { spec } from 'millrace/testing';
import { z } from 'zod';
import { account, amount } from '../../examples/bank/account.ts';
import { accountView } from '../../examples/bank/balances.ts';
import { bank } from '../../examples/bank/module.ts';
import { transfer } from '../../examples/bank/transfer.ts';
import { leagueView, player } from '../setup/league.ts';

interface Moving {
  readonly from: string;
  readonly to: string;
  readonly amount: number;
  readonly step: 'ASKED';
  readonly failed?: string;
}
const nothing: Moving = { from: '', to: '', amount: 0, step: 'ASKED' };
const priceOf = (units: number): number => units * 3;
const builder = createSchemaBuilder();
interface Once {
  readonly idempotencyKey: string;
  readonly signal: AbortSignal;
}
declare function charge(
  what: { readonly card: string; readonly amount: number },
  options: Once,
): Promise<string | undefined>;
interface Change {
  readonly signal: string;
  readonly cursor: string;
  readonly id?: string | null;
  readonly version?: number | null;
  readonly node?: { readonly id: string; readonly balance: number } | null;
}
declare function tell(transferId: string, options: Once): Promise<void>;

// docs/getting-started.md
const opened = { type: 'AccountOpened', data: { owner: 'Ada', currency: 'EUR' } } as const;
spec(account)
  .given(opened)
  .when({ type: 'Withdraw', data: { amount: 1 } }).rejected; // 'INSUFFICIENT_FUNDS'

// docs/graphql.md
exposeModule(builder, bank, {
  commands: { CloseAccount: { hidden: true }, 'account.Deposit': { name: 'payIn' } },
  views: { account: { name: 'bankAccount', list: 'bankAccounts', fields: { owner: { hidden: true } } } },
  queries: { richest: { description: 'The ten happiest customers' } },
});

// docs/handlers.md
export const league = customProjector({
  name: 'league',
  version: 1,
  from: [player],
  into: leagueView,
  on: {
    Scored: ({ stream, data }, documents) => {
      const own = documents.get(`player/${stream.id}`);
      if (own === undefined) return;
      documents.put(own.id, { ...own, total: own.total + data.by });
      documents.update(`team/${own.team}`, (team) => team && { ...team, total: team.total + data.by });
    },
  },
});

export const moneyTransfer = saga({
  name: 'moneyTransfer',
  from: [transfer, account],
  key: (event) =>
    event.type === 'TransferRequested'
      ? event.stream.id
      : 'transferId' in event.data
        ? event.data.transferId
        : undefined,
  starts: ['TransferRequested'],
  initial: () => nothing,
  on: {
    TransferRequested: (_state, { data }, { id }) => ({
      state: { ...data, step: 'ASKED' },
      send: [command(account, data.from, { type: 'DebitForTransfer', data: { transferId: id, amount: data.amount } })],
      timers: { deadline: { afterMs: 30_000 } },
    }),
    // …
  },
  onTimer: { deadline: (state) => ({ state: { ...state, failed: 'too late' } }) },
  onRejected: (_state, { code }, { id }) => ({
    send: [command(transfer, id, { type: 'FailTransfer', data: { reason: code } })],
    end: true,
  }),
});

// docs/handlers.md
export const cardProcessor = service({
  name: 'cardProcessor',
  commands: { ChargeCard: z.object({ accountId: z.string(), card: z.string(), amount }) },
  events: { CardCharged: z.object({ accountId: z.string(), amount, reference: z.string() }) },
  rejections: ['CARD_DECLINED'],
  attempts: 8,
  timeoutMs: 3_000,
  handle: {
    ChargeCard: async ({ accountId, card, amount }, { idempotencyKey, signal, reject }) => {
      const reference = await charge({ card, amount }, { idempotencyKey, signal }); // yours: a fetch, for example
      return reference === undefined
        ? reject('CARD_DECLINED', 'the network says no')
        : { type: 'CardCharged', data: { accountId, amount, reference } };
    },
  },
});

// docs/handlers.md
export const notify = observer({
  name: 'notify',
  from: [transfer],
  on: {
    TransferCompleted: async ({ stream }, { idempotencyKey, signal }) => tell(stream.id, { idempotencyKey, signal }), // yours
  },
});

// docs/handlers.md
export const partners = webhook({
  name: 'partners',
  from: [transfer],
  events: ['TransferCompleted'],
  url: process.env.PARTNER_URL!,
  secret: process.env.PARTNER_SECRET!,
});

// docs/handlers.md
export const meter = aggregate({
  name: 'meter',
  snapshot: { every: 1_000, version: 1 },
  events: { UnitsRead: z.object({ units: z.int() }) },
  commands: { ReadUnits: z.object({ units: z.int() }) },
  initial: () => ({ cents: 0 }),
  evolve: { UnitsRead: ({ cents }, { units }) => ({ cents: cents + priceOf(units) }) },
  decide: { ReadUnits: (_state, data) => ({ type: 'UnitsRead', data }) },
});

// docs/getting-started.md
const running = await start({ modules: [bank] });
let last: string | undefined;
for await (const { document, cursor } of running.watch(accountView, 'ada', { after: last })) {
  console.log(document?.balance);
  last = cursor;
}

// docs/response-models.md
const answer = await running.send(account, 'ada', { type: 'Withdraw', data: { amount: 100 } });
if (answer.kind === 'rejected') console.log(answer.code); // 'INSUFFICIENT_FUNDS'

const queued = await running.send(account, 'ada', { type: 'Deposit', data: { amount: 100 } }, { mode: 'QUEUED' });
if (queued.kind === 'queued') {
  const states = running.runtime.watchCommand(queued.token, AbortSignal.timeout(60_000));
  for await (const { status } of states) console.log(status);
}

export const ledgerMail = observer({
  name: 'ledgerMail',
  from: [account, transfer],
  on: {
    MoneyDeposited: async ({ id }, context) => tell(id, context), // yours
    TransferCompleted: async ({ id }, context) => tell(id, context),
  },
});

export const reviewOfLargeSums = observer({
  name: 'reviewOfLargeSums',
  from: [account],
  key: (event) => (event.type === 'MoneyDeposited' && event.data.amount > 1_000_000 ? event.stream.id : undefined),
  on: { MoneyDeposited: async ({ id }, context) => tell(id, context) },
});

// docs/operations.md
// As it was deployed; the module does not name it.
const totalsV1 = projector({
  name: 'totals',
  version: 1,
  from: [account],
  into: view('total', z.object({ id: z.string(), sum: z.int() })),
  on: { MoneyDeposited: (doc, { stream, data }) => ({ id: stream.id, sum: (doc?.sum ?? 0) + data.amount }) },
});
// The parts of the module: one field more.
export const totalView = view('total', z.object({ id: z.string(), sum: z.int(), count: z.int() }));
export const totals = projector({
  name: 'totals',
  version: 2,
  previous: totalsV1,
  from: [account],
  into: totalView,
  on: {
    MoneyDeposited: (doc, { stream, data }) => ({
      id: stream.id,
      sum: (doc?.sum ?? 0) + data.amount,
      count: (doc?.count ?? 0) + 1,
    }),
  },
});

// docs/client.md
const client = createClient({ url: 'https://bank.example/graphql' });
const { outcome } = await client.send({
  query: `mutation ($id: ID!, $commandId: ID) {
    deposit(id: $id, input: { amount: 100 }, commandId: $commandId) {
      __typename ... on CommandAccepted { id version token } ... on CommandRejected { code reason }
    }
  }`,
  variables: { id: 'ada' },
});
const stop = client.subscribe(
  { query: 'subscription ($after: Cursor) { events(after: $after) { signal cursor event { position type } } }' },
  { next: ({ data }) => console.log(data.events), error: console.error, complete: () => {} },
);

// docs/client.md
const urql = new Client({
  url: 'unused',
  preferGetMethod: false,
  exchanges: [
    cacheExchange,
    subscriptionExchange({ enableAllOperations: true, forwardSubscription: (one) => client.forward(one) }),
  ],
});
const apollo = new ApolloClient({
  cache: new InMemoryCache({
    possibleTypes: {
      CommandOutcome: ['CommandAccepted', 'CommandQueued', 'CommandRejected', 'CommandConflict', 'InvalidInput'],
    },
  }),
  link: new ApolloLink(
    (operation) =>
      new Observable((observer) => {
        const { unsubscribe } = client.forward(operation).subscribe(observer);
        return unsubscribe;
      }),
  ),
});

// docs/client.md
let cursor: string | null = null;
const versions = new Map<string, number>();
const socket = createSocketClient({
  url: 'wss://bank.example/graphql',
  retryAttempts: Infinity,
  shouldRetry: () => true,
});

function follow(show: (change: Change) => void): () => void {
  return socket.subscribe<{ accountsChanged: Change }>(
    {
      query: `subscription ($after: Cursor) {
        accountsChanged(after: $after) { signal cursor id version node { id balance } }
      }`,
      // Sent again with each connect: a getter gives the cursor of that moment.
      variables: {
        get after() {
          return cursor;
        },
      },
    },
    {
      next({ data }) {
        if (data == null) return;
        const change = data.accountsChanged;
        const { signal, id, version } = change;
        if (signal === 'GAP') versions.clear();
        if (signal === 'REMOVED') versions.delete(id ?? '');
        const had = version != null && signal !== 'REMOVED' && version <= (versions.get(id ?? '') ?? -1);
        if (!had) show(change); // GAP: drop the list
        if (id != null && version != null && signal !== 'REMOVED') versions.set(id, version);
        cursor = change.cursor; // after the message was taken
      },
      // Errors of the gateway, and close codes like 4403, are final for this client. What may pass is worth another try.
      error: (errors) => {
        if (Array.isArray(errors) && errors[0]?.extensions?.retryable) setTimeout(follow, 1_000, show);
      },
      complete: () => {},
    },
  );
}

export { apollo, follow, outcome, stop, urql };
