/**
 * A small card network over HTTP, with faults to switch on. `node … examples/bank/card-network.ts [port]` runs it alone.
 * POST /charges { card, amount } with an idempotency-key; POST /notifications; POST /faults { failRate?, hangRate?, slowMs? };
 * GET /charges and /notifications list what it took.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

export interface Faults {
  /** Share of requests that are answered with 503, 0 to 1; half of them after the charge was made. */
  readonly failRate: number;
  /** Share of requests that are never answered. */
  readonly hangRate: number;
  readonly slowMs: number;
}
export interface CardNetwork {
  readonly url: string;
  /** By idempotency key. */
  readonly charges: ReadonlyMap<string, { readonly card: string; readonly amount: number; readonly tries: number }>;
  readonly notifications: ReadonlyMap<string, { readonly body: unknown; readonly tries: number }>;
  faults: Faults;
  close(): Promise<void>;
}

/** Cards that end in 0 are declined. */
const isDeclined = (card: string): boolean => card.endsWith('0');

/** Starts the network on a free port, or the given one. */
export async function startCardNetwork(port = 0): Promise<CardNetwork> {
  const charges = new Map<string, { card: string; amount: number; tries: number }>();
  const notifications = new Map<string, { body: unknown; tries: number }>();
  const network = { faults: { failRate: 0, hangRate: 0, slowMs: 0 } as Faults };

  const charge = (key: string, body: unknown): unknown => {
    const { card, amount } = body as { card?: unknown; amount?: unknown };
    if (typeof card !== 'string' || typeof amount !== 'number') return undefined;
    if (isDeclined(card)) return { status: 'DECLINED', reason: 'the issuer says no' };
    const known = charges.get(key);
    charges.set(key, { card, amount, tries: (known?.tries ?? 0) + 1 });
    return { status: 'CHARGED', reference: `ref-${key}` };
  };
  const notification = (key: string, body: unknown): unknown => {
    notifications.set(key, { body, tries: (notifications.get(key)?.tries ?? 0) + 1 });
    return { ok: true };
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = new URL(request.url ?? '/', 'http://network').pathname;
    if (request.method === 'GET') {
      const list = path === '/charges' ? charges : path === '/notifications' ? notifications : undefined;
      return send(response, list === undefined ? 404 : 200, list === undefined ? {} : Object.fromEntries(list));
    }
    const body = await bodyOf(request);
    if (path === '/faults') {
      network.faults = { ...network.faults, ...(body as Partial<Faults>) };
      return send(response, 200, network.faults);
    }
    const act = path === '/charges' ? charge : path === '/notifications' ? notification : undefined;
    const key = request.headers['idempotency-key'];
    if (act === undefined || typeof key !== 'string') return send(response, act === undefined ? 404 : 400, {});
    const { failRate, hangRate, slowMs } = network.faults;
    if (slowMs > 0) await pause(slowMs);
    if (Math.random() < hangRate) return;
    const fails = Math.random() < failRate;
    if (fails && Math.random() < 0.5) return send(response, 503, { error: 'not now' });
    const result = act(key, body);
    if (fails) return send(response, 503, { error: 'done, but you will never know' });
    send(response, result === undefined ? 400 : 200, result ?? { error: 'card and amount are needed' });
  };

  const server: Server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => send(response, 500, { error: String(error) }));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    charges,
    notifications,
    get faults() {
      return network.faults;
    },
    set faults(faults) {
      network.faults = faults;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  if (response.headersSent) return;
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString('utf8') || '{}');
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const network = await startCardNetwork(Number(process.argv[2] ?? 4010));
  process.stdout.write(`card network at ${network.url}\n`);
}
