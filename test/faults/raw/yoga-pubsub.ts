/**
 * A subscription by Yoga's pub/sub over graphql-ws, as their documentation shows it. Says its port;
 * publishes 1,000 events of 16 KiB a second to its one subscriber.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { useServer } from 'graphql-ws/use/ws';
import { createPubSub, createSchema } from 'graphql-yoga';
import { WebSocketServer } from 'ws';

const TEXT = 'x'.repeat(16_384);
const pubSub = createPubSub<{ memo: [string] }>();
const schema = createSchema({
  typeDefs: 'type Query { ok: Boolean } type Subscription { memo: String! }',
  resolvers: {
    Subscription: {
      memo: {
        subscribe() {
          setInterval(() => pubSub.publish('memo', TEXT), 1);
          return pubSub.subscribe('memo');
        },
        resolve: (text: string) => text,
      },
    },
  },
});
const server = createServer();
useServer({ schema }, new WebSocketServer({ server, path: '/graphql' }));
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
