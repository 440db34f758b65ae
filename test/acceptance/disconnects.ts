/**
 * Acceptance: 500 random hard disconnects over two gateways at 200 changes/s, by `millrace/client`, over WebSocket, over
 * SSE and choosing by itself: versions of each document only rise, the final state equals the read model, no document is
 * missing, subscribers of the log see every position once.
 *
 *     node --conditions=millrace-source --import tsx test/acceptance/disconnects.ts [CUTS] [PER_SECOND] [SEED]
 *
 * Two gateway and two worker processes with the settings of production, on servers of their own.
 */
import { setTimeout as wait } from 'node:timers/promises';
import WebSocket from 'ws';
import { createClient } from '../../src/client/index.ts';
import { seeded } from '../faults/harness/random.ts';
import { TcpProxy } from '../faults/harness/tcp-proxy.ts';
import { type BankFollower, differences, followBank } from '../setup/bank-follower.ts';
import { until } from '../setup/until.ts';
import { atRate, onStage, type Stage } from './stage.ts';

const CUTS = Number(process.argv[2] ?? 500);
const PER_SECOND = Number(process.argv[3] ?? 200);
const SEED = Number(process.argv[4] ?? Date.now() % 1_000_000);
const TRANSPORTS = ['ws', 'ws', 'sse', 'auto'] as const;
const LEVEL_MAX_MS = 30_000;

async function play(stage: Stage): Promise<void> {
  const random = seeded(SEED);
  const links: TcpProxy[] = [];
  const followers: BankFollower[] = [];
  const closers: (() => Promise<unknown>)[] = [];
  for (const transport of TRANSPORTS) {
    const link = await TcpProxy.to(...stage.ports);
    const url = `http://127.0.0.1:${link.port}`;
    const retry = { minMs: 20, maxMs: 500 };
    const client = createClient({ url, webSocketImpl: WebSocket, transport, retry, webSocketAgainMs: 1_000 });
    closers.push(() => client.close());
    links.push(link);
    followers.push(followBank(client));
  }
  await Promise.all(followers.map((follower) => follower.untilLive()));

  const events = new Map([...stage.sums.keys()].map((id) => [id, 1]));
  const stop = new AbortController();
  const begun = performance.now();
  const written = atRate(PER_SECOND, stop.signal, async (n) => {
    const { id, version } = await stage.deposit(n);
    events.set(id, Math.max(events.get(id) ?? 0, version));
  });
  const cuts = (): number => followers.reduce((sum, { counts }) => sum + counts.cuts, 0);
  // Counted are those that hit a connection that stood.
  while (cuts() < CUTS) {
    const link = random.pick(links);
    if (random.next() < 0.5) link.cutAfterBytes(random.below(20_000));
    else link.set({ kind: 'reset' });
    await wait(random.below(150));
    link.set({ kind: link === links.at(-1) && random.next() < 0.5 ? 'noUpgrade' : 'pass' });
    await wait(random.below(100));
  }
  stop.abort();
  await written;
  for (const link of links) link.set({ kind: 'pass' });
  const seconds = (performance.now() - begun) / 1_000;
  await stage.untilLevel(LEVEL_MAX_MS);
  const level = performance.now();
  for (const follower of followers) {
    const wrong = (): string[] => differences(follower, stage.sums, events);
    await until('a client has what the read model has', () => (wrong().length === 0 ? true : undefined), {
      timeoutMs: LEVEL_MAX_MS,
      seen: () => wrong().slice(0, 10),
    });
  }
  const levelMs = Math.round(performance.now() - level);
  console.table(followers.map(({ counts }, n) => ({ transport: TRANSPORTS[n], ...counts })));
  console.log(
    `Seed ${SEED}: ${cuts()} cuts in ${seconds.toFixed(0)} s at ${(stage.acknowledged() / seconds).toFixed(0)} changes/s; ` +
      `every client level ${levelMs} ms after the views; ${await stage.expectExact()}`,
  );
  for (const { stop: leave } of followers) leave();
  for (const close of closers) await close();
  for (const link of links) await link.close();
  const gaps = followers.reduce((sum, { counts }) => sum + counts.gaps, 0);
  if (gaps > 0) throw new Error(`${gaps} GAPs: clients began again instead of going on`);
}

await onStage(play);
