import { setMaxListeners } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { GRAPHQL_TRANSPORT_WS_PROTOCOL } from 'graphql-ws';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Logger } from '../logger.ts';
import { type Refusal, refusalBody } from './answers.ts';
import type { Drainable } from './drain.ts';
import { limits } from './limits.ts';
import type { OriginCheck } from './origins.ts';
import type { Connection, SocketProtocol } from './socket-protocol.ts';

/** Close codes of this gateway; 4xxx as graphql-ws uses them. */
const SERVICE_RESTART = 1012;
const INTERNAL_ERROR = 4500;

export interface SocketDoor {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /**
   * Takes no new socket. Gives those that are open: one that is told to close takes no new operation, and is closed with
   * 1012, which clients retry, when its queries and mutations are done.
   */
  drain(): readonly Drainable[];
  /** Resolves when all sockets are closed; what is left at the timeout is cut. Called once, after `drain`. */
  closed(timeoutMs: number): Promise<void>;
}

/**
 * WebSockets at exactly /graphql, subprotocol graphql-transport-ws. A broken frame, a lost peer or a message of no sense
 * ends its own socket and nothing else.
 */
export function socketDoor(options: {
  readonly origins: OriginCheck;
  readonly protocol: SocketProtocol;
  readonly logger: Logger;
}): SocketDoor {
  const { logger, protocol } = options;
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: limits.socketMessageMaxBytes,
    handleProtocols: () => GRAPHQL_TRANSPORT_WS_PROTOCOL,
  });
  const open = new Set<LiveSocket>();
  let draining = false;
  let allClosed: (() => void) | undefined;

  const heartbeat = setInterval(() => {
    for (const live of open) live.beat();
  }, limits.heartbeatIntervalMs);
  heartbeat.unref();

  return {
    upgrade(request, socket, head) {
      socket.on('error', () => undefined);
      const refusal = refusalOf(request, options.origins, draining);
      if (refusal !== undefined) return refuseUpgrade(socket, refusal);
      server.handleUpgrade(request, socket, head, (webSocket) => {
        const live = liveSocket(webSocket, request, protocol, logger, () => {
          open.delete(live);
          if (open.size === 0) allClosed?.();
        });
        open.add(live);
      });
    },
    drain() {
      draining = true;
      return [...open].map(({ drain, gone }) => ({ close: drain, gone }));
    },
    async closed(timeoutMs) {
      if (open.size > 0) {
        await new Promise<void>((resolve) => {
          const late = setTimeout(resolve, timeoutMs);
          allClosed = () => {
            clearTimeout(late);
            resolve();
          };
        });
      }
      clearInterval(heartbeat);
      for (const live of open) live.end();
    },
  };
}

interface LiveSocket {
  readonly beat: () => void;
  readonly drain: () => void;
  readonly end: () => void;
  readonly gone: Promise<unknown>;
}

