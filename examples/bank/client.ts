/**
 * A small real client of the bank: opens accounts, moves money at random and shows the balances as the gateway pushes
 * them, all over one graphql-ws socket. `npm run example:client -- --help` tells the options.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Client, createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { openScreen, type Row, type Screen, summary, type Totals } from './client-screen.ts';

const help = `npm run example:client -- [options]
  --url URL        the gateway (default http://127.0.0.1:4000)
  --accounts N     accounts to open, 1 to 50 (default 5)
  --seconds N      stop after so long (default: on Ctrl-C)`;

interface Options {
  readonly url: string;
  readonly accountCount: number;
  readonly seconds: number | undefined;
}

/** What a mutation answers; see schema.graphql, CommandOutcome. */
type Outcome =
  | { readonly __typename: 'CommandAccepted'; readonly commandId: string; readonly id: string }
  | { readonly __typename: 'CommandRejected'; readonly code: string; readonly reason: string }
  | { readonly __typename: 'InvalidInput'; readonly issues: readonly { path: readonly string[]; message: string }[] }
  | { readonly __typename: 'CommandConflict' };

interface AccountChange {
  readonly signal: 'SNAPSHOT' | 'UPDATE' | 'REMOVED' | 'CAUGHT_UP' | 'GAP';
  readonly id: string | null;
  readonly node: { readonly owner: string; readonly balance: number } | null;
  /** The commands that are in this change. */
  readonly origins: readonly string[];
}

const outcome = `{
  __typename
  ... on CommandAccepted { commandId id }
  ... on CommandRejected { code reason }
  ... on InvalidInput { issues { path message } }
}`;
const openAccount = `mutation ($input: OpenAccountInput!, $commandId: ID!) {
  outcome: openAccount(input: $input, commandId: $commandId) ${outcome}
}`;
const move = {
  deposit: `mutation ($id: ID!, $input: DepositInput!, $commandId: ID!) {
    outcome: deposit(id: $id, input: $input, commandId: $commandId) ${outcome}
  }`,
  withdraw: `mutation ($id: ID!, $input: WithdrawInput!, $commandId: ID!) {
    outcome: withdraw(id: $id, input: $input, commandId: $commandId) ${outcome}
  }`,
};
const accountChanged = `subscription ($id: ID!) {
  change: accountChanged(id: $id) { signal id node { owner balance } origins }
}`;

const owners = ['Ada', 'Barbara', 'Edsger', 'Frances', 'Grace', 'Konrad', 'Leslie', 'Margaret', 'Tony', 'Vint'];
const PAUSE_MS = 150;
/** How long the last pushes may take after the last movement. */
const LEVEL_MS = 30_000;

/** The accounts of this run: what was sent, and what the gateway has shown of it. */
class Ledger {
  readonly rows = new Map<string, Row>();
  readonly expected = new Map<string, number>();
  accepted = 0;
  refused = 0;
  readonly #sentAt = new Map<string, number>();
  readonly #pushMs: number[] = [];

  sending(commandId: string): void {
    this.#sentAt.set(commandId, performance.now());
  }
  push(id: string, owner: string, balance: number, origins: readonly string[]): void {
    const before = this.rows.get(id);
    const change = before === undefined ? 0 : balance - before.balance;
    this.rows.set(id, { id, owner, balance, change, pushes: (before?.pushes ?? 0) + 1 });
    for (const commandId of origins) {
      const sentAt = this.#sentAt.get(commandId);
      if (sentAt !== undefined && this.#sentAt.delete(commandId)) this.#pushMs.push(performance.now() - sentAt);
    }
  }
  totals(): Totals {
    const sorted = this.#pushMs.toSorted((a, b) => a - b);
    const at = (share: number) => Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0);
    const pushMs = sorted.length === 0 ? undefined : { p50: at(0.5), p99: at(0.99) };
    return { accepted: this.accepted, refused: this.refused, pushMs };
  }
  /** Whether the gateway shows what was sent, to the cent. */
  level(): boolean {
    return [...this.expected].every(([id, balance]) => this.rows.get(id)?.balance === balance);
  }
}

