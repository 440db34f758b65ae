import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll } from 'vitest';

/** One request that the card network got. */
export interface Seen {
  readonly card: string;
  readonly amount: number;
  readonly idempotencyKey: string;
}
export type Answer = 'charge' | 'decline' | 'fail' | 'refuse' | 'hang' | 'wait';

/** A small card network over HTTP, with faults to switch on. */
export interface CardNetwork {
  readonly url: string;
  readonly seen: readonly Seen[];
  /** Charges with the same key are one. */
  readonly charged: ReadonlyMap<string, number>;
  /** What the next requests for a card get, one after the other; then `charge`. */
  script(card: string, answers: readonly Answer[]): void;
  /** Lets what waits be charged. */
  release(): void;
  /** How long an answer takes. */
  delayMs: number;
  /** Most requests of one card at once, and of all. */
  readonly mostOfCard: number;
  readonly most: number;
  /** Requests whose client went away. */
  readonly abandonedCount: number;
}

export async function startCardNetwork(): Promise<CardNetwork> {
  const seen: Seen[] = [];
  const charged = new Map<string, number>();
  const scripts = new Map<string, Answer[]>();
  const open = new Map<string, number>();
  const waiting = new Set<() => void>();
  const state = { delayMs: 0, mostOfCard: 0, most: 0, abandonedCount: 0 };
  const count = (card: string, by: number): void => {
    open.set(card, (open.get(card) ?? 0) + by);
    state.mostOfCard = Math.max(state.mostOfCard, open.get(card) ?? 0);
    state.most = Math.max(
      state.most,
      [...open.values()].reduce((sum, one) => sum + one, 0),
    );
  };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { card, amount } = JSON.parse(body);
    const idempotencyKey = String(request.headers['idempotency-key']);
    seen.push({ card, amount, idempotencyKey });
    count(card, 1);
    response.on('close', () => {
      count(card, -1);
      if (!response.writableFinished) state.abandonedCount++;
    });
    const how = scripts.get(card)?.shift() ?? 'charge';
    if (how === 'hang') return;
    if (how === 'wait') await new Promise<void>((resolve) => waiting.add(resolve));
    if (state.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, state.delayMs));
    if (how === 'fail') response.writeHead(500).end();
    else if (how === 'refuse') response.writeHead(400).end();
    else {
      if (how !== 'decline') charged.set(idempotencyKey, amount);
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ ok: how !== 'decline' }));
    }
  };
  const server = createServer((request, response) => void answer(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  return Object.assign(state, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    charged,
    release: () => {
      for (const resolve of waiting) resolve();
      waiting.clear();
    },
    script: (card: string, answers: readonly Answer[]) => void scripts.set(card, [...answers]),
  });
}
