import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ResumingClient } from '../setup/resuming-clients.ts';
import { post } from '../setup/role-processes.ts';
import { slowLink } from '../setup/slow-link.ts';
import { until } from '../setup/until.ts';
import { atRate, onStage, type Stage, spreadOf } from './stage.ts';

const KIND = process.argv[2] === 'log' ? 'log' : 'list';
const PER_SECOND = Number(process.argv[3] ?? 1_000);
const SECONDS = Number(process.argv[4] ?? 60);
const PEERS = 20;
/** About one message. */
const SLOW_BYTES_PER_SECOND = 400;
const BATCH = 50;
const RSS_MAX_MB = 50;
const PEER_P99_MAX_MS = 500;

const SEND = 'mutation($commands: [CommandEnvelope!]!) { sendCommands(commands: $commands) { __typename } }';

function rssMB(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024;
}

/** Writes for so long; the most memory that the watched gateway had, and what the peers saw. */
async function play(stage: Stage): Promise<void> {
  const [watched, other] = stage.gateways;
  if (watched === undefined || other === undefined) throw new Error('there are two gateways');
  const ids = [...stage.sums.keys()];
  const args = [String(watched.port), String(PEERS), KIND];
  const peers = fork(fileURLToPath(new URL('peers.ts', import.meta.url)), args, { execArgv: process.execArgv });
  const askPeers = async (): Promise<{ latenciesMs: number[]; ready: boolean }> => {
    peers.send('tell');
    return (await once(peers, 'message'))[0];
  };
  const link = await slowLink(watched.port);
  const slow = new ResumingClient({ kind: KIND }, { ports: [link.port] });
  try {
    await until('all subscribers', async () => ((await askPeers()).ready && slow.caughtUp) || undefined, {
      timeoutMs: 30_000,
    });
    let sent = 0;
    const run = async () => {
      const over = new AbortController();
      let mostMB = 0;
      const watching = setInterval(() => {
        mostMB = Math.max(mostMB, rssMB(watched.pid));
      }, 100);
      setTimeout(() => over.abort(), SECONDS * 1_000);
      const before = sent;
      const begun = performance.now();
      await askPeers();
      await atRate(PER_SECOND / BATCH, over.signal, async () => {
        const commands = Array.from({ length: BATCH }, () => {
          const n = sent++;
          const commandId = `${Date.now()}-${n}`;
          return { aggregate: 'account', id: ids[n % ids.length], type: 'Deposit', input: { amount: 1 }, commandId };
        });
        await post(other.port, SEND, { commands });
      });
      const perSecond = Math.round(((sent - before) * 1_000) / (performance.now() - begun));
      clearInterval(watching);
      return { mostMB, perSecond, peers: spreadOf((await askPeers()).latenciesMs) };
    };
    // Twice the same load: in the first everybody reads, because memory grows at first anyway.
    const warm = await run();
    link.setBytesPerSecond(SLOW_BYTES_PER_SECOND);
    const messagesBefore = slow.messageCount;
    const throttled = await run();
    const slowMessages = slow.messageCount - messagesBefore;
    link.setBytesPerSecond(Number.POSITIVE_INFINITY);
    const begun = performance.now();
    const { db } = stage.connection;
    const held = async () => {
      if (KIND === 'log') return slow.positions.size >= sent;
      const rows = await db.collection<{ _id: string; balance: number }>('view_account_g1').find().toArray();
      const total = rows.reduce((sum, { balance }) => sum + balance, 0);
      return total === sent && rows.every(({ _id, balance }) => slow.balances.get(_id) === balance);
    };
    await until('the slow one has everything', async () => (await held()) || undefined, {
      timeoutMs: 120_000,
      seen: () => ({ positions: slow.positions.size, sent, closed: slow.closedAt, problems: slow.problems }),
    });
    const added = Math.round(throttled.mostMB - warm.mostMB);
    console.log(
      JSON.stringify({
        kind: KIND,
        'changes/s': [warm.perSecond, throttled.perSecond],
        'RSS MB, all read': Math.round(warm.mostMB),
        'RSS MB added': added,
        'peers, all read': warm.peers,
        'peers, one slow': throttled.peers,
        'messages to the slow one': slowMessages,
        'level after ms': Math.round(performance.now() - begun),
        closed: slow.closedAt.map(({ code, reason }) => `${code} ${reason}`),
        problems: slow.problems,
      }),
    );
    if (added > RSS_MAX_MB) throw new Error(`${added} MB were added`);
    if (throttled.peers.p99Ms > PEER_P99_MAX_MS) throw new Error(`p99 of the peers was ${throttled.peers.p99Ms} ms`);
    if (slow.problems.length > 0) throw new Error('the slow one met problems');
  } finally {
    await slow.end();
    link.close();
    peers.disconnect();
  }
}

// Little memory: what is not needed goes soon, and does not count as if it were.
await onStage(play, { NODE_OPTIONS: '--max-old-space-size=192' });
