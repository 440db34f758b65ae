import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import WebSocket from 'ws';
import { until } from './until.ts';

export const INIT = JSON.stringify({ type: 'connection_init' });
export const subscribe = (query: string, id: string = randomUUID(), variables?: object): string =>
  JSON.stringify({ id, type: 'subscribe', payload: { query, variables } });

export interface Message {
  readonly type: string;
  readonly id?: string;
  // biome-ignore lint/suspicious/noExplicitAny: payloads have any shape
  readonly payload?: any;
}

/** A WebSocket that remembers what it was told. */
export async function testSocket(
  url: string,
  options: {
    readonly ack?: boolean;
    readonly path?: string;
    readonly protocol?: string;
    readonly origin?: string;
    readonly host?: string;
  } = {},
) {
  const { ack = true, path = url, protocol = 'graphql-transport-ws', origin, host } = options;
  const ws = new WebSocket(path, [protocol], { ...(origin && { origin }), ...(host && { headers: { host } }) });
  const messages: Message[] = [];
  let closed: { readonly code: number; readonly reason: string } | undefined;
  let refused: { readonly status: number; readonly text: string; readonly retryAfter: string | undefined } | undefined;
  // At once: a gateway waits five seconds for it.
  ws.on('open', () => ack && ws.send(INIT));
  ws.on('message', (data) => messages.push(JSON.parse(String(data))));
  ws.on('close', (code, reason) => {
    closed = { code, reason: String(reason) };
  });
  ws.on('error', () => undefined);
  ws.on('unexpected-response', async (_request, response: IncomingMessage) => {
    let text = '';
    for await (const chunk of response) text += chunk;
    refused = { status: response.statusCode ?? 0, text, retryAfter: response.headers['retry-after'] };
  });
  const seen = () => ({ messages: messages.slice(-3), closed, refused });
  const self = {
    ws,
    messages,
    send: (text: string) => ws.send(text),
    /** The bytes under the frames. */
    get wire(): Socket {
      return (ws as never as { readonly _socket: Socket })._socket;
    },
    closing: () => until('the socket to close', () => closed, { seen }),
    refusal: () => until('the upgrade to be refused', () => refused, { seen }),
    message: (what: string, match: (message: Message) => boolean) => until(what, () => messages.find(match), { seen }),
    async answer(query: string, variables?: object): Promise<Message> {
      const id = randomUUID();
      ws.send(subscribe(query, id, variables));
      return self.message(`an answer to ${query}`, (message) => message.id === id && message.type !== 'complete');
    },
  };
  await until(
    'the socket to open',
    () => (ws.readyState !== WebSocket.CONNECTING || refused !== undefined ? true : undefined),
    { seen },
  );
  if (ack && refused === undefined && ws.readyState === WebSocket.OPEN) {
    await self.message('connection_ack', ({ type }) => type === 'connection_ack');
  }
  return self;
}