process.exitCode = await main();

async function main(): Promise<number> {
  const options = readOptions();
  if (typeof options === 'string') {
    const asked = options === help;
    (asked ? process.stdout : process.stderr).write(`${options}\n`);
    return asked ? 0 : 2;
  }
  const stop = stopSignal(options.seconds);
  const screen = openScreen(process.stdout);
  const client = connect(options.url, stop, screen);
  try {
    return await run(client, options, stop, screen);
  } catch (error) {
    process.stderr.write(`${explain(error, options.url)}\n`);
    return 1;
  } finally {
    screen.close();
    await client.dispose();
  }
}

async function run(client: Client, { accountCount }: Options, stop: AbortSignal, screen: Screen): Promise<number> {
  const ledger = new Ledger();
  const draw = () => screen.show([...ledger.rows.values()], ledger.totals());
  const watching: Promise<void>[] = [];
  const left = new AbortController();
  for (let i = 0; i < accountCount && !stop.aborted; i++) {
    const input = { owner: owners[i % owners.length], currency: 'EUR' };
    const opened = await send(client, openAccount, { input, commandId: randomUUID() });
    if (opened.__typename !== 'CommandAccepted') throw new Error(`No account could be opened: ${told(opened)}`);
    ledger.expected.set(opened.id, 0);
    watching.push(watch(client, opened.id, ledger, left.signal, draw));
  }
  const watched = Promise.all(watching);
  await Promise.race([watched, moveMoney(client, ledger, stop, screen)]);
  const deadline = performance.now() + LEVEL_MS;
  while (!ledger.level() && performance.now() < deadline) await wait(20);
  left.abort();
  await watched;
  draw();
  const level = ledger.level();
  process.stdout.write(
    `${summary(ledger.totals())}.\n${level ? 'The balances shown are what was sent, to the cent.' : 'The balances shown are NOT what was sent.'}\n`,
  );
  return level ? 0 : 1;
}

/** Deposits and withdrawals at random, one after the other, until told to stop. */
async function moveMoney(client: Client, ledger: Ledger, stop: AbortSignal, screen: Screen): Promise<void> {
  const ids = [...ledger.expected.keys()];
  while (!stop.aborted && ids.length > 0) {
    const id = ids[randomInt(ids.length)] ?? '';
    const kind = randomInt(5) < 3 ? 'deposit' : 'withdraw';
    const amount = randomInt(100, 20_000);
    const commandId = randomUUID();
    ledger.sending(commandId);
    const result = await send(client, move[kind], { id, input: { amount }, commandId });
    if (result.__typename === 'CommandAccepted') {
      ledger.accepted++;
      ledger.expected.set(id, (ledger.expected.get(id) ?? 0) + (kind === 'deposit' ? amount : -amount));
    } else {
      ledger.refused++;
      screen.note(`${kind} ${(amount / 100).toFixed(2)}: ${told(result)}`);
    }
    await wait(PAUSE_MS, undefined, { signal: stop }).catch(() => undefined);
  }
}

/** Follows one account: first as it is, then each change. After a lost connection it begins with a new snapshot. */
async function watch(client: Client, id: string, ledger: Ledger, left: AbortSignal, draw: () => void): Promise<void> {
  const changes = client.iterate<{ readonly change: AccountChange }>({ query: accountChanged, variables: { id } });
  const end = () => void changes.return?.();
  left.addEventListener('abort', end, { once: true });
  for await (const { data, errors } of changes) {
    if (errors !== undefined) throw new Error(errors[0]?.message);
    const change = data?.change;
    if (change?.node == null || change.id === null) continue;
    ledger.push(change.id, change.node.owner, change.node.balance, change.origins);
    draw();
  }
}

/**
 * Sends one command. Its commandId was chosen before the first try, so sending it again is harmless: the answer is then
 * the first receipt. graphql-ws does so after a lost connection, this loop when the gateway does not know the outcome.
 */
