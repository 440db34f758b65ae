import { setMaxListeners } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { GRAPHQL_TRANSPORT_WS_PROTOCOL } from 'graphql-ws';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Logger } from '../logger.ts';
import { type ClientMeter, principalOf } from './client-meter.ts';
import type { Drainable } from './drain.ts';
import { limits } from './limits.ts';
import type { OriginCheck } from './origins.ts';
import { type Progress, progressOf, stoodStill } from './progress.ts';
import { refuseUpgrade, tooManySockets, upgradeProblem } from './refuse-upgrade.ts';
import { SendWindow } from './send-window.ts';
import type { Connection, SocketProtocol } from './socket-protocol.ts';

/** Close codes of this gateway; 4xxx as graphql-ws uses them. */
const SERVICE_RESTART = 1012;
const TRY_AGAIN_LATER = 1013;
const INTERNAL_ERROR = 4500;

/** At most 123 bytes. */
const tooSlow = 'Too slow: nothing was read from one heartbeat to the next; go on after the last cursor';

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
  readonly sockets: ClientMeter;
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
      const refusal = upgradeProblem(request, options.origins, draining);
      if (refusal !== undefined) return refuseUpgrade(socket, refusal);
      const { sockets } = options;
      const release = sockets.take(principalOf(request));
      if (release === undefined) return refuseUpgrade(socket, tooManySockets(sockets.maxCount));
      socket.once('close', release);
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
      corkForTurn(wire);
      socket.send(data, () => {
        control();
        resolve();
      });
      window.sent(data.length);
      control();
    });
  const push = (data: string): void => {
    if (socket.readyState !== socket.OPEN) return;
    corkForTurn(wire);
    socket.send(data);
    window.sent(data.length);
    control();
  };
  const window = new SendWindow((mark) => socket.ping(mark), limits.heartbeatIntervalMs);
  const connection: Connection = {
    socket,
    send,
    push,
    room: () => window.room(),
    principal: principalOf(request),
    headers: request.headers,
    operations: new Set(),
    subscriptions: new Map(),
    gone: gone.signal,
    draining: false,
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
  let behindAt: Progress | undefined;
  let silentBeats = 0;
  /** Heartbeats without a sign of life that are no wonder, as much as it still has to read. */
  const patience = (): number => {
    const beats = window.underWayCount / (limits.slowestBytesPerSecond * (limits.heartbeatIntervalMs / 1_000));
    return Math.min(limits.slowestBeatsMaxCount, Math.floor(beats));
  };
  /** Ends its subscriptions and lets go of what they hold. The client may still read what was sent, and why it ended. */
  const giveUp = (): void => {
    // Told before, and nothing came of it.
    if (socket.readyState !== socket.OPEN) {
      socket.terminate();
      return;
    }
    socket.close(TRY_AGAIN_LATER, tooSlow);
    socket.resume();
    gone.abort();
    window.end();
  };
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
              connection.subscriptions.get(id)?.();
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
  socket.on('pong', (mark) => {
    alive = true;
    window.read(String(mark));
  });
  wire.on('drain', () => control());
  // The peer broke the protocol (1002, 1007, 1009) or is gone; ws closes the socket itself.
  socket.on('error', (error) => logger.debug({ err: error }, 'a WebSocket failed'));
  socket.once('close', (code, reason) => {
    gone.abort();
    window.end();
    onClosed();
    closed(code, String(reason)).catch((error: unknown) =>
      logger.error({ err: error }, 'a WebSocket was not closed well'),
    );
  });
  return {
    beat() {
      control();
      // Whoever is behind is asked for no pong, but must take something from one beat to the next.
      const before = behindAt;
      behindAt = behind() ? progressOf(wire) : undefined;
      if (behindAt !== undefined && before !== undefined && stoodStill(before, behindAt)) return giveUp();
      if (socket.isPaused) {
        // Its pongs wait unread, with everything else that it sends.
        alive = true;
        return;
      }
      silentBeats = alive ? 0 : silentBeats + 1;
      if (silentBeats > patience()) return giveUp();
      alive = false;
      window.mark();
    },
    drain() {
      connection.draining = true;
      closeWhenIdle();
    },
    end: () => socket.terminate(),
    gone: new Promise((resolve) => socket.once('close', resolve)),
  };
}

const corked = new Set<Socket>();
/** What is sent in one turn of the event loop leaves in one write a socket, all of them together. */
function corkForTurn(wire: Socket): void {
  if (corked.has(wire)) return;
  if (corked.size === 0) setImmediate(uncorkAll);
  corked.add(wire);
  wire.cork();
}
function uncorkAll(): void {
  for (const wire of corked) wire.uncork();
  corked.clear();
}
