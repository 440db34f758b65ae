import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ExecutionResult, GraphQLError, GraphQLSchema } from 'graphql';
import { createYoga, type YogaServerInstance } from 'graphql-yoga';
import type { Runtime } from '../engine/contract/runtime.ts';
import type { ClientErrors } from './client-errors.ts';
import type { GatewayContext } from './context.ts';
import { documentCaches } from './document-cache.ts';
import { graphiqlPage } from './graphiql.ts';
import { operationContext, saidByHeaders } from './operation-context.ts';
import { plugins } from './plugins/index.ts';
import { sseIds } from './sse-ids.ts';

/** What Yoga is given of an HTTP request; an operation on a WebSocket comes with its context ready. */
export interface ServerContext {
  readonly req?: IncomingMessage;
  readonly res?: ServerResponse;
}
export type GatewayYoga = YogaServerInstance<ServerContext, GatewayContext>;

interface Subscribing {
  readonly args: { readonly contextValue: ServerContext };
  readonly setResultAndStopExecution: (result: ExecutionResult) => void;
}

/** Yoga with every door of its own shut: bodies, origins and paths are judged in door.ts. */
export function gatewayYoga(options: {
  readonly runtime: Runtime;
  readonly schema: GraphQLSchema;
  readonly production: boolean;
  readonly clientError: ClientErrors;
  /** Called with what carries a subscription (SSE), before it begins. An error is the answer instead. */
  readonly onStream: (request: IncomingMessage, response: ServerResponse) => GraphQLError | undefined;
}): GatewayYoga {
  const { runtime, clientError } = options;
  return createYoga<ServerContext, GatewayContext>({
    schema: options.schema,
    graphqlEndpoint: '/graphql',
    context: (initial) => {
      if (isGatewayContext(initial)) return initial;
      const { req, res, request } = initial;
      const context = operationContext(runtime, saidByHeaders(req?.headers ?? {}), request.signal);
      if (res !== undefined && !res.headersSent) res.setHeader('x-correlation-id', context.correlationId);
      return context;
    },
    plugins: [
      ...plugins(options),
      {
        onSubscribe({ args, setResultAndStopExecution }: Subscribing) {
          const { req, res } = args.contextValue;
          const error = req && res && options.onStream(req, res);
          if (error !== undefined) setResultAndStopExecution({ errors: [error] });
        },
      },
      sseIds(),
    ],
    // What the plugins have not answered yet.
    maskedErrors: { maskError: (error) => clientError(error), isDev: false },
    parserAndValidationCache: documentCaches(),
    graphiql: options.production
      ? false
      : { title: 'Millrace', subscriptionsProtocol: 'WS', defaultQuery: '{\n  __typename\n}\n' },
    ...(options.production ? {} : { renderGraphiQL: graphiqlPage() }),
    // Read, bounded and parsed in door.ts.
    maxRequestBodySize: false,
    multipart: false,
    batching: false,
    landingPage: false,
    cors: false,
    logging: false,
    // A path that no request can have: /health is the gateway's own, and only as an exact path.
    healthCheckEndpoint: ' ',
  });
}

function isGatewayContext(value: object): value is GatewayContext {
  return 'runtime' in value && 'correlationId' in value;
}
