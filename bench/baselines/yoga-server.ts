import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { useCSRFPrevention } from '@graphql-yoga/plugin-csrf-prevention';
import type { ExecutionArgs, GraphQLSchema } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { createYoga } from 'graphql-yoga';
import { WebSocketServer } from 'ws';
import { clientErrors } from '../../src/gateway/client-errors.ts';
import { documentCaches } from '../../src/gateway/document-cache.ts';
import { limits } from '../../src/gateway/limits.ts';
import { plugins } from '../../src/gateway/plugins/index.ts';
import { createLogger } from '../../src/logger.ts';

export interface YogaServer {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Yoga and graphql-ws as their documents wire them, with the options of Millrace's gateway (limits, document caches,
 * masked errors) taken from its own source, and CSRF prevention by Yoga's plugin: what is compared is the work behind
 * the schema, not the options before it.
 */
export async function startYoga(schema: GraphQLSchema): Promise<YogaServer> {
  const clientError = clientErrors({ logger: createLogger({ level: 'error', pretty: false }), production: true });
  const yoga = createYoga({
    schema,
    plugins: [...plugins({ production: true, clientError }), useCSRFPrevention()],
    maskedErrors: { maskError: clientError, isDev: false },
    parserAndValidationCache: documentCaches(),
    maxRequestBodySize: limits.bodyMaxBytes,
    graphiql: false,
    landingPage: false,
    multipart: false,
    batching: false,
    cors: false,
    logging: false,
  });
  const server = createServer(yoga);
  const sockets = new WebSocketServer({ server, path: yoga.graphqlEndpoint, maxPayload: limits.socketMessageMaxBytes });
  const disposable = useServer(
    {
      execute: (args) => enveloped(args).execute(args),
      subscribe: (args) => enveloped(args).subscribe(args),
      async onSubscribe(context, _id, params) {
        const { schema, execute, subscribe, contextFactory, parse, validate } = yoga.getEnveloped({
          ...context,
          req: context.extra.request,
          socket: context.extra.socket,
          params,
        });
        const document = parse(params.query);
        const errors = validate(schema, document);
        if (errors.length > 0) return errors;
        return {
          schema,
          operationName: params.operationName,
          document,
          variableValues: params.variables,
          contextValue: await contextFactory(),
          rootValue: { execute, subscribe } satisfies Enveloped,
        };
      },
    },
    sockets,
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${yoga.graphqlEndpoint}`,
    async close() {
      await disposable.dispose();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

type Run = (args: ExecutionArgs) => ReturnType<NonNullable<Parameters<typeof useServer>[0]['execute']>>;
interface Enveloped {
  readonly execute: Run;
  readonly subscribe: Run;
}
const enveloped = (args: ExecutionArgs): Enveloped => args.rootValue as Enveloped;