function liveSocket(
  socket: WebSocket,
  request: IncomingMessage,
  protocol: SocketProtocol,
  logger: Logger,
  onClosed: () => void,
): LiveSocket {
  const wire = request.socket;
  let alive = true;
  let running = 0;
  const gone = new AbortController();
  // Each subscription of the socket listens; their number is limited elsewhere.
  setMaxListeners(0, gone.signal);
  const send = (data: string): Promise<void> =>
    new Promise((resolve) => {
      // A failed send is followed by 'close', which ends everything that would send more.
      if (socket.readyState !== socket.OPEN) return resolve();
      cork();
      socket.send(data, () => {
        control();
        resolve();
      });
      control();
    });
  const connection: Connection = {
    socket,
    send,
    headers: request.headers,
    operations: new Set(),
    subscriptions: new Set(),
    gone: gone.signal,
    draining: false,
  };
  // What is sent in one turn of the event loop leaves in one write.
  let corked = false;
  const cork = (): void => {
    if (corked) return;
    corked = true;
    wire.cork();
    setImmediate(() => {
      corked = false;
      wire.uncork();
    });
  };
  const busy = (): number => running - connection.subscriptions.size;
  const closeWhenIdle = (): void => {
    if (connection.draining && busy() <= 0) socket.close(SERVICE_RESTART, 'Service restart');
  };
  // Flow control: what the client sends beyond its share, or before it takes its answers, waits in its own buffers.
  const behind = (): boolean => socket.bufferedAmount > limits.socketBufferedMaxBytes;
  const control = (): void => {
    if (busy() >= limits.socketOperationsMaxCount || behind()) socket.pause();
    else if (socket.isPaused) {
      // Its pong may have waited with the rest.
      alive = true;
      socket.resume();
    }
  };
  let taken: Taken | undefined;
  const closed = protocol.opened(
    {
      protocol: socket.protocol,
      send,
      close: (code, reason) => socket.close(code, reason),
      onMessage: (handle) => {
        socket.on('message', async (data) => {
          // What comes after the close frame would be carried out, and its answer thrown away.
          if (socket.readyState !== socket.OPEN) return;
          alive = true;
          running += 1;
          connection.onKindKnown = control;
          control();
          const handled = handle(String(data));
          const id = connection.begun;
          connection.begun = undefined;
          try {
            await handled;
          } catch (error) {
            logger.error({ err: error }, 'a WebSocket message could not be handled');
            socket.close(INTERNAL_ERROR, 'Internal server error');
          } finally {
            running -= 1;
            if (id !== undefined) {
              connection.operations.delete(id);
              connection.subscriptions.delete(id);
            }
            control();
            closeWhenIdle();
          }
        });
      },
    },
    connection,
  );
  socket.on('pong', () => {
    alive = true;
  });
  // The peer broke the protocol (1002, 1007, 1009) or is gone; ws closes the socket itself.
  socket.on('error', (error) => logger.debug({ err: error }, 'a WebSocket failed'));
  socket.once('close', (code, reason) => {
    gone.abort();
    onClosed();
    closed(code, String(reason)).catch((error: unknown) =>
      logger.error({ err: error }, 'a WebSocket was not closed well'),
    );
  });
  return {
    beat() {
      control();
      // Whoever is behind is asked for no pong, but must take something from one beat to the next.
      const before = taken;
      taken = behind() ? takenOf(wire) : undefined;
      if (
        taken !== undefined &&
        taken.writtenByteCount === before?.writtenByteCount &&
        taken.leftByteCount === before.leftByteCount
      ) {
        return socket.terminate();
      }
      if (socket.isPaused) {
        // Its pongs wait unread, with everything else that it sends.
        alive = true;
        return;
      }
      if (!alive) return socket.terminate();
      alive = false;
      socket.ping();
    },
    drain() {
      connection.draining = true;
      closeWhenIdle();
    },
    end: () => socket.terminate(),
    gone: new Promise((resolve) => socket.once('close', resolve)),
  };
}

interface Taken {
  /** Bytes of the writes that are done. */
  readonly writtenByteCount: number;
  /** What the system has not yet accepted of the write in flight. */
  readonly leftByteCount: number;
}

/**
 * How far a connection's peer has come. The public counters move only when a whole write is done, and one write carries
 * all that waited: 16 MB and more. Node's own socket timeouts see a write move by `writeQueueSize`, which has no public
 * name; they are no use here, because what the peer sends puts them off too.
 */
function takenOf(wire: Socket & { readonly _handle?: { readonly writeQueueSize?: number } | null }): Taken {
  return {
    writtenByteCount: wire.bytesWritten - wire.writableLength,
    leftByteCount: wire._handle?.writeQueueSize ?? 0,
  };
}

function refusalOf(request: IncomingMessage, origins: OriginCheck, draining: boolean): Refusal | undefined {
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

const reasons: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  503: 'Service Unavailable',
};

function refuseUpgrade(socket: Duplex, refusal: Refusal): void {
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
