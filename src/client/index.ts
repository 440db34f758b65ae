/**
 * `millrace/client`: GraphQL over the stock `graphql-ws` and `fetch`, with what a screen needs beyond them: subscriptions
 * that go on where they were, commands that can be sent again, views as state. For browsers and Node.
 */
export { type LocalErrorCode, MillraceClientError, type WireError } from './client-error.ts';
export type {
  ClientOptions,
  MillraceClient,
  NodeOf,
  OpenVariables,
  Operation,
  RequestLimits,
  SendOptions,
  Sent,
  SubscribeOptions,
} from './contract.ts';
export { createClient } from './create-client.ts';
export type { CursorStorage } from './cursor-keeper.ts';
export type { Document, TypedDocument } from './document.ts';
export type { Forwarded, ForwardedOperation, ForwardedResult, ForwardedSink } from './forward.ts';
export type { RetryTiming } from './retry-delay.ts';
export type {
  LocalGapReason,
  SubscriptionMessage,
  SubscriptionSink,
  SubscriptionStatus,
} from './subscription.ts';
export type { ViewState, ViewStore } from './view-store.ts';
