import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { CommitDocument, LogDocument, ViewDocument } from '../../src/store/documents.ts';
import {
  checkEffects,
  checkFollower,
  checkLedger,
  checkReads,
  checkRealTime,
  checkSet,
  checkStreams,
  checkTransfers,
  type Stored,
} from '../faults/harness/checkers.ts';
import { History, type Operation } from '../faults/harness/history.ts';
import { seeded } from '../faults/harness/random.ts';
import { EventFollower } from '../faults/harness/watchers.ts';

/** One account: opened, 5 in, 2 out; as it should be. */
function sound(): { readonly history: History; readonly stored: Stored } {
  const history = new History(join(mkdtempSync(join(tmpdir(), 'history-')), 'history.jsonl'));
  const wishes = [
    { kind: 'open', amount: 0, type: 'AccountOpened' },
    { kind: 'deposit', amount: 5, type: 'MoneyDeposited' },
    { kind: 'withdraw', amount: 2, type: 'MoneyWithdrawn' },
  ] as const;
  const stream = 'default/account/a';
  const commits: CommitDocument[] = [];
  const log: LogDocument[] = [];
  wishes.forEach(({ kind, amount, type }, index) => {
    const version = index + 1;
    const operation: Operation = {
      ...{ client: 0, commandId: `c${version}`, kind, account: 'a', amount, invokedMs: index * 10, tries: 1 },
      ...{ endedMs: index * 10 + 5, outcome: 'ok', version, eventIds: [`e${version}`] },
    };
    history.operations.push(operation);
    const event = { id: `e${version}`, type, schemaVersion: 1, data: { amount } };
    commits.push({ _id: `i${version}`, stream, version, command: { id: `c${version}` }, events: [event] } as never);
    log.push({ ...event, _id: version, stream, version, commandId: `c${version}` } as never);
  });
  history.reads.push({ account: 'a', atLeastVersion: 2, balance: 3 });
  const accounts = [{ _id: 'a', _version: 3, balance: 3 } as unknown as ViewDocument];
  const movements = [2, 3].map((version) => ({ _id: `a-${version}`, _version: 1 }) as unknown as ViewDocument);
  return { history, stored: { commits, log, accounts, movements, verified: { ok: true } } };
}

const all = ({ history, stored }: ReturnType<typeof sound>): readonly string[] =>
  [
    checkSet(history, stored),
    checkStreams(history, stored),
    checkRealTime(history),
    checkReads(history, stored),
    checkEffects(stored),
    checkLedger(history, stored),
    checkTransfers(history, stored),
  ].flatMap(({ name, violations }) => violations.map(() => name.split(':')[0] ?? ''));

/** The same with something wrong. */
function broken(change: (parts: { history: History; stored: { -readonly [K in keyof Stored]: Stored[K] } }) => void) {
  const { history, stored } = sound();
  const parts = { history, stored: { ...stored } };
  change(parts);
  return all(parts);
}

describe('the checkers of fault tests', () => {
  test('find nothing where nothing is wrong', () => {
    expect(all(sound())).toEqual([]);
  });

  test.each<readonly [string, string, Parameters<typeof broken>[0]]>([
    ['an acknowledged command is lost', 'set', ({ stored }) => (stored.commits = stored.commits.slice(0, 2))],
    ['a command took effect twice', 'set', ({ stored }) => (stored.commits = [...stored.commits, stored.commits[1]!])],
    [
      'a refused command took effect',
      'set',
      ({ history }) => {
        history.operations[1]!.outcome = 'fail';
      },
    ],
    ['a version is missing in the log', 'list-append', ({ stored }) => (stored.log = [stored.log[0]!, stored.log[2]!])],
    [
      'a client was told another version',
      'list-append',
      ({ history }) => {
        history.operations[1]!.version = 7;
      },
    ],
    ['the log is not what `verify` wants', 'list-append', ({ stored }) => (stored.verified = { ok: false })],
    [
      'a later command has an earlier version',
      'order in time',
      ({ history }) => {
        history.operations[2]!.version = 1;
      },
    ],
    [
      'a read does not hold the own write',
      'reads',
      ({ history }) => history.reads.push({ account: 'a', atLeastVersion: 2, balance: 0 }),
    ],
    [
      'an event was applied twice',
      'effects',
      ({ stored }) => (stored.accounts = [{ ...stored.accounts[0]!, _version: 4 }]),
    ],
    ['a movement is missing', 'effects', ({ stored }) => (stored.movements = stored.movements.slice(1))],
    [
      'a balance is wrong',
      'ledger',
      ({ stored }) => (stored.accounts = [{ ...stored.accounts[0]!, balance: 4 } as never]),
    ],
    [
      'a transfer never ends',
      'sagas',
      ({ history }) =>
        history.operations.push({ ...history.operations[0]!, kind: 'transfer', account: 't', version: 9 }),
    ],
  ])('find that %s', (_what, name, change) => {
    expect(broken(change)).toContain(name);
  });

  test('find gaps, repetitions and what was taken back in a subscription', () => {
    const { stored } = sound();
    const seen = (...events: readonly (readonly [number, string])[]): number => {
      const follower = new EventFollower(() => [], 0);
      follower.seen.push(...events.map(([position, id]) => ({ position, id })));
      return checkFollower(follower, stored, 1).violations.length;
    };
    expect(seen([1, 'e1'], [2, 'e2'], [3, 'e3'])).toBe(0);
    expect(seen([1, 'e1'], [3, 'e3'])).toBeGreaterThan(0);
    expect(seen([1, 'e1'], [2, 'e2'], [2, 'e2'], [3, 'e3'])).toBeGreaterThan(0);
    expect(seen([1, 'e1'], [2, 'other'], [3, 'e3'])).toBeGreaterThan(0);
    expect(seen([1, 'e1'], [2, 'e2'])).toBeGreaterThan(0);
  });
});

test('the same seed makes the same choices', () => {
  const choices = (seed: number): readonly number[] => {
    const random = seeded(seed);
    return Array.from({ length: 50 }, () => random.below(1_000));
  };
  expect(choices(7)).toEqual(choices(7));
  expect(choices(7)).not.toEqual(choices(8));
  expect(new Set(choices(7)).size).toBeGreaterThan(40);
});
