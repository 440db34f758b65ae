import type { Db } from 'mongodb';
import { verifyLog } from '../../../src/engine/log/verify.ts';
import type { DeliveryStore } from '../../../src/store/delivery-store.ts';
import type { CommitDocument, LogDocument, ViewDocument } from '../../../src/store/documents.ts';
import type { History } from './history.ts';
import type { BalanceFollower } from './view-followers.ts';
import type { EventFollower } from './watchers.ts';

/** What is in MongoDB at the end. */
export interface Stored {
  readonly commits: readonly CommitDocument[];
  readonly log: readonly LogDocument[];
  readonly accounts: readonly ViewDocument[];
  readonly movements: readonly ViewDocument[];
  readonly verified: { readonly ok: boolean };
}

/** One invariant: what violates it, and how much was looked at. */
export interface Finding {
  readonly name: string;
  readonly lookedAt: number;
  readonly violations: readonly string[];
}

export async function readStored(db: Db, store: DeliveryStore): Promise<Stored> {
  const [commits, log, accounts, movements] = await Promise.all([
    db.collection<CommitDocument>('commits').find().toArray(),
    db.collection<LogDocument>('events').find().sort({ _id: 1 }).toArray(),
    db.collection<ViewDocument>('view_account_g1').find().toArray(),
    db.collection<ViewDocument>('view_movement_g1').find().toArray(),
  ]);
  return { commits, log, accounts, movements, verified: await verifyLog(store) };
}

/** I1, I2: every acknowledged command is there once, a refused one never, an unknown one at most once, and nothing else. */
export function checkSet(history: History, { commits }: Stored): Finding {
  const violations: string[] = [];
  const counts = new Map<string, number>();
  for (const { command } of commits) counts.set(command.id, (counts.get(command.id) ?? 0) + 1);
  for (const { commandId, outcome } of history.operations) {
    const count = counts.get(commandId) ?? 0;
    counts.delete(commandId);
    if (outcome === 'ok' && count !== 1) violations.push(`acknowledged command ${commandId} has ${count} commits`);
    if (outcome === 'fail' && count !== 0) violations.push(`refused command ${commandId} has ${count} commits`);
    if (count > 1) violations.push(`command ${commandId} has ${count} commits`);
  }
  return { name: 'set: acknowledged exactly once', lookedAt: history.operations.length, violations };
}

/** I3: versions 1 … n without gaps, receipts tell the place that the commit has, and positions follow versions. */
export function checkStreams(history: History, { commits, log, verified }: Stored): Finding {
  const violations: string[] = [];
  const byCommand = new Map(commits.map((commit) => [commit.command.id, commit]));
  for (const { kind, commandId, version, eventIds } of history.of('ok')) {
    const commit = byCommand.get(commandId);
    // Of a charge the client knows that it was received.
    if (commit === undefined || kind === 'charge') continue;
    const last = (commit.version ?? 0) + commit.events.length - 1;
    if (last !== version) violations.push(`${commandId} was told version ${version}, its commit ends at ${last}`);
    const ids = commit.events.map(({ id }) => id).join();
    if (eventIds?.join() !== ids) violations.push(`${commandId} was told events ${eventIds?.join()}, it has ${ids}`);
  }
  const ends = new Map<string, number>();
  log.forEach(({ _id, stream, version }, index) => {
    if (_id !== index + 1) violations.push(`position ${_id} where ${index + 1} should be`);
    if (version !== (ends.get(stream) ?? 0) + 1)
      violations.push(`${stream}: ${version} follows ${ends.get(stream) ?? 0}`);
    ends.set(stream, version);
  });
  if (!verified.ok) violations.push(`verify: ${JSON.stringify(verified)}`);
  return {
    name: 'list-append: streams without gaps, in order',
    lookedAt: log.length,
    violations: violations.slice(0, 20),
  };
}

