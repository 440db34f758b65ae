import type { IncomingHttpHeaders } from 'node:http';
import { type ExecutionArgs, type GraphQLError, getOperationAST } from 'graphql';
import { makeServer, type Server, type SubscribePayload } from 'graphql-ws';
import type { WebSocket } from 'ws';
import type { Runtime } from '../engine/contract/runtime.ts';
import { type ClientErrors, coded, plainError } from './client-errors.ts';
import { type ClientMeter, tooManySubscriptions } from './client-meter.ts';
import { limits } from './limits.ts';
import { operationContext } from './operation-context.ts';
import { createSharedSubscriptions, type Subscriber } from './shared-subscriptions.ts';
import type { GatewayYoga } from './yoga.ts';

/** One socket, as its operations see it. */
export interface Connection {
  readonly socket: WebSocket;
  /** The one way to send: what goes past it is not under flow control. */
  readonly send: (data: string) => Promise<void>;
  /** The same, for those who do not wait until it is written. */
  readonly push: (data: string) => void;
  /** Resolves when the client has read enough of what was sent; undefined when it has. For messages that may wait. */
  readonly room: () => Promise<void> | undefined;
  readonly principal: string;
  readonly headers: IncomingHttpHeaders;
  /** Ids of the operations whose handling has not ended, also of those that the client completed. */
  readonly operations: Set<string>;
  /** Those of them that are subscriptions, each with what counts it off when it has ended. */
  readonly subscriptions: Map<string, () => void>;
  /** Aborts when the socket is closed. */
  readonly gone: AbortSignal;
  draining: boolean;
  /** Id of the operation that the message in hand has begun. */
  begun?: string | undefined;
  /** Called when an operation turned out to be a subscription. */
  onKindKnown?: () => void;
}
export type SocketProtocol = Server<Connection>;

const TOO_MANY_REQUESTS = 4429;
interface Envelope {
  readonly enveloped: ReturnType<GatewayYoga['getEnveloped']>;
  readonly subscriber: Subscriber;
}

/** graphql-ws over the same Yoga pipeline as HTTP: same plugins, same limits, same masking. */
export function socketProtocol(options: {
  readonly runtime: Runtime;
  readonly yoga: GatewayYoga;
  readonly clientError: ClientErrors;
  readonly subscriptions: ClientMeter;
}): SocketProtocol {
  const { clientError } = options;
  const shared = createSharedSubscriptions(clientError);
  const envelopes = new WeakMap<object, Envelope>();
  const envelopeOf = (args: ExecutionArgs): Envelope => {
    const found = envelopes.get(args.contextValue as object);
    if (found === undefined) throw new Error('an operation lost its envelope');
    return found;
  };
  return makeServer<Record<string, unknown>, Connection>({
    connectionInitWaitTimeout: limits.socketInitTimeoutMs,
    execute: (args) => envelopeOf(args).enveloped.execute(args),
    subscribe: (args) => {
      const { enveloped, subscriber } = envelopeOf(args);
      return shared.subscribe(args, subscriber) ?? enveloped.subscribe(args);
    },
    async onSubscribe({ extra: connection, connectionParams, subscriptions }, id, payload) {
      if (connection.operations.has(id)) {
        // graphql-ws knows an operation by its id alone: with the id back in its table, the one that its client has
        // completed would go on, and nobody could stop it. Nothing is awaited here, or the id may be in use again by then.
        delete subscriptions[id];
        const error = coded('BAD_REQUEST', `The operation "${id}" has not ended yet; give the next one another id.`);
        void connection.send(JSON.stringify({ id, type: 'error', payload: [plainError(clientError(error))] }));
        return [error];
      }
      connection.operations.add(id);
      connection.begun = id;
      try {
        return await prepare(options, connection, connectionParams, id, payload, envelopes);
      } catch (error) {
        return [clientError(error)];
      }
    },
    onNext({ extra: connection }, id, _payload, _args, result) {
      const shown = result.errors && { ...result, errors: result.errors.map(plainError) };
      // Nothing more is taken from a subscription's source meanwhile.
      const room = connection.subscriptions.has(id) ? connection.room() : undefined;
      return (room === undefined ? shown : room.then(() => shown)) as never;
    },
    // Errors of validation, and what an iterator threw: masked again, because a leak here would be for ever.
    onError: (_ctx, _id, _payload, errors) => errors.map((error) => plainError(clientError(error))) as never,
  });
}

async function prepare(
  {
    runtime,
    yoga,
    subscriptions,
  }: { readonly runtime: Runtime; readonly yoga: GatewayYoga; readonly subscriptions: ClientMeter },
  connection: Connection,
  connectionParams: Readonly<Record<string, unknown>> | undefined,
  id: string,
  payload: SubscribePayload,
  envelopes: WeakMap<object, Envelope>,
): Promise<ExecutionArgs | readonly GraphQLError[]> {
  if (connection.draining) return [coded('SHUTTING_DOWN', 'This gateway is shutting down; connect again.')];
  const said = {
    correlationId: payload.extensions?.correlationId,
    traceparent: payload.extensions?.traceparent ?? connection.headers.traceparent,
    baggage: payload.extensions?.baggage ?? connection.headers.baggage,
    client: connectionParams?.client ?? connection.headers['x-client-name'],
  };
  const context = operationContext(runtime, said, connection.gone);
  const enveloped = yoga.getEnveloped({ ...context, params: payload });
  const document = enveloped.parse(payload.query);
  const errors: readonly GraphQLError[] = enveloped.validate(enveloped.schema, document);
  if (errors.length > 0) return errors;
  const operation = getOperationAST(document, payload.operationName);
  if (operation == null) {
    return [coded('OPERATION_RESOLUTION_FAILURE', 'Name one operation of the document in "operationName".')];
  }
  if (operation.operation === 'subscription') {
    if (connection.subscriptions.size >= limits.socketSubscriptionsMaxCount) {
      connection.socket.close(TOO_MANY_REQUESTS, `At most ${limits.socketSubscriptionsMaxCount} subscriptions`);
      return [coded('TOO_MANY_SUBSCRIPTIONS', `A socket carries ${limits.socketSubscriptionsMaxCount} subscriptions.`)];
    }
    const release = subscriptions.take(connection.principal);
    if (release === undefined) return [tooManySubscriptions(subscriptions.maxCount)];
    connection.subscriptions.set(id, release);
    connection.onKindKnown?.();
  }
  const contextValue = await enveloped.contextFactory();
  envelopes.set(contextValue, { enveloped, subscriber: { id, push: connection.push, room: connection.room } });
  return {
    schema: enveloped.schema,
    document,
    contextValue,
    variableValues: payload.variables ?? null,
    operationName: payload.operationName ?? null,
  };
}
