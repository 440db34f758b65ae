import { mostInASecond, ResumingClient, type Watched } from '../setup/resuming-clients.ts';

/*
 * The subscribers of rolling-restart.ts, in a process of their own, which is told by messages what to do.
 */

export type Order =
  | { readonly do: 'open'; readonly ports: readonly number[]; readonly watched: readonly Watched[] }
  /** How many are connected and have caught up once. */
  | { readonly do: 'count' }
  /** Since the last time: connects and closes. */
  | { readonly do: 'moments' }
  /** Compares what they have with what they should have. */
  | {
      readonly do: 'compare';
      readonly balances: Readonly<Record<string, number>>;
      /** Positions of each account's events from `begin` on. */
      readonly positions: Readonly<Record<string, readonly number[]>>;
    };

let clients: ResumingClient[] = [];
let since = 0;

const missing = (client: ResumingClient, order: Order & { do: 'compare' }): string | undefined => {
  const { watched } = client;
  if (watched.kind === 'log') {
    const all =
      watched.aggregateId === undefined
        ? Object.values(order.positions).flat()
        : (order.positions[watched.aggregateId] ?? []);
    const absent = all.filter((position) => !client.positions.has(position));
    return absent.length === 0
      ? undefined
      : `log ${watched.aggregateId ?? ''}: ${absent.length} of ${all.length} are missing`;
  }
  const ids = watched.kind === 'document' ? [watched.id] : Object.keys(order.balances);
  const wrong = ids.filter((id) => client.balances.get(id) !== order.balances[id]);
  return wrong.length === 0
    ? undefined
    : `${watched.kind}: ${wrong.slice(0, 3).map((id) => `${id} is ${client.balances.get(id)}, not ${order.balances[id]}`)}`;
};

function tally(texts: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const text of texts) counts[text] = (counts[text] ?? 0) + 1;
  return counts;
}

const answers = {
  open(order: Order & { do: 'open' }) {
    clients = order.watched.map((watched, turn) => new ResumingClient(watched, { ports: order.ports, turn }));
    return {};
  },
  count: () => ({
    connected: clients.filter(({ connected }) => connected).length,
    caughtUp: clients.filter(({ caughtUp }) => caughtUp).length,
    refusals: tally(clients.flatMap(({ refusals }) => refusals)),
  }),
  moments() {
    const from = since;
    since = Date.now();
    const connects = clients.flatMap(({ connectedAt }) => connectedAt).filter((at) => at >= from);
    const closes = clients.flatMap(({ closedAt }) => closedAt).filter(({ at }) => at >= from);
    return {
      connects: connects.length,
      connectsInASecond: mostInASecond(connects),
      closesInASecond: mostInASecond(closes.map(({ at }) => at)),
      codes: tally(closes.map(({ code }) => String(code))),
    };
  },
  compare(order: Order & { do: 'compare' }) {
    const wrong = clients.flatMap((client) => missing(client, order) ?? []);
    return {
      wrongCount: wrong.length,
      wrong: wrong.slice(0, 5),
      problems: clients.flatMap(({ problems }) => problems).slice(0, 5),
      repeats: clients.reduce((sum, { repeatCount }) => sum + repeatCount, 0),
      messages: clients.reduce((sum, { messageCount }) => sum + messageCount, 0),
      gaps: tally(clients.flatMap((client) => client.gaps)),
    };
  },
};
export type Answers = { [Kind in keyof typeof answers]: ReturnType<(typeof answers)[Kind]> };

process.on('message', (order: Order) => process.send?.(answers[order.do](order as never)));
process.on('disconnect', () => process.exit());
