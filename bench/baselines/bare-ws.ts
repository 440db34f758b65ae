import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Redis } from 'ioredis';
import { WebSocketServer } from 'ws';
import { environment } from '../lib/append-contender.ts';
import { serve } from '../lib/serve.ts';

/** `ws` alone: what comes over Redis goes to every socket as it is. It knows as much of the protocol as its clients wait for. */
const CHANNEL = `${environment('REDIS_PREFIX')}:broadcast`;
const server = createServer();
const sockets = new WebSocketServer({ server, path: '/graphql', handleProtocols: () => 'graphql-transport-ws' });
sockets.on('connection', (socket) => {
  socket.on('message', (data) => {
    socket.send(String(data).includes('connection_init') ? '{"type":"connection_ack"}' : '{"id":"1","type":"next"}');
  });
});
const subscriber = new Redis(environment('REDIS_URL'));
await subscriber.subscribe(CHANNEL);
subscriber.on('message', (_channel, text: string) => {
  for (const socket of sockets.clients) socket.send(text);
});
const producer = new Redis(environment('REDIS_URL'));
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address() as AddressInfo;

serve(
  {
    url: () => `http://127.0.0.1:${port}/graphql`,
    channel: () => CHANNEL,
    broadcast: (text: string) => producer.publish(CHANNEL, text),
  },
  async () => {
    for (const socket of sockets.clients) socket.terminate();
    subscriber.disconnect();
    producer.disconnect();
  },
);
