/**
 * Acceptance: Redis is stopped for 30 s: mutations go on (p99 < 500 ms), and the views catch up.
 *
 *     node --conditions=millrace-source --import tsx test/acceptance/redis-away.ts [PER_SECOND] [AWAY_S]
 *
 * Two gateway and two worker processes with production settings on servers of their own, 100 commands a second. The Redis
 * process is stopped and comes back with its data; then it is killed and comes back empty; then it is frozen: connections
 * stay and nothing answers. A subscriber over graphql-ws stays all the time and must end with what was acknowledged.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import { Redis } from 'ioredis';
import WebSocket from 'ws';
import { until } from '../setup/until.ts';
import { atRate, onStage, type Stage, spreadOf } from './stage.ts';

const PER_SECOND = Number(process.argv[2] ?? 100);
const AWAY_MS = Number(process.argv[3] ?? 30) * 1_000;
const AROUND_MS = 8_000;
const P99_MAX_MS = 500;

async function play(stage: Stage): Promise<void> {
  const subscriber = subscribe(stage.ports[0] ?? 0);
  await until('the subscriber is caught up', () => subscriber.balances.size === stage.sums.size || undefined);
  const rows: Record<string, unknown>[] = [];
  for (const comesBack of ['with its data', 'empty', 'frozen'] as const) {
    const load = new AbortController();
    const times = { before: [] as number[], away: [] as number[], after: [] as number[] };
    const mostMissing = { before: 0, away: 0, after: 0 };
    let phase: keyof typeof times = 'before';
    const loading = atRate(PER_SECOND, load.signal, async (n) => {
      const [begun, into] = [performance.now(), times[phase]];
      await stage.deposit(n);
      into.push(performance.now() - begun);
    });
    loading.catch(() => undefined);
    const looking = (async () => {
      while (!load.signal.aborted) {
        const [at, missing] = [phase, await stage.missing()];
        mostMissing[at] = Math.max(mostMissing[at], missing);
        await wait(100);
      }
    })();
    await wait(AROUND_MS);

    if (comesBack === 'frozen') stage.redis.signal('SIGSTOP');
    else if (comesBack === 'empty') await stage.redis.kill();
    else await stage.redis.stop();
    phase = 'away';
    await wait(AWAY_MS);
    if (comesBack === 'empty') await rm(join(stage.redis.dataDir, 'redis', 'appendonlydir'), { recursive: true });
    if (comesBack === 'frozen') stage.redis.signal('SIGCONT');
    else await stage.redis.restart();
    phase = 'after';
    const back = performance.now();
    const acknowledged = stage.acknowledged();
    await until('everything acknowledged by then is in the views', async () =>
      stage.acknowledged() - (await stage.missing()) >= acknowledged ? true : undefined,
    );
    const caughtUpMs = Math.round(performance.now() - back);
    await until('jobs are made again', () => anyKey(stage.redis.url), { timeoutMs: 10_000 });
    const jobsMs = Math.round(performance.now() - back);
    await wait(AROUND_MS);
    load.abort();
    await Promise.all([loading, looking]);
    const level = await stage.untilLevel(10_000);
    const wrong = () => [...stage.sums].filter(([id, sum]) => subscriber.balances.get(id) !== sum);
    await until('the subscriber knows every balance', () => wrong().length === 0 || undefined, { seen: wrong });
    for (const name of ['before', 'away', 'after'] as const) {
      rows.push({ comesBack, phase: name, ...spreadOf(times[name]), mostMissing: mostMissing[name] });
    }
    console.log(`Redis away, ${comesBack}: views had caught up in ${caughtUpMs} ms, jobs ran in ${jobsMs} ms.`);
    console.log(
      `After the last command views showed everything in ${level.shownMs} ms, level in ${level.checkpointsMs} ms.`,
    );
    console.log(await stage.expectExact());
  }
  console.table(rows);
  await subscriber.end();
  if (rows.some(({ phase, p99Ms }) => phase === 'away' && Number(p99Ms) >= P99_MAX_MS)) {
    throw new Error('mutations were slow while Redis was away');
  }
}

/** True when there are keys of queues. */
async function anyKey(url: string): Promise<true | undefined> {
  const redis = new Redis(url);
  const count = await redis.dbsize().finally(() => redis.disconnect());
  return count > 0 || undefined;
}

function subscribe(port: number) {
  const balances = new Map<string, number>();
  const client = createClient({ url: `ws://127.0.0.1:${port}/graphql`, webSocketImpl: WebSocket, retryAttempts: 0 });
  const stream = client.iterate<{ accountsChanged: { node: { id: string; balance: number } | null } }>({
    query: 'subscription { accountsChanged { signal node { id balance } } }',
  });
  const reading = (async () => {
    for await (const { data, errors } of stream) {
      if (errors !== undefined) throw new Error(JSON.stringify(errors));
      const node = data?.accountsChanged.node;
      if (node != null) balances.set(node.id, node.balance);
    }
  })();
  const end = async (): Promise<void> => {
    await client.dispose();
    await reading;
  };
  return { balances, end };
}

await onStage(play);
