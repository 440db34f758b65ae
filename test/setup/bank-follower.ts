import type { MillraceClient, ViewState } from '../../src/client/index.ts';
import { until } from './until.ts';

/** What a client has of the bank, checked as it comes. */
export interface BankFollower {
  /** By id: what the subscription `accountsChanged` leaves. */
  readonly accounts: ReadonlyMap<string, Account>;
  /** Versions of the events of each account, as the log subscription gave them. */
  readonly log: ReadonlyMap<string, readonly number[]>;
  /** What must not be: a version that did not rise, a position twice, an end. */
  readonly problems: readonly string[];
  /** `cuts`: how often a connection that stood was lost. */
  readonly counts: { gaps: number; messages: number; connections: number; cuts: number };
  /** What a screen shows, folded by the client itself. */
  screen(): ViewState<Account & { readonly id: string }>;
  /** Both subscriptions have come to the end of what there is. */
  untilLive(): Promise<unknown>;
  stop(): void;
}
interface Account {
  readonly balance: number;
}
interface Change {
  readonly signal: string;
  readonly id: string | null;
  readonly version: number | null;
  readonly node: Account | null;
}
interface Delivery {
  readonly signal: string;
  readonly event: { readonly position: string; readonly version: number; readonly aggregateId: string } | null;
}

const ACCOUNTS = `subscription Accounts($after: Cursor) {
  accountsChanged(after: $after) { signal gap cursor id version origins node { id balance } }
}`;
const LOG = `subscription Log($after: Cursor) {
  events(filter: { types: ["AccountOpened", "MoneyDeposited"], aggregate: "account" }, after: $after) {
    signal cursor event { position version aggregateId }
  }
}`;

export function followBank(client: MillraceClient): BankFollower {
  let accounts = new Map<string, Account>();
  let staged: Map<string, Account> | undefined = new Map();
  const versions = new Map<string, number>();
  const log = new Map<string, number[]>();
  const problems: string[] = [];
  const counts = { gaps: 0, messages: 0, connections: 0, cuts: 0 };
  const live = new Set<string>();
  let position = -1n;

  const rises = ({ signal, id, version }: Change): void => {
    if (id === null || version === null) return;
    const before = versions.get(id) ?? 0;
    // A snapshot after a GAP may show what was there already; it may never be older.
    if (signal === 'SNAPSHOT' ? version < before : version <= before) {
      problems.push(`${id}: version ${version} after ${before} (${signal})`);
    }
    versions.set(id, version);
  };
  const takeChange = (change: Change): void => {
    counts.messages++;
    rises(change);
    const { signal, id, node } = change;
    if (signal === 'GAP') {
      counts.gaps++;
      staged = new Map();
    } else if (signal === 'CAUGHT_UP') {
      accounts = staged ?? accounts;
      staged = undefined;
      live.add('accounts');
    } else if (id !== null) {
      const into = staged ?? accounts;
      if (node === null) into.delete(id);
      else into.set(id, node);
    }
  };
  const takeEvent = ({ signal, event }: Delivery): void => {
    counts.messages++;
    if (signal === 'CAUGHT_UP') live.add('log');
    if (signal === 'GAP') counts.gaps++;
    if (event === null) return;
    const now = BigInt(event.position);
    if (now <= position) problems.push(`position ${now} after ${position}`);
    position = now;
    const known = log.get(event.aggregateId);
    if (known === undefined) log.set(event.aggregateId, [event.version]);
    else known.push(event.version);
  };
  let stood = false;
  const open = (query: string, take: (data: Record<string, unknown>) => void): (() => void) =>
    client.subscribe(
      { query },
      {
        next: ({ data }) => take(data),
        error: (error) => problems.push(`failed: ${error.code} ${error.message}`),
        complete: () => problems.push('completed'),
        status: ({ state }) => {
          if (query !== ACCOUNTS) return;
          if (state === 'open') counts.connections++;
          if (state === 'waiting' && stood) counts.cuts++;
          stood = state === 'open';
        },
      },
    );
  const store = client.watch({ query: ACCOUNTS });
  const stops = [
    open(ACCOUNTS, (data) => takeChange(data.accountsChanged as Change)),
    open(LOG, (data) => takeEvent(data.events as Delivery)),
    store.subscribe(() => undefined),
  ];
  return {
    get accounts() {
      return accounts;
    },
    log,
    problems,
    counts,
    screen: () => store.getSnapshot() as never,
    untilLive: () =>
      until('it is live', () => (live.size === 2 ? true : undefined), { seen: () => [...live, problems] }),
    stop: () => {
      for (const stop of stops) stop();
    },
  };
}

/** What is not as it should be at the end; empty when everything is. */
export function differences(
  follower: BankFollower,
  balances: ReadonlyMap<string, number>,
  events: ReadonlyMap<string, number>,
): string[] {
  const wrong: string[] = [...follower.problems];
  const shown = new Map(follower.screen().documents.map(({ id, balance }) => [id, balance]));
  for (const [id, balance] of balances) {
    const has = follower.accounts.get(id)?.balance;
    if (has !== balance) wrong.push(`${id}: ${has} instead of ${balance}`);
    if (shown.get(id) !== balance) wrong.push(`${id} on the screen: ${shown.get(id)} instead of ${balance}`);
    const seen = follower.log.get(id) ?? [];
    const last = events.get(id) ?? 0;
    const first = seen[0] ?? 1;
    if (seen.length > 0 ? seen.at(-1) !== last || seen.length !== last - first + 1 : last > 1) {
      wrong.push(`${id}: events ${first} to ${seen.at(-1)}, ${seen.length} of them, of ${last}`);
    }
  }
  return wrong;
}
