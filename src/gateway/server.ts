import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { GraphQLSchema } from 'graphql';
import type { Runtime } from '../engine/contract/runtime.ts';
import { MillraceError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Settings } from '../settings.ts';
import { type Refusal, refuse } from './answers.ts';
import { clientErrors } from './client-errors.ts';
import { clientMeter, principalOf, tooManySubscriptions } from './client-meter.ts';
import { graphqlDoor } from './door.ts';
import { closeSpread } from './drain.ts';
import { type EventStreams, eventStreams } from './event-streams.ts';
import { answerHealth, answerReady } from './health.ts';
import { limits } from './limits.ts';
import { loopTurns } from './loop-turns.ts';
import { originCheck } from './origins.ts';
import { socketProtocol } from './socket-protocol.ts';
import { type SocketDoor, socketDoor } from './sockets.ts';
import { gatewayYoga } from './yoga.ts';

export interface Gateway {
  /** Base address, for example `http://127.0.0.1:4000`. */
  readonly url: string;
  readonly port: number;
  /**
   * Drains. /ready says 503 at once, no socket and no stream is taken any more; those that are open are closed one after
   * the other, spread over `settings.drainWindowMs` (sockets with 1012 when their queries and mutations are done, streams
   * by a cut), while queries and mutations go on. Then the doors shut, and what runs gets half of
   * `settings.shutdownTimeoutMs`, 3 s at most. A second call waits for the first.
   */
  stop(): Promise<void>;
}

/** What still runs when the window is over gets no more than this. */
const FINISH_MAX_MS = 3_000;

/**
 * Opens the doors: GraphQL over HTTP, SSE and WebSocket at /graphql, /health and /ready. Paths are exact.
 * Throws PORT_IN_USE, SETTINGS_INVALID when HOST is no address of this machine.
 */
export async function startGateway(options: {
  readonly runtime: Runtime;
  readonly schema: GraphQLSchema;
  readonly settings: Settings;
  readonly logger: Logger;
}): Promise<Gateway> {
  const { runtime, settings, logger } = options;
  const { host } = settings.http;
  const clientError = clientErrors({ logger, production: settings.production });
  const origins = originCheck(settings.http.allowedOrigins, host);
  const running = new Set<ServerResponse>();
  const streams = eventStreams();
  const subscriptions = clientMeter(settings.perClient.subscriptionsMaxCount);
  const yoga = gatewayYoga({
    runtime,
    schema: options.schema,
    production: settings.production,
    clientError,
    onStream(request, response) {
      const release = subscriptions.take(principalOf(request));
      if (release === undefined) return tooManySubscriptions(subscriptions.maxCount);
      response.once('close', release);
      streams.add(response);
      return undefined;
    },
  });
  const turns = loopTurns();
  const door = graphqlDoor({
    origins,
    graphiql: !settings.production,
    serve: (request, response) => turns(request.socket, () => yoga(request, response)),
  });
  const sockets = socketDoor({
    origins,
    protocol: socketProtocol({ runtime, yoga, clientError, subscriptions }),
    sockets: clientMeter(settings.perClient.socketsMaxCount),
    logger,
  });

  const life = { draining: false };
  const server = createServer((request, response) => {
    running.add(response);
    response.once('close', () => running.delete(response));
    route(request, response, { door, runtime, logger, draining: life.draining });
  });
  harden(server, sockets);
  const silent = silentConnections(server);
  const port = await listen(server, host, settings.http.port);
  const windowMs = settings.drainWindowMs;
  const timeoutMs = Math.min(FINISH_MAX_MS, settings.shutdownTimeoutMs / 2);
  let stopped: Promise<void> | undefined;
  return {
    url: `http://${addressText(host)}:${port}`,
    port,
    stop: () => {
      life.draining = true;
      stopped ??= stop({ server, sockets, running, streams, silent, windowMs, timeoutMs });
      return stopped;
    },
  };
}

