import { connect, type Socket } from 'node:net';
import type { Door } from './door.ts';

/**
 * GraphQL over HTTP/1.1 on `connectionCount` keep-alive connections, one request under way on each, more wait their turn.
 * Written on sockets because the load generator shares the cores with what it measures: an HTTP library on this side
 * costs as much as the server.
 */
export async function openHttpDoor(url: URL, connectionCount: number): Promise<Door> {
  const connections = await Promise.all(Array.from({ length: connectionCount }, () => openConnection(url)));
  const idle = [...connections];
  const waiting: ((connection: Connection) => void)[] = [];
  const head = [
    `POST ${url.pathname} HTTP/1.1`,
    `Host: ${url.host}`,
    'Content-Type: application/json',
    'Accept: application/json',
    'X-GraphQL-Yoga-CSRF: bench',
    'Content-Length: ',
  ].join('\r\n');
  return {
    async request(operation) {
      const connection = idle.pop() ?? (await new Promise<Connection>((resolve) => waiting.push(resolve)));
      const body = JSON.stringify(operation);
      const answer = await connection.exchange(`${head}${Buffer.byteLength(body)}\r\n\r\n${body}`);
      const next = waiting.shift();
      if (next === undefined) idle.push(connection);
      else next(connection);
      return JSON.parse(answer);
    },
    async close() {
      for (const connection of connections) connection.close();
    },
  };
}

interface Connection {
  exchange(request: string): Promise<string>;
  close(): void;
}

async function openConnection(url: URL): Promise<Connection> {
  const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true });
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  let received = Buffer.alloc(0);
  let pending: { resolve(body: string): void; reject(error: Error): void } | undefined;
  const fail = (error: Error) => pending?.reject(error);
  socket.on('error', fail).on('close', () => fail(new Error('the server closed the connection')));
  socket.on('data', (chunk) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    try {
      const response = parseResponse(received);
      if (response === undefined) return;
      received = Buffer.alloc(0);
      pending?.resolve(response);
    } catch (error) {
      fail(error instanceof Error ? error : new Error(String(error)));
    }
  });
  return {
    exchange: (request) =>
      new Promise((resolve, reject) => {
        if (socket.destroyed) return reject(new Error('the server closed the connection'));
        pending = { resolve, reject };
        socket.write(request);
      }),
    close: () => closeSocket(socket),
  };
}

function closeSocket(socket: Socket): void {
  socket.removeAllListeners('close');
  socket.destroy();
}

/** The body of a whole response, undefined while there is more to come. Throws when the status is not 200. */
function parseResponse(bytes: Buffer): string | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const head = bytes.toString('latin1', 0, headEnd);
  const bodyStart = headEnd + 4;
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  const body = length === undefined ? parseChunks(bytes, bodyStart) : bodyOf(bytes, bodyStart, Number(length));
  if (body !== undefined && !head.startsWith('HTTP/1.1 200')) throw new Error(`${head.split('\r\n')[0]}: ${body}`);
  return body;
}

const bodyOf = (bytes: Buffer, start: number, length: number): string | undefined =>
  bytes.length < start + length ? undefined : bytes.toString('utf8', start, start + length);

function parseChunks(bytes: Buffer, start: number): string | undefined {
  const parts: Buffer[] = [];
  for (let at = start; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    at = lineEnd + 2;
    if (bytes.length < at + size + 2) return undefined;
    if (size === 0) return Buffer.concat(parts).toString('utf8');
    parts.push(bytes.subarray(at, at + size));
    at += size + 2;
  }
}