/** A command that ended before another of the same account began comes before it. */
export function checkRealTime(history: History): Finding {
  const violations: string[] = [];
  const answered = history.of('ok').filter(({ kind }) => kind !== 'charge');
  const byAccount = groupBy(answered, ({ account }) => account);
  for (const [account, operations] of byAccount) {
    const byEnd = [...operations].sort((a, b) => (a.endedMs ?? 0) - (b.endedMs ?? 0));
    const byStart = [...operations].sort((a, b) => a.invokedMs - b.invokedMs);
    let newest = 0;
    let next = 0;
    for (const { invokedMs, version = 0 } of byStart) {
      for (; (byEnd[next]?.endedMs ?? Number.POSITIVE_INFINITY) < invokedMs; next++) {
        newest = Math.max(newest, byEnd[next]?.version ?? 0);
      }
      if (version <= newest) violations.push(`${account}: version ${version} began after ${newest} was acknowledged`);
    }
  }
  return { name: 'order in time: later commands have later versions', lookedAt: answered.length, violations };
}

/** Reads are prefixes of their stream, and hold what the reader had written. */
export function checkReads(history: History, { log }: Stored): Finding {
  const violations: string[] = [];
  const prefixes = new Map<string, number[]>();
  for (const { stream, type, data } of log.filter(isAccount)) {
    const account = accountOf(stream);
    const sums = prefixes.get(account) ?? [];
    sums.push((sums.at(-1) ?? 0) + signedAmount(type, data));
    prefixes.set(account, sums);
  }
  for (const { account, atLeastVersion, balance } of history.reads) {
    const sums = prefixes.get(account) ?? [];
    if (!sums.slice(atLeastVersion - 1).some((sum) => sum === balance)) {
      violations.push(`${account} read ${balance}, which it never was from version ${atLeastVersion} on`);
    }
  }
  return { name: 'reads: prefixes that hold the own writes', lookedAt: history.reads.length, violations };
}

/** I2 in the views: each event has one effect, each document was written once an event. */
export function checkEffects({ log, accounts, movements }: Stored): Finding {
  const violations: string[] = [];
  const moved = log.filter((event) => signedAmount(event.type, event.data) !== 0);
  if (movements.length !== moved.length) violations.push(`${movements.length} movements of ${moved.length} events`);
  for (const { _id, _version } of movements) {
    if (_version !== 1) violations.push(`movement ${_id} was written ${_version} times`);
  }
  const events = groupBy(log.filter(isAccount), ({ stream }) => accountOf(stream));
  for (const { _id, _version } of accounts) {
    const count = events.get(_id)?.length ?? 0;
    if (_version !== count) violations.push(`account ${_id} was written ${_version} times for ${count} events`);
  }
  if (accounts.length !== events.size) violations.push(`${accounts.length} accounts of ${events.size} streams`);
  return { name: 'effects: one for each event', lookedAt: log.length, violations: violations.slice(0, 20) };
}

/** Every balance is what its events say, and the sum is deposits less withdrawals as clients were told. */
export function checkLedger(history: History, { log, accounts }: Stored): Finding {
  const violations: string[] = [];
  const balances = new Map<string, number>();
  for (const { stream, type, data } of log.filter(isAccount)) {
    const account = accountOf(stream);
    balances.set(account, (balances.get(account) ?? 0) + signedAmount(type, data));
  }
  for (const { _id, balance } of accounts as readonly (ViewDocument & { readonly balance?: number })[]) {
    if (balance !== balances.get(_id)) violations.push(`${_id} shows ${balance}, its events give ${balances.get(_id)}`);
  }
  const signed = { open: 0, transfer: 0, deposit: 1, charge: 1, withdraw: -1 } as const;
  const sumOf = (outcome: 'ok' | 'info'): number =>
    history.of(outcome).reduce((sum, { kind, amount }) => sum + signed[kind] * amount, 0);
  const held = [...balances.values()].reduce((sum, balance) => sum + balance, 0);
  const inTransfer = transfersIn(log).reduce((sum, { out, back }) => sum + out - back, 0);
  if (history.of('info').length === 0 && held + inTransfer !== sumOf('ok')) {
    violations.push(`accounts hold ${held}, ${inTransfer} is in transfer; acknowledged commands give ${sumOf('ok')}`);
  }
  return { name: 'ledger: no money made or lost', lookedAt: accounts.length, violations: violations.slice(0, 20) };
}

