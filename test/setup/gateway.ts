import { setTimeout as wait } from 'node:timers/promises';
import type { GraphQLSchema } from 'graphql';
import { type Client, createClient } from 'graphql-ws';
import { afterAll } from 'vitest';
import WebSocket from 'ws';
import app from '../../examples/bank/app.ts';
import { createLogger, type Logger } from '../../src/logger.ts';
import { readSettings } from '../../src/settings.ts';
import { type RunningApp, startApp } from '../../src/start.ts';
import { patient } from './patient.ts';
import { testServers } from './servers.ts';

export interface GraphqlAnswer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of any shape
  readonly data: any;
  readonly errors: readonly { readonly message: string; readonly extensions: Readonly<Record<string, unknown>> }[];
  readonly text: string;
}

export interface TestGateway {
  readonly url: string;
  readonly app: RunningApp;
  /** Sends one operation over HTTP. */
  ask(query: string, variables?: object, headers?: Readonly<Record<string, string>>): Promise<GraphqlAnswer>;
  /** A graphql-ws client; disposed of after the file's tests. */
  client(): Client;
  stop(): Promise<void>;
}

const opened: { stop(): Promise<void> }[] = [];
afterAll(async () => {
  for (const one of opened.reverse()) await one.stop();
});

/** The bank (or another schema over it), all roles in this process, on a database of its own and a free port. */
export async function startBank(
  options: {
    readonly schema?: GraphQLSchema;
    readonly env?: Readonly<Record<string, string>>;
    readonly logger?: Logger;
  } = {},
): Promise<TestGateway> {
  const servers = testServers();
  const settings = readSettings({
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    PORT: '0',
    ...patient,
    ...options.env,
  });
  const logger = options.logger ?? createLogger({ level: 'silent', pretty: false });
  const running = await startApp({
    modules: app.modules,
    schema: options.schema ?? app.schema,
    role: 'all',
    settings,
    logger,
  });
  const { url } = running;
  if (url === undefined) throw new Error('the app has no gateway');
  let stopped: Promise<void> | undefined;
  const gateway: TestGateway = {
    url,
    app: running,
    ask: (query, variables, headers) => post(url, JSON.stringify({ query, variables }), headers),
    client() {
      const client = createClient({ url: socketUrl(url), webSocketImpl: WebSocket, retryAttempts: 0 });
      opened.push({ stop: async () => client.dispose() });
      return client;
    },
    async stop() {
      stopped ??= running.stop();
      await stopped;
    },
  };
  opened.push(gateway);
  return gateway;
}

export const socketUrl = (url: string): string => `${url.replace(/^http/, 'ws')}/graphql`;

/** POSTs a body to /graphql and reads the answer, whatever it is. */
export async function post(
  url: string,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Promise<GraphqlAnswer> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: body as BodyInit,
  });
  return answerOf(response);
}

export async function answerOf(response: Response): Promise<GraphqlAnswer> {
  const text = await response.text();
  const json = text.startsWith('{') ? JSON.parse(text) : {};
  return { status: response.status, headers: response.headers, data: json.data, errors: json.errors ?? [], text };
}

/** The values of a subscription, one at a time; rejects when the next one takes too long. */
export function values<T>(iterable: AsyncIterable<T>, timeoutMs = 30_000) {
  const iterator = iterable[Symbol.asyncIterator]();
  return {
    async next(what: string): Promise<T> {
      const late = wait(timeoutMs, undefined, { ref: false }).then(() => {
        throw new Error(`waited ${timeoutMs} ms for ${what}`);
      });
      const result = await Promise.race([iterator.next(), late]);
      if (result.done === true) throw new Error(`the subscription ended before ${what}`);
      return result.value;
    },
    end: async (): Promise<void> => {
      await iterator.return?.();
    },
  };
}
