import { GraphQLInt, GraphQLObjectType, GraphQLSchema, GraphQLString, parse } from 'graphql';
import { expect, test } from 'vitest';
import { clientErrors } from '../../src/gateway/client-errors.ts';
import { createSharedSubscriptions } from '../../src/gateway/shared-subscriptions.ts';
import { createLogger } from '../../src/logger.ts';

let executions = 0;
const sharedResult = { sharedResult: true };
const ticks = [{ n: 1 }, { n: 2 }];
const tick = new GraphQLObjectType({
  name: 'Tick',
  fields: {
    n: {
      type: GraphQLInt,
      extensions: sharedResult,
      resolve: ({ n }: { n: number }) => {
        executions++;
        return n;
      },
    },
    own: { type: GraphQLString, resolve: (_parent, _args, { client }: { client: string }) => client },
    broken: {
      type: GraphQLInt,
      extensions: sharedResult,
      resolve: () => {
        throw new Error('secret');
      },
    },
  },
});
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: 'Query', fields: { no: { type: GraphQLInt } } }),
  subscription: new GraphQLObjectType({
    name: 'Subscription',
    fields: {
      ticks: {
        type: tick,
        args: { from: { type: GraphQLInt } },
        extensions: sharedResult,
        subscribe: async function* () {
          yield* ticks;
        },
        resolve: (delivered) => delivered,
      },
    },
  }),
});
const clientError = clientErrors({ logger: createLogger({ level: 'silent', pretty: false }), production: true });

/** What clients get who subscribe one after the other; undefined for those that are not shared. */
function clientsOf(text: string) {
  const shared = createSharedSubscriptions(clientError);
  const document = parse(text);
  return async (client: string, variableValues: Record<string, unknown> = {}) => {
    const got: string[] = [];
    const push = (message: string): void => void got.push(message);
    const args = { schema, document, variableValues, contextValue: { client } };
    const messages = await shared.subscribe(args, { id: client, room: () => undefined, push });
    if (messages === undefined || !(Symbol.asyncIterator in messages)) return undefined;
    expect(await messages.next()).toEqual({ done: true, value: undefined });
    return got.map((message) => JSON.parse(message));
  };
}
const next = (id: string, data: object) => ({ id, type: 'next', payload: { data } });

test('equal subscriptions are executed once, and each message has the id of its own operation', async () => {
  executions = 0;
  const client = clientsOf('subscription($from: Int) { ticks(from: $from) { __typename count: n } }');
  const data = (count: number) => ({ ticks: { __typename: 'Tick', count } });
  expect(await client('a')).toEqual([next('a', data(1)), next('a', data(2))]);
  // Arguments are for the source alone.
  expect(await client('b', { from: 5 })).toEqual([next('b', data(1)), next('b', data(2))]);
  expect(executions).toBe(2);
});

test('variables that choose fields keep subscriptions apart', async () => {
  const client = clientsOf('subscription($with: Boolean!) { ticks { __typename n @include(if: $with) } }');
  expect((await client('a', { with: true }))?.[0].payload.data.ticks).toEqual({ __typename: 'Tick', n: 1 });
  expect((await client('b', { with: false }))?.[0].payload.data.ticks).toEqual({ __typename: 'Tick' });
});

test('an operation with a field that may look at the client is not shared, in a fragment neither', async () => {
  expect(await clientsOf('subscription { ticks { n own } }')('a')).toBeUndefined();
  expect(await clientsOf('subscription { ticks { ...f } } fragment f on Tick { own }')('a')).toBeUndefined();
});

test('an error is masked, and each client has an id of its own for it', async () => {
  const client = clientsOf('subscription { ticks { broken } }');
  const [first, second] = [await client('a'), await client('b')];
  expect(JSON.stringify([first, second])).not.toContain('secret');
  const idOf = (messages: typeof first) => messages?.[0].payload.errors[0].extensions.errorId;
  expect(idOf(first)).toMatch(/^[0-9a-f-]{36}$/);
  expect(idOf(second)).not.toBe(idOf(first));
});
