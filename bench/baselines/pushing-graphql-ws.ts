import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { useServer } from 'graphql-ws/use/ws';
import { Repeater } from 'graphql-yoga';
import { Redis } from 'ioredis';
import { WebSocketServer } from 'ws';
import { environment } from '../lib/append-contender.ts';
import { serve } from '../lib/serve.ts';
import { type AccountChange, accepted, bankSchema } from './bank-schema.ts';

/** graphql-ws and a schema: the documents come whole over Redis, and go to those who subscribe to them. */
const subscribers = new Map<string, Set<(change: AccountChange) => unknown>>();
const accountChanged = (id: string) =>
  new Repeater<AccountChange>(async (push, stop) => {
    const pushes = subscribers.get(id) ?? new Set();
    subscribers.set(id, pushes.add(push));
    push({ signal: 'SNAPSHOT', cursor: 'c', id, node: null, version: 0, origins: [] });
    await stop;
    pushes.delete(push);
  });
const schema = bankSchema({ deposit: ({ id }) => accepted(id, 'none', 1), accountChanged });
const server = createServer();
const sockets = new WebSocketServer({ server, path: '/graphql' });
const disposable = useServer({ schema }, sockets);
const subscriber = new Redis(environment('REDIS_URL'));
const channel = `${environment('REDIS_PREFIX')}:changes`;
await subscriber.subscribe(channel);
subscriber.on('message', (_channel, json: string) => {
  const changes: readonly AccountChange[] = JSON.parse(json);
  for (const change of changes) for (const push of subscribers.get(change.id) ?? []) push(change);
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address() as AddressInfo;

serve({ url: () => `http://127.0.0.1:${port}/graphql`, channel: () => channel }, async () => {
  await disposable.dispose();
  subscriber.disconnect();
});
