import { existsSync, readFileSync } from 'node:fs';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { until } from '../../setup/until.ts';
import { expectAtMost, type Fault } from '../harness/fault.ts';
import { heldSocket } from '../harness/held-socket.ts';
import { pause, percentile } from '../harness/moments.ts';
import type { RoleProcess } from '../harness/processes.ts';

const PEERS = 20;
const APP = 'test/faults/harness/bulky-app.ts';
const EVENTS = 3_000;
const PER_SECOND = 100;
const TEXT = 'x'.repeat(16_384);
const WRITE =
  'mutation($id: ID!, $text: String!) { writeMemo(id: $id, commandId: $id, input: { text: $text }) { __typename } }';
const RSS_MAX_MB = 50;
const PEER_P99_MAX_MS = 500;
/** All that an event has. */
const QUERY =
  'subscription { events { event { position at id type data streamId meta { correlationId causationId actor tenant } commandId } } }';

/** One who reads nothing after a moment, and tells what it was closed with. */
function slowReader(port: number) {
  let closed: { readonly code: number; readonly reason: string } | undefined;
  let position = 0;
  const held = heldSocket();
  const client = createClient({
    url: `ws://127.0.0.1:${port}/graphql`,
    retryAttempts: 0,
    webSocketImpl: held.implementation,
  });
  client.on('closed', (event) => {
    if (typeof event === 'object' && event !== null && 'code' in event && 'reason' in event)
      closed = { code: Number(event.code), reason: String(event.reason) };
  });
  const reading = (async () => {
    for await (const { data } of client.iterate<{ events: { event: { position: string } | null } }>({ query: QUERY })) {
      position = Number(data?.events.event?.position ?? position);
    }
  })().catch(() => undefined);
  return {
    position: () => position,
    closed: () => closed,
    pause: () => held.socket()?.pause(),
    resume: () => held.socket()?.resume(),
    async end() {
      await client.dispose();
      await reading;
    },
  };
}

/** Times between an event and its arrival at a healthy peer. */
function peers(port: number, latencies: number[], positions: number[]) {
  const clients = Array.from({ length: PEERS }, (_, index) => {
    const client = createClient({ url: `ws://127.0.0.1:${port}/graphql`, webSocketImpl: WebSocket, retryAttempts: 0 });
    positions[index] = 0;
    const reading = (async () => {
      const deliveries = client.iterate<{ events: { event: { position: string; at: string } | null } }>({
        query: QUERY,
      });
      for await (const { data } of deliveries) {
        const event = data?.events.event;
        if (event == null) continue;
        positions[index] = Number(event.position);
        latencies.push(Date.now() - Date.parse(event.at));
      }
    })().catch(() => undefined);
    return async () => {
      await client.dispose();
      await reading;
    };
  });
  return () => Promise.all(clients.map((end) => end()));
}

function rssMB({ pid }: RoleProcess): number {
  const file = `/proc/${pid}/status`;
  // One that has ended is told of by the stage.
  const kB = existsSync(file) ? /VmRSS:\s+(\d+) kB/.exec(readFileSync(file, 'utf8'))?.[1] : undefined;
  return Number(kB ?? 0) / 1_024;
}

export const slowSubscriber: Fault = {
  id: 'F25',
  title: 'a subscriber that reads nothing among 20 healthy peers, 3,000 events of 16 KiB',
  target: 'RSS + < 50 MB, peers p99 < 500 ms; the slow one is closed with a reason or goes on without a gap',
  profiles: ['production'],
  timeoutMs: 240_000,
  async run(stage) {
    await stage.start('worker', { app: APP });
    // Little memory: what is not needed goes soon, and does not count as if it were.
    const gateway = await stage.start('gateway', { app: APP, env: { NODE_OPTIONS: '--max-old-space-size=192' } });
    await stage.follow();
    const slow = slowReader(gateway.port);
    const latencies: number[] = [];
    const positions: number[] = [];
    const end = peers(gateway.port, latencies, positions);
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, rssMB(gateway));
    }, 100);
    let written = 0;
    const load = async () => {
      for (let n = 0; n < EVENTS; n++) {
        const dueMs = performance.now() + 1_000 / PER_SECOND;
        await stage.clients.ask(0, WRITE, { id: `memo-${written++}`, text: TEXT });
        await pause(Math.max(0, dueMs - performance.now()));
      }
    };
    // The same load, while everybody reads: what it costs is not the slow one's doing. Twice: at first memory grows anyway.
    await load();
    await load();
    await stage.drained(10_000);
    await until('the slow one reads', () => slow.position() > 0 || undefined);
    const before = most;
    slow.pause();
    latencies.length = 0;
    await load();
    const drainMs = await stage.drained(10_000);
    const last = await stage.store.log.end();
    await until('all peers have everything', () => positions.every((at) => at === last) || undefined, {
      timeoutMs: 10_000,
      seen: () => positions,
    });
    clearInterval(watch);
    slow.resume();
    await until(
      'the slow one has everything, or was closed with a reason',
      () => slow.position() === last || slow.closed() !== undefined || undefined,
      { timeoutMs: 20_000, seen: () => ({ position: slow.position(), last }) },
    );
    const how = slow.closed();
    await Promise.all([slow.end(), end()]);
    const p99 = percentile(latencies, 0.99);
    expectAtMost('memory added in MB', most - before, RSS_MAX_MB);
    expectAtMost('p99 of peers in ms', p99, PEER_P99_MAX_MS);
    return {
      events: last,
      'RSS before MB': Math.round(before),
      'RSS added at most MB': Math.round(most - before),
      'p99 of peers ms': p99,
      'the slow one': how === undefined ? 'went on without a gap' : `was closed with ${how.code} ${how.reason}`,
      'drain ms': drainMs,
    };
  },
};
