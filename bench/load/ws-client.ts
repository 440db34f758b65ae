import { WebSocket } from 'ws';
import type { Operation, OperationResult } from './door.ts';

interface Listener {
  next(result: OperationResult): void;
  fail(error: Error): void;
}

/**
 * One socket that speaks graphql-transport-ws, as thin as can be: the load generator shares the cores with what it
 * measures.
 */
export interface WsClient {
  /** Calls `next` for each result until the server completes or the socket ends. */
  start(operation: Operation, listener: Listener): void;
  close(): Promise<void>;
}

export async function connectWs(url: string): Promise<WsClient> {
  const socket = new WebSocket(url.replace(/^http/, 'ws'), 'graphql-transport-ws', { perMessageDeflate: false });
  const listeners = new Map<string, Listener>();
  let closing = false;
  let lastId = 0;
  const acknowledged = new Promise<void>((resolve, reject) => {
    const failAll = (error: Error) => {
      reject(error);
      if (!closing) for (const listener of listeners.values()) listener.fail(error);
    };
    socket.on('error', failAll);
    socket.on('close', (code, reason) => failAll(new Error(`the socket was closed: ${code} ${reason.toString()}`)));
    socket.on('open', () => socket.send('{"type":"connection_init"}'));
    socket.on('message', (bytes: Buffer) => {
      const message: { type: string; id: string; payload: OperationResult } = JSON.parse(bytes.toString());
      if (message.type === 'next') listeners.get(message.id)?.next(message.payload);
      else if (message.type === 'complete') listeners.delete(message.id);
      else if (message.type === 'error') listeners.get(message.id)?.fail(new Error(JSON.stringify(message.payload)));
      else if (message.type === 'ping') socket.send('{"type":"pong"}');
      else if (message.type === 'connection_ack') resolve();
    });
  });
  await acknowledged;
  return {
    start(operation, listener) {
      lastId += 1;
      const id = String(lastId);
      listeners.set(id, listener);
      socket.send(JSON.stringify({ id, type: 'subscribe', payload: operation }));
    },
    close() {
      closing = true;
      if (socket.readyState === WebSocket.CLOSED) return Promise.resolve();
      return new Promise((resolve) => {
        socket.once('close', () => resolve());
        socket.close(1000);
      });
    },
  };
}