/** Sagas: each transfer that was accepted has ended, its money left once and arrived once, or came back once, or never left. */
export function checkTransfers(history: History, { log }: Stored): Finding {
  const violations: string[] = [];
  const known = new Map(transfersIn(log).map((one) => [one.id, one]));
  const wanted = history.of('ok').filter(({ kind }) => kind === 'transfer');
  for (const { account: id, amount } of wanted) {
    const found = known.get(id) ?? { id, out: 0, back: 0, debits: 0, credits: 0, ended: 0, completed: false };
    if (found.ended !== 1) violations.push(`transfer ${id} ended ${found.ended} times`);
    if (found.out !== found.back)
      violations.push(`transfer ${id}: ${found.out} left, ${found.back} arrived or came back`);
    if (found.debits > 1 || found.credits > 1) violations.push(`transfer ${id}: ${JSON.stringify(found)}`);
    if (found.completed && found.out !== amount)
      violations.push(`transfer ${id} moved ${found.out} instead of ${amount}`);
  }
  return {
    name: 'sagas: every transfer ends, its money moves once',
    lookedAt: wanted.length,
    violations: violations.slice(0, 20),
  };
}

interface TransferSeen {
  readonly id: string;
  out: number;
  back: number;
  debits: number;
  credits: number;
  ended: number;
  completed: boolean;
}

function transfersIn(log: readonly LogDocument[]): readonly TransferSeen[] {
  const seen = new Map<string, TransferSeen>();
  for (const { type, stream, data } of log) {
    const named =
      typeof data === 'object' && data !== null && 'transferId' in data ? String(data.transferId) : undefined;
    const id = named ?? (stream.includes('/transfer/') ? accountOf(stream) : undefined);
    if (id === undefined) continue;
    const one = seen.get(id) ?? { id, out: 0, back: 0, debits: 0, credits: 0, ended: 0, completed: false };
    seen.set(id, one);
    const moved = signedAmount(type, data);
    if (type === 'TransferDebited') Object.assign(one, { out: one.out - moved, debits: one.debits + 1 });
    if (type === 'TransferCredited') Object.assign(one, { back: one.back + moved, credits: one.credits + 1 });
    if (type === 'TransferCompleted' || type === 'TransferFailed') one.ended++;
    if (type === 'TransferCompleted') one.completed = true;
  }
  return [...seen.values()];
}

/** I4: each subscriber saw every event once, in order, and the one that is in the log. */
export function checkFollower(follower: EventFollower, { log }: Stored, first: number): Finding {
  const violations: string[] = [];
  let expected = first;
  for (const { position, id } of follower.seen) {
    if (position !== expected) violations.push(`saw ${position} where ${expected} was due`);
    expected = position + 1;
    if (log[position - 1]?.id !== id) violations.push(`was shown ${id} at ${position}, which is not in the log there`);
  }
  if (expected !== log.length + 1) violations.push(`saw events up to ${expected - 1} of ${log.length}`);
  if (follower.signals.has('GAP')) violations.push('was told of a gap');
  return {
    name: 'subscription: every event once, in order',
    lookedAt: follower.seen.length,
    violations: violations.slice(0, 20),
  };
}

/** View subscriptions converge and never go back. */
export function checkBalances(follower: BalanceFollower, { accounts }: Stored): Finding {
  const stored = new Map(accounts.map(({ _id, balance }) => [_id, { balance }]));
  const violations = [...follower.shown.regressions, ...follower.shown.difference(stored)];
  return { name: 'views: converge, never go back', lookedAt: accounts.length, violations: violations.slice(0, 20) };
}

function groupBy<Value>(
  values: readonly Value[],
  keyOf: (value: Value) => string,
): ReadonlyMap<string, readonly Value[]> {
  const groups = new Map<string, Value[]>();
  for (const value of values) {
    const key = keyOf(value);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [value]);
    else group.push(value);
  }
  return groups;
}

const SIGNS: ReadonlyMap<string, number> = new Map([
  ['MoneyDeposited', 1],
  ['MoneyWithdrawn', -1],
  ['TransferDebited', -1],
  ['TransferCredited', 1],
]);
const isAccount = ({ stream }: LogDocument): boolean => stream.includes('/account/');
const accountOf = (stream: string): string => stream.slice(stream.lastIndexOf('/') + 1);

function signedAmount(type: string, data: unknown): number {
  const amount = typeof data === 'object' && data !== null && 'amount' in data ? Number(data.amount) : 0;
  const sign = SIGNS.get(type) ?? 0;
  return sign * amount;
}
