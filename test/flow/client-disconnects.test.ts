import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { createClient } from '../../src/client/index.ts';
import { seeded } from '../faults/harness/random.ts';
import { TcpProxy } from '../faults/harness/tcp-proxy.ts';
import { type BankFollower, differences, followBank } from '../setup/bank-follower.ts';
import { startBank } from '../setup/gateway.ts';
import { testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

/*
 * Random disconnects while two gateways are written to; 500 of them are in test/acceptance/disconnects.ts.
 */
const CUTS = 30;
const ACCOUNT_COUNT = 20;
const servers = testServers();
const env = { MONGODB_DATABASE: servers.database, REDIS_PREFIX: servers.prefix };
const gateways = [await startBank({ env }), await startBank({ env })];
const ports = gateways.map(({ url }) => Number(new URL(url).port));
const writer = createClient({ url: gateways[0]?.url ?? '', transport: 'sse' });
const closers: (() => Promise<unknown>)[] = [() => writer.close()];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

const OPEN =
  'mutation ($id: ID!, $commandId: ID) { openAccount(id: $id, input: { owner: "A", currency: EUR }, commandId: $commandId) { __typename } }';
const DEPOSIT =
  'mutation ($id: ID!, $commandId: ID) { deposit(id: $id, input: { amount: 1 }, commandId: $commandId) { ... on CommandAccepted { version } } }';

test(`after ${CUTS} cuts, over two gateways: versions only rise, nothing is missing, each event came once`, async () => {
  const random = seeded(Date.now() % 1_000_000);
  const ids = Array.from({ length: ACCOUNT_COUNT }, (): string => randomUUID());
  const balances = new Map(ids.map((id) => [id, 0]));
  const events = new Map(ids.map((id) => [id, 1]));
  for (const id of ids) await writer.send({ query: OPEN, variables: { id } });

  const followers: BankFollower[] = [];
  const links: TcpProxy[] = [];
  for (const transport of ['ws', 'sse', 'auto'] as const) {
    const link = await TcpProxy.to(...ports);
    const client = createClient({
      url: `http://127.0.0.1:${link.port}`,
      webSocketImpl: WebSocket,
      transport,
      retry: { minMs: 20, maxMs: 200 },
      webSocketAgainMs: 500,
    });
    closers.push(async () => {
      await client.close();
      await link.close();
    });
    links.push(link);
    followers.push(followBank(client));
  }
  await Promise.all(followers.map((follower) => follower.untilLive()));

  let writing = true;
  const written = (async () => {
    for (let n = 0; writing; n++) {
      const id = ids[n % ids.length] ?? '';
      await writer.send({ query: DEPOSIT, variables: { id } });
      balances.set(id, (balances.get(id) ?? 0) + 1);
      events.set(id, (events.get(id) ?? 0) + 1);
    }
  })();
  // While it stands, twice; then at any moment.
  for (const [n, { counts }] of followers.entries()) {
    for (let time = 0; time < 2; time++) {
      const { cuts, connections } = counts;
      links[n]?.set({ kind: 'reset' });
      await until('it is lost', () => counts.cuts > cuts || undefined, { seen: () => counts });
      links[n]?.set({ kind: 'pass' });
      await until('it stands again', () => counts.connections > connections || undefined, { seen: () => counts });
    }
  }
  for (let cut = 0; cut < CUTS; cut++) {
    const link = random.pick(links);
    if (random.next() < 0.5) link.cutAfterBytes(random.below(3_000));
    else link.set({ kind: 'reset' });
    await wait(random.below(100));
    link.set({ kind: link === links[2] && random.next() < 0.5 ? 'noUpgrade' : 'pass' });
    await wait(random.below(100));
  }
  writing = false;
  await written;
  for (const link of links) link.set({ kind: 'pass' });

  for (const follower of followers) {
    await until(
      'it has what the read model has',
      () => (differences(follower, balances, events).length === 0 ? true : undefined),
      { seen: () => [random.seed, differences(follower, balances, events).slice(0, 5)] },
    );
    expect(follower.counts.cuts).toBeGreaterThan(1);
    // It went on each time, and did not just begin again.
    expect(follower.counts.gaps).toBe(0);
  }
  // The sums of the writer are those of the read model.
  const read = await writer.query({ query: '{ accounts(first: 100) { edges { node { id balance } } } }' });
  const { edges } = read.accounts as { readonly edges: readonly { readonly node: { id: string; balance: number } }[] };
  expect(new Map(edges.map(({ node }) => [node.id, node.balance]))).toEqual(balances);
}, 300_000);