async function send(client: Client, query: string, variables: Record<string, unknown>): Promise<Outcome> {
  for (;;) {
    for await (const { data, errors } of client.iterate<{ readonly outcome: Outcome }>({ query, variables })) {
      if (data?.outcome !== undefined) return data.outcome;
      const code = errors?.[0]?.extensions?.code;
      if (code !== 'OUTCOME_UNKNOWN' && code !== 'TOO_BUSY') throw new Error(errors?.[0]?.message ?? 'no answer');
    }
    await wait(PAUSE_MS);
  }
}

function connect(url: string, stop: AbortSignal, screen: Screen): Client {
  let connected = false;
  let lost = false;
  return createClient({
    url,
    webSocketImpl: WebSocket,
    // The first try must succeed; a connection that is lost later is made again.
    shouldRetry: () => connected && !stop.aborted,
    retryAttempts: 20,
    on: {
      connected: () => {
        connected = true;
        if (lost) screen.note('Connected again.');
        lost = false;
      },
      closed: (event) => {
        // The client itself closes the socket whenever nothing is under way, as between opening an account and watching it.
        const byUs = event instanceof Object && 'code' in event && event.code === 1000;
        if (byUs || !connected || lost || stop.aborted) return;
        lost = true;
        screen.note('The connection is lost; trying again.');
      },
    },
  });
}

function readOptions(): Options | string {
  try {
    const { values } = parseArgs({
      options: {
        url: { type: 'string', default: 'http://127.0.0.1:4000' },
        accounts: { type: 'string', default: '5' },
        seconds: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    });
    if (values.help) return help;
    const accountCount = Number(values.accounts);
    if (!Number.isInteger(accountCount) || accountCount < 1 || accountCount > 50)
      return `--accounts must be 1 to 50\n${help}`;
    const seconds = values.seconds === undefined ? undefined : Number(values.seconds);
    if (seconds !== undefined && !(seconds > 0 && seconds < 1e6))
      return `--seconds must be a number of seconds\n${help}`;
    return { url: socketUrl(values.url), accountCount, seconds };
  } catch (error) {
    return `${error instanceof Error ? error.message : error}\n${help}`;
  }
}

function socketUrl(given: string): string {
  const url = new URL(given.includes('://') ? given : `http://${given}`);
  url.protocol = url.protocol.replace('http', 'ws');
  if (url.pathname === '/') url.pathname = '/graphql';
  return url.href;
}

/** Aborts on Ctrl-C, SIGTERM or when the time is up. A second Ctrl-C does not wait for the last pushes. */
function stopSignal(seconds: number | undefined): AbortSignal {
  const controller = new AbortController();
  let firstAt = 0;
  const onSignal = () => {
    // One Ctrl-C arrives twice, from the terminal and from npm.
    if (controller.signal.aborted && Date.now() - firstAt > 500) process.exit(130);
    firstAt ||= Date.now();
    controller.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  if (seconds !== undefined) setTimeout(() => controller.abort(), seconds * 1_000).unref();
  return controller.signal;
}

function told(result: Outcome): string {
  if (result.__typename === 'CommandRejected') return `${result.code}: ${result.reason}`;
  if (result.__typename === 'InvalidInput') {
    return result.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
  }
  return result.__typename;
}

/** ws reports a failed connection as an event, graphql-ws a refused one as a close event. */
function explain(error: unknown, url: string): string {
  if (typeof error === 'object' && error !== null && 'code' in error && 'reason' in error) {
    return `The gateway at ${url} closed the connection (${String(error.code)} ${String(error.reason)}).`;
  }
  const cause = error instanceof Error ? error : undefined;
  const message =
    typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
  if (cause !== undefined && !/ECONN|ENOTFOUND|socket|Unexpected server response/.test(message)) return message;
  return `There is no gateway at ${url} (${message}). Start one with \`npm start\`, or name another with --url.`;
}
