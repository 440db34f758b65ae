import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { EnvelopArmorPlugin } from '@escape.tech/graphql-armor';
import { useCSRFPrevention } from '@graphql-yoga/plugin-csrf-prevention';
import type { ExecutionArgs, GraphQLSchema } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { createYoga } from 'graphql-yoga';
import { WebSocketServer } from 'ws';

export interface YogaServer {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * Yoga and graphql-ws as their documents wire them, with the safety that Millrace's gateway has (limits, CSRF
 * prevention, masked errors): what is compared is the work behind the schema, not the options before it.
 */
export async function startYoga(schema: GraphQLSchema): Promise<YogaServer> {
  const yoga = createYoga({
    schema,
    logging: false,
    landingPage: false,
    graphiql: false,
    multipart: false,
    maskedErrors: true,
    cors: false,
    plugins: [EnvelopArmorPlugin(), useCSRFPrevention()],
  });
  const server = createServer(yoga);
  const sockets = new WebSocketServer({ server, path: yoga.graphqlEndpoint, maxPayload: 128 * 1024 });
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
