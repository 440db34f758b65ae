import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { GRAPHQL_TRANSPORT_WS_PROTOCOL } from 'graphql-ws';
import { type Refusal, refusalBody } from './answers.ts';
import type { OriginCheck } from './origins.ts';

/** What is wrong with a request for a WebSocket; undefined when nothing is. */
export function upgradeProblem(request: IncomingMessage, origins: OriginCheck, draining: boolean): Refusal | undefined {
  const path = request.url?.split('?', 1)[0];
  if (path !== '/graphql') {
    return { status: 404, code: 'NO_SUCH_PATH', message: 'WebSockets are served at /graphql only.' };
  }
  if (draining) return shuttingDown;
  const origin = origins(request);
  if (typeof origin === 'object') return origin;
  const protocols = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim());
  if (protocols?.includes(GRAPHQL_TRANSPORT_WS_PROTOCOL) === true) return undefined;
  return {
    status: 400,
    code: 'SUBPROTOCOL_UNKNOWN',
    message: `This gateway speaks the WebSocket subprotocol "${GRAPHQL_TRANSPORT_WS_PROTOCOL}" only.`,
  };
}

const shuttingDown: Refusal = {
  status: 503,
  code: 'SHUTTING_DOWN',
  message: 'This gateway is shutting down; connect again.',
  headers: { 'Retry-After': '1' },
};

export const tooManySockets = (maxCount: number): Refusal => ({
  status: 429,
  code: 'TOO_MANY_SOCKETS',
  message: `A client holds ${maxCount} sockets at most (SOCKETS_PER_CLIENT_MAX).`,
  headers: { 'Retry-After': '10' },
});

const reasons: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  429: 'Too Many Requests',
  503: 'Service Unavailable',
};

/** Answers over HTTP, which the connection still speaks. */
export function refuseUpgrade(socket: Duplex, refusal: Refusal): void {
  const body = refusalBody(refusal);
  socket.end(
    [
      `HTTP/1.1 ${refusal.status} ${reasons[refusal.status] ?? 'Error'}`,
      'Connection: close',
      'Content-Type: application/json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(body)}`,
      ...Object.entries(refusal.headers ?? {}).map(([name, value]) => `${name}: ${value}`),
      '',
      body,
    ].join('\r\n'),
    () => socket.destroy(),
  );
}
