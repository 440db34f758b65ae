import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Watched } from '../setup/resuming-clients.ts';
import { until } from '../setup/until.ts';
import { atRate, onStage, type Stage } from './stage.ts';
import type { Answers, Order } from './subscribers.ts';

const SUBSCRIBERS = Number(process.argv[2] ?? 2_000);
const ROUNDS = Number(process.argv[3] ?? 5);
const PER_SECOND = Number(process.argv[4] ?? 60);
/** As it is by default. */
const WINDOW_MS = 4_000;
/** Followers of everything: each write is a message for each of them. */
const OF_ALL = 10;

/** Half of them documents, half the log of one account, a few the list and the whole log. */
function watchedBy(count: number, ids: readonly string[]): Watched[] {
  return Array.from({ length: count }, (_, n): Watched => {
    const id = ids[Math.floor(n / 2) % ids.length] ?? '';
    if (n < 2 * OF_ALL) return n % 2 === 0 ? { kind: 'list' } : { kind: 'log' };
    return n % 2 === 0 ? { kind: 'document', id } : { kind: 'log', aggregateId: id };
  });
}

function subscribers() {
  const child = fork(fileURLToPath(new URL('subscribers.ts', import.meta.url)), { execArgv: process.execArgv });
  return {
    async ask<Kind extends Order['do']>(order: Order & { do: Kind }): Promise<Answers[Kind]> {
      child.send(order);
      const [answer] = await once(child, 'message');
      return answer;
    },
    end: () => child.disconnect(),
  };
}

async function play(stage: Stage): Promise<void> {
  const ids = [...stage.sums.keys()];
  const gateways = [...stage.gateways];
  const load = subscribers();
  try {
    await load.ask({ do: 'open', ports: stage.ports, watched: watchedBy(SUBSCRIBERS, ids) });
    let counted: Answers['count'] | undefined;
    const all = async () => {
      counted = await load.ask({ do: 'count' });
      const { connected, caughtUp } = counted;
      return (connected === SUBSCRIBERS && caughtUp === SUBSCRIBERS) || undefined;
    };
    await until('all subscribers', all, { timeoutMs: 120_000, seen: () => counted });
    const begin = stage.acknowledged();
    await load.ask({ do: 'moments' });
    const over = new AbortController();
    const writing = atRate(PER_SECOND, over.signal, (n) => stage.deposit(n, 'any'));
    const rows: string[] = [];
    let mostReconnects = 0;
    for (let round = 0; round < ROUNDS; round++) {
      for (const [index, gateway] of gateways.entries()) {
        const begun = performance.now();
        gateway.child.kill('SIGTERM');
        const code = await gateway.exited;
        const stopMs = Math.round(performance.now() - begun);
        if (code !== 0) throw new Error(`a gateway ended with ${code}: ${gateway.errors()}`);
        gateways[index] = await stage.processes.gateway(gateway.port);
        await until('all subscribers again', all, { timeoutMs: 120_000, seen: () => counted });
        const seen = await load.ask({ do: 'moments' });
        mostReconnects = Math.max(mostReconnects, seen.connectsInASecond);
        rows.push(
          `round ${round + 1}, gateway ${index + 1}: stopped in ${stopMs} ms, closed with ${JSON.stringify(seen.codes)}, ` +
            `${seen.closesInASecond}/s at most; ${seen.connects} reconnects, ${seen.connectsInASecond}/s at most; ` +
            `all are back after ${Math.round(performance.now() - begun)} ms`,
        );
        console.log(rows.at(-1));
      }
    }
    over.abort();
    await writing;
    await stage.untilLevel(20_000);
    console.log(await stage.expectExact());

    const positions: Record<string, number[]> = {};
    const events = stage.connection.db
      .collection<{ _id: number; stream: string }>('events')
      .find({ _id: { $gt: begin } });
    for await (const { _id, stream } of events) {
      const id = stream.split('/').at(-1) ?? '';
      positions[id] = [...(positions[id] ?? []), _id];
    }
    const order: Order & { do: 'compare' } = { do: 'compare', balances: Object.fromEntries(stage.sums), positions };
    let compared: Answers['compare'] | undefined;
    const final = await until(
      'every subscriber has everything',
      async () => {
        compared = await load.ask(order);
        return compared.wrongCount === 0 ? compared : undefined;
      },
      { timeoutMs: 30_000, seen: () => compared },
    );
    const cap = Math.ceil(SUBSCRIBERS / (WINDOW_MS / 1_000));
    console.log(
      `${SUBSCRIBERS} subscribers, ${ROUNDS} × 2 restarts at ${PER_SECOND} commands/s: final states right, logs complete; ` +
        `${JSON.stringify(final)}; ${mostReconnects} reconnects/s at most (cap ${cap})`,
    );
    if (final.problems.length > 0) throw new Error('there were problems');
    if (mostReconnects > cap) throw new Error(`${mostReconnects} reconnects/s are over the cap of ${cap}`);
  } finally {
    load.end();
  }
}

await onStage(play);
