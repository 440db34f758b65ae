import type { Collection, Db } from 'mongodb';
import { OWNER } from '../lib/append-contender.ts';
import { ACCOUNT_COUNT } from '../lib/options.ts';
import { type CommitDocument, commitDocument, Versions } from './commit.ts';

export interface LogDocument {
  readonly _id: number;
  readonly id: string;
  readonly type: string;
  readonly schemaVersion: number;
  readonly stream: string;
  readonly version: number;
  readonly data: object;
  readonly meta: CommitDocument['meta'];
  readonly commandId: string;
  readonly at: Date;
}

/** Accounts in turn, the first round opens them: an endless supply of commits as the bank example makes them. */
export function* bankCommits(): Generator<CommitDocument, never> {
  const versions = new Versions();
  for (let i = 0; ; i++) {
    const account = i % ACCOUNT_COUNT;
    const version = versions.next(account);
    yield version === 1
      ? commitDocument(account, version, 'OpenAccount', 'AccountOpened', OWNER)
      : commitDocument(account, version, 'Deposit', 'MoneyDeposited', { amount: 1 });
  }
}

export function toLog(commit: CommitDocument, position: number): LogDocument {
  const [event] = commit.events;
  if (event === undefined) throw new Error('a commit has an event');
  const { stream, version, meta, at, command } = commit;
  return { _id: position, ...event, stream, version, meta, commandId: command.id, at };
}

/** The log's collection as Millrace creates it. */
export async function createLog(db: Db): Promise<Collection<LogDocument>> {
  await db.createCollection('events', { clusteredIndex: { key: { _id: 1 }, unique: true } });
  const events = db.collection<LogDocument>('events');
  await events.createIndexes([
    { key: { stream: 1, version: 1 }, unique: true },
    { key: { type: 1, _id: 1 } },
    { key: { 'meta.correlationId': 1, _id: 1 } },
  ]);
  return events;
}
