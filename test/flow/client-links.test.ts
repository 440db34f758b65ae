import { randomUUID } from 'node:crypto';
import { ApolloClient, ApolloLink, gql, InMemoryCache, Observable } from '@apollo/client/core/index.js';
import { subscriptionExchange, Client as UrqlClient } from '@urql/core';
import { afterAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { createClient } from '../../src/client/index.ts';
import { TcpProxy } from '../faults/harness/tcp-proxy.ts';
import { startBank } from '../setup/gateway.ts';
import { until } from '../setup/until.ts';

/*
 * The recipes of docs/client.md: urql and Apollo over `client.forward`, with a link to the gateway that is cut.
 */
const bank = await startBank();
const proxy = await TcpProxy.to(Number(new URL(bank.url).port));
const client = createClient({
  url: `http://127.0.0.1:${proxy.port}`,
  webSocketImpl: WebSocket,
  retry: { minMs: 20, maxMs: 200 },
});
afterAll(async () => {
  await client.close();
  await proxy.close();
});

const OPEN = `mutation Open($id: ID!, $commandId: ID) {
  openAccount(id: $id, input: { owner: "Ada", currency: EUR }, commandId: $commandId) { __typename }
}`;
const DEPOSIT = `mutation Deposit($id: ID!, $commandId: ID) {
  deposit(id: $id, input: { amount: 1 }, commandId: $commandId) {
    __typename ... on CommandAccepted { commandId token } ... on CommandRejected { code }
  }
}`;
const READ = 'query Read($id: ID!, $token: Token) { account(id: $id, atLeast: $token) { id balance } }';
const WATCH = `subscription Watch($id: ID!, $after: Cursor) {
  accountChanged(id: $id, after: $after) { signal cursor id version node { id balance } }
}`;
interface Change {
  readonly signal: string;
  readonly node: { readonly balance: number } | null;
}
interface Answer {
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of any shape
  readonly data?: any;
  readonly error?: unknown;
}

const urql = new UrqlClient({
  url: 'unused',
  preferGetMethod: false,
  exchanges: [subscriptionExchange({ enableAllOperations: true, forwardSubscription: (one) => client.forward(one) })],
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
const faces = {
  urql: {
    query: async (text: string, variables: object): Promise<Answer> =>
      urql.query(text, variables, { requestPolicy: 'network-only' }).toPromise(),
    mutate: async (text: string, variables: object): Promise<Answer> => urql.mutation(text, variables).toPromise(),
    watch: (text: string, variables: object, next: (answer: Answer) => void) =>
      urql.subscription(text, variables).subscribe(next).unsubscribe,
  },
  Apollo: {
    query: async (text: string, variables: object): Promise<Answer> =>
      apollo.query({ query: gql(text), variables, fetchPolicy: 'network-only', errorPolicy: 'all' }),
    mutate: async (text: string, variables: object): Promise<Answer> =>
      apollo.mutate({ mutation: gql(text), variables, errorPolicy: 'all' }),
    watch: (text: string, variables: object, next: (answer: Answer) => void) => {
      const watched = apollo.subscribe({ query: gql(text), variables, fetchPolicy: 'no-cache' }).subscribe(next);
      return () => watched.unsubscribe();
    },
  },
};

describe.each(Object.entries(faces))('%s', (_name, face) => {
  test('sends commands with a commandId, reads its own writes, and goes on after a cut', async () => {
    const id = randomUUID();
    await face.mutate(OPEN, { id });
    const changes: Change[] = [];
    const leave = face.watch(WATCH, { id }, ({ data }) => changes.push(data.accountChanged));
    await until('the account', () => changes.find(({ node }) => node?.balance === 0), { seen: () => changes });
    proxy.set({ kind: 'reset' });
    proxy.set({ kind: 'pass' });
    const { data } = await face.mutate(DEPOSIT, { id });
    expect(data.deposit).toMatchObject({ __typename: 'CommandAccepted', commandId: expect.any(String) });
    expect((await face.query(READ, { id, token: data.deposit.token })).data.account.balance).toBe(1);
    await until('the deposit', () => changes.find(({ node }) => node?.balance === 1), { seen: () => changes });
    // It went on: no second snapshot, no GAP.
    const others = changes.map(({ signal }) => signal).filter((signal) => !['UPDATE', 'CAUGHT_UP'].includes(signal));
    expect(others).toEqual(['SNAPSHOT']);
    leave();
    const refused = await face.mutate(DEPOSIT, { id: 'nobody' });
    expect(refused.data.deposit).toMatchObject({ __typename: 'CommandRejected', code: 'NOT_FOUND' });
    const wrong = await face.query('query Wrong { nothing }', {});
    expect(String(wrong.error)).toContain('nothing');
  });
});