/** Paths are compared whole: what only begins or ends like one of them is none of them. */
function route(
  request: IncomingMessage,
  response: ServerResponse,
  to: {
    readonly door: (request: IncomingMessage, response: ServerResponse) => void;
    readonly runtime: Runtime;
    readonly logger: Logger;
    readonly draining: boolean;
  },
): void {
  switch (request.url?.split('?', 1)[0]) {
    case '/graphql':
      // A stream would be cut at once.
      if (to.draining && request.headers.accept?.includes('text/event-stream')) {
        refuse(response, shuttingDown);
        return;
      }
      if (to.draining) response.setHeader('connection', 'close');
      to.door(request, response);
      return;
    case '/health':
      answerHealth(response);
      return;
    case '/ready':
      answerReady(response, to.runtime, to.draining, to.logger).catch(() => response.destroy());
      return;
    default:
      refuse(response, nothingHere);
  }
}

const shuttingDown: Refusal = {
  status: 503,
  code: 'SHUTTING_DOWN',
  message: 'This gateway is shutting down; send the request again.',
  headers: { connection: 'close', 'retry-after': '1' },
};
const nothingHere: Refusal = {
  status: 404,
  code: 'NO_SUCH_PATH',
  message: 'There is nothing here. GraphQL is at /graphql.',
};

function harden(server: Server, sockets: SocketDoor): void {
  server.requestTimeout = limits.requestTimeoutMs;
  server.headersTimeout = limits.headersTimeoutMs;
  server.keepAliveTimeout = limits.keepAliveTimeoutMs;
  // A body is asked for when its headers passed the door, not before.
  server.on('checkContinue', (request, response) => server.emit('request', request, response));
  server.on('upgrade', (request, socket, head) => sockets.upgrade(request, socket, head));
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) return socket.destroy();
    const status = error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
    socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
  });
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
    server.listen({ host, port, backlog: 1_024 }, () => {
      server.removeAllListeners('error');
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): MillraceError {
  switch (error.code) {
    case 'EADDRINUSE':
      return new MillraceError(
        'PORT_IN_USE',
        `Port ${port} on ${host} is in use by another process. Stop that process, or set PORT to another port (0 takes a free one).`,
        { cause: error },
      );
    case 'EACCES':
      return new MillraceError(
        'PORT_IN_USE',
        `This process may not listen on port ${port} of ${host}. Set PORT to 1024 or above.`,
        { cause: error },
      );
    default:
      return new MillraceError(
        'SETTINGS_INVALID',
        `The gateway cannot listen on ${host}:${port} (${error.code ?? error.message}). Set HOST to an address of this machine, or to 0.0.0.0 for all of them.`,
        { cause: error },
      );
  }
}

function addressText(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}

/** Connections that have not asked anything yet: Node takes them for busy, so a stop would wait for them. */
function silentConnections(server: Server): ReadonlySet<Socket> {
  const silent = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    silent.add(socket);
    socket.once('close', () => silent.delete(socket));
  });
  server.on('request', ({ socket }) => silent.delete(socket));
  server.on('upgrade', ({ socket }) => silent.delete(socket));
  return silent;
}

async function stop(of: {
  readonly server: Server;
  readonly sockets: SocketDoor;
  readonly running: ReadonlySet<ServerResponse>;
  readonly streams: EventStreams;
  readonly silent: ReadonlySet<Socket>;
  readonly windowMs: number;
  readonly timeoutMs: number;
}): Promise<void> {
  const { server, running, streams, timeoutMs } = of;
  const open = [...of.sockets.drain(), ...streams.open()];
  for (const response of running) if (!response.headersSent) response.setHeader('connection', 'close');
  await closeSpread(open, Math.min(of.windowMs, open.length * limits.drainStepMaxMs));

  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  for (const socket of of.silent) socket.destroy();
  // Streams whose request was under way when the drain began.
  for (const stream of streams.open()) stream.close();
  streams.close();
  const late = setTimeout(() => server.closeAllConnections(), timeoutMs);
  await of.sockets.closed(timeoutMs);
  await closed;
  clearTimeout(late);
}
