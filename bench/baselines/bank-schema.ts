import type { GraphQLSchema } from 'graphql';
import { createSchema } from 'graphql-yoga';

/** The part of the bank's schema that the benchmark's client uses, in the same shapes as Millrace derives them. */
const typeDefs = /* GraphQL */ `
  type Query { account(id: ID!): Account }
  type Mutation { deposit(id: ID!, input: DepositInput!, commandId: ID, expectedVersion: Int, dryRun: Boolean): CommandOutcome! }
  type Subscription { accountChanged(id: ID!, after: String): AccountChange! }
  input DepositInput { amount: Int! }
  union CommandOutcome = CommandAccepted | CommandRejected | InvalidInput
  type CommandAccepted { commandId: ID! correlationId: ID! streamId: ID! id: ID! version: Int duplicate: Boolean! token: String! }
  type CommandRejected { commandId: ID! code: String! reason: String! }
  type InvalidInput { commandId: ID issues: [InputIssue!]! }
  type InputIssue { path: String! message: String! }
  type Account { id: ID! owner: String! currency: String! balance: Int! }
  type AccountChange { signal: Signal! cursor: String! id: ID node: Account version: Int origins: [ID!]! }
  enum Signal { SNAPSHOT UPDATE REMOVED CAUGHT_UP GAP }
`;

export interface DepositArguments {
  readonly id: string;
  readonly input: { readonly amount: number };
  readonly commandId?: string;
}
export interface Accepted {
  readonly commandId: string;
  readonly correlationId: string;
  readonly streamId: string;
  readonly id: string;
  readonly version: number;
  readonly duplicate: boolean;
  readonly token: string;
}
export interface Account {
  readonly id: string;
  readonly owner: string;
  readonly currency: string;
  readonly balance: number;
}
export interface AccountChange {
  readonly signal: 'SNAPSHOT' | 'UPDATE';
  readonly cursor: string;
  readonly id: string;
  readonly node: Account | null;
  readonly version: number;
  readonly origins: readonly string[];
}

export function bankSchema(resolvers: {
  deposit(deposit: DepositArguments): Accepted | Promise<Accepted>;
  accountChanged(id: string): AsyncIterable<AccountChange>;
}): GraphQLSchema {
  return createSchema({
    typeDefs,
    resolvers: {
      Query: { account: () => null },
      Mutation: { deposit: (_root: unknown, args: DepositArguments) => resolvers.deposit(args) },
      Subscription: {
        accountChanged: {
          subscribe: (_root: unknown, { id }: { id: string }) => resolvers.accountChanged(id),
          resolve: (change: AccountChange) => change,
        },
      },
      CommandOutcome: { __resolveType: () => 'CommandAccepted' },
    },
  });
}

/** The answer to a deposit; the token is as long as a real one. */
export const accepted = (id: string, commandId: string, version: number): Accepted => ({
  commandId,
  correlationId: commandId,
  streamId: `default/account/${id}`,
  id,
  version,
  duplicate: false,
  token: Buffer.from(`["main","default/account/${id}",${version},${version}]`).toString('base64url'),
});
