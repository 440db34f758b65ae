import { initGraphQLTada, type TadaDocumentNode } from 'gql.tada';
import type { introspection } from './graphql-env.d.ts';

/** Documents with the types of schema.graphql; `npm run example:types` makes graphql-env.d.ts from it. */
export const graphql = initGraphQLTada<{
  introspection: introspection;
  scalars: { ID: string; SafeInt: number; Cursor: string; Token: string; DateTime: string; JSON: unknown };
}>();
export type { TadaDocumentNode };

export const Accounts = graphql(`
  subscription Accounts($after: Cursor) {
    accountsChanged(after: $after) { signal cursor id version origins node { id owner currency balance } }
  }
`);

export const Deposit = graphql(`
  mutation Deposit($id: ID!, $amount: SafeInt!, $commandId: ID) {
    deposit(id: $id, input: { amount: $amount }, commandId: $commandId) {
      __typename ... on CommandAccepted { id version } ... on CommandRejected { reason }
    }
  }
`);

export const Withdraw = graphql(`
  mutation Withdraw($id: ID!, $amount: SafeInt!, $commandId: ID) {
    withdraw(id: $id, input: { amount: $amount }, commandId: $commandId) {
      __typename ... on CommandAccepted { id version } ... on CommandRejected { reason }
    }
  }
`);
