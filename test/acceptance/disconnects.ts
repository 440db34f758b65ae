/**
 * Acceptance: 500 random hard disconnects over two gateways at 200 changes/s, by `millrace/client` (over WebSocket, over SSE and
 * choosing by itself) or by the stock graphql-ws client that sends its last cursor as `after`: versions of each document only rise,
 * the final state equals the read model, no document is missing, subscribers of the log see every position.
 *
 *     node --conditions=millrace-source --import tsx test/acceptance/disconnects.ts [own|stock] [CUTS] [PER_SECOND] [SEED]
 *
 * Two gateway and two worker processes with the settings of production, on servers of their own.
 */
import { setTimeout as wait } from 'node:timers/promises';
import WebSocket from 'ws';
import { createClient } from '../../src/client/index.ts';
import { seeded } from '../faults/harness/random.ts';
import { TcpProxy } from '../faults/harness/tcp-proxy.ts';
import { differences, followBank } from '../setup/bank-follower.ts';
import { ResumingClient } from '../setup/resuming-clients.ts';
import { until } from '../setup/until.ts';
import { atRate, onStage, type Stage } from './stage.ts';

const KIND = process.argv[2] === 'stock' ? 'stock' : 'own';
const CUTS = Number(process.argv[3] ?? 500);
const PER_SECOND = Number(process.argv[4] ?? 200);
const SEED = Number(process.argv[5] ?? Date.now() % 1_000_000);
const TRANSPORTS = ['ws', 'ws', 'sse', 'auto'] as const;
const STOCK = ['list', 'list', 'list', 'log', 'log', 'log'] as const;
const RETRY_MS = 20;
const LEVEL_MAX_MS = 30_000;

/** A client behind a link that is cut. */
interface Cut {
  readonly name: string;
  readonly link: TcpProxy;
  /** Whether a gateway may refuse it a WebSocket. */
  readonly canFallBack: boolean;
  untilLive(): Promise<unknown>;
  /** Connections that stood and were lost. */
  cuts(): number;
  /** In what it differs from the read model; `events`: by account, how many there are; `begin`: position where all were live. */
  wrong(stage: Stage, events: ReadonlyMap<string, number>, begin: number): readonly string[];
  counts(): object;
  gaps(): number;
  end(): Promise<unknown>;
}

async function ownClient(transport: (typeof TRANSPORTS)[number], link: TcpProxy): Promise<Cut> {
  const url = `http://127.0.0.1:${link.port}`;
  const retry = { minMs: RETRY_MS, maxMs: 500 };
  const client = createClient({ url, webSocketImpl: WebSocket, transport, retry, webSocketAgainMs: 1_000 });
  const follower = followBank(client);
  return {
    name: transport,
    link,
    canFallBack: transport === 'auto',
    untilLive: () => follower.untilLive(),
    cuts: () => follower.counts.cuts,
    wrong: (stage, events) => differences(follower, stage.sums, events),
    counts: () => follower.counts,
    gaps: () => follower.counts.gaps,
    async end() {
      follower.stop();
      await client.close();
    },
  };
}

async function stockClient(kind: (typeof STOCK)[number], link: TcpProxy): Promise<Cut> {
  const client = new ResumingClient({ kind }, { ports: [link.port], retryWaitMs: RETRY_MS });
  return {
    name: `graphql-ws, ${kind}`,
    link,
    canFallBack: false,
    untilLive: () => until('a client is live', () => client.caughtUp || undefined),
    cuts: () => Math.max(0, client.connectedAt.length - 1),
    wrong(stage, _events, begin) {
      if (kind === 'list') {
        const differ = [...stage.sums].filter(([id, sum]) => client.balances.get(id) !== sum);
        return [...client.problems, ...differ.map(([id, sum]) => `${id} is ${client.balances.get(id)}, not ${sum}`)];
      }
      const since = Array.from({ length: stage.acknowledged() - begin }, (_, n) => begin + 1 + n);
      const absent = since.filter((position) => !client.positions.has(position));
      const repeats = client.repeatCount === 0 ? [] : [`${client.repeatCount} positions came again`];
      return [
        ...client.problems,
        ...repeats,
        ...absent.slice(0, 10).map((position) => `position ${position} is missing`),
      ];
    },
    counts: () => ({
      messages: client.messageCount,
      connections: client.connectedAt.length,
      repeats: client.repeatCount,
    }),
    gaps: () => client.gaps.length,
    end: () => client.end(),
  };
}

async function play(stage: Stage): Promise<void> {
  const random = seeded(SEED);
  const make =
    KIND === 'own'
      ? TRANSPORTS.map((one) => (link: TcpProxy) => ownClient(one, link))
      : STOCK.map((one) => (link: TcpProxy) => stockClient(one, link));
  const clients: Cut[] = [];
  for (const one of make) clients.push(await one(await TcpProxy.to(...stage.ports)));
  await Promise.all(clients.map((client) => client.untilLive()));

  const events = new Map([...stage.sums.keys()].map((id) => [id, 1]));
  const before = stage.acknowledged();
  const stop = new AbortController();
  const begun = performance.now();
  const written = atRate(PER_SECOND, stop.signal, async (n) => {
    const { id, version } = await stage.deposit(n);
    events.set(id, Math.max(events.get(id) ?? 0, version));
  });
  const cuts = (): number => clients.reduce((sum, client) => sum + client.cuts(), 0);
  while (cuts() < CUTS) {
    const { link, canFallBack } = random.pick(clients);
    if (random.next() < 0.5) link.cutAfterBytes(random.below(20_000));
    else link.set({ kind: 'reset' });
    await wait(random.below(150));
    link.set({ kind: canFallBack && random.next() < 0.5 ? 'noUpgrade' : 'pass' });
    await wait(random.below(100));
  }
  stop.abort();
  await written;
  for (const { link } of clients) link.set({ kind: 'pass' });
  const seconds = (performance.now() - begun) / 1_000;
  const perSecond = (stage.acknowledged() - before) / seconds;
  await stage.untilLevel(LEVEL_MAX_MS);
  const level = performance.now();
  for (const client of clients) {
    const wrong = () => client.wrong(stage, events, before);
    await until('a client has what the read model has', () => (wrong().length === 0 ? true : undefined), {
      timeoutMs: LEVEL_MAX_MS,
      seen: () => wrong().slice(0, 10),
    });
  }
  const levelMs = Math.round(performance.now() - level);
  console.table(
    clients.map((client) => ({ client: client.name, cuts: client.cuts(), gaps: client.gaps(), ...client.counts() })),
  );
  console.log(
    `Seed ${SEED}: ${cuts()} cuts in ${seconds.toFixed(0)} s at ${perSecond.toFixed(0)} changes/s; ` +
      `every client level ${levelMs} ms after the views; ${await stage.expectExact()}`,
  );
  const gaps = clients.reduce((sum, client) => sum + client.gaps(), 0);
  for (const client of clients) {
    await client.end();
    await client.link.close();
  }
  if (gaps > 0) throw new Error(`${gaps} GAPs: clients began again instead of going on`);
}

await onStage(play);
