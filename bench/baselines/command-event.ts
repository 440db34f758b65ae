import type { Db, MongoClient } from 'mongodb';
import { OWNER } from '../lib/append-contender.ts';
import { commitDocument, Versions } from './commit.ts';

type Commit = ReturnType<typeof commitDocument>;
export type CommandDocument = Commit['command'] & { _id: string; stream: string; meta: Commit['meta']; at: Date };
export type EventDocument = Commit['events'][number] & {
  _id: string;
  stream: string;
  version: number;
  commandId: string;
  meta: Commit['meta'];
  at: Date;
};

/** What most teams write first: one transaction a request that inserts a command and an event. */
export function commandAndEvent(client: MongoClient, db: Db) {
  const commands = db.collection<CommandDocument>('commands');
  const events = db.collection<EventDocument>('events');
  const versions = new Versions();

  const documents = (account: number, type: string, eventType: string, data: object, commandId?: string) => {
    const {
      stream,
      version,
      command,
      events: caused,
      meta,
      at,
    } = commitDocument(account, versions.next(account), type, eventType, data);
    const [event] = caused;
    if (event === undefined) throw new Error('a commit has an event');
    const id = commandId ?? command.id;
    return {
      command: { ...command, _id: id, stream, meta, at },
      event: { ...event, _id: event.id, stream, version, commandId: id, meta, at },
    };
  };

  return {
    async open(accountCount: number): Promise<void> {
      await commands.createIndex({ stream: 1 });
      await events.createIndex({ stream: 1, version: 1 }, { unique: true });
      const opened = Array.from({ length: accountCount }, (_, account) =>
        documents(account, 'OpenAccount', 'AccountOpened', OWNER),
      );
      await commands.insertMany(opened.map(({ command }) => command));
      await events.insertMany(opened.map(({ event }) => event));
    },
    async deposit(account: number, amount: number, commandId?: string): Promise<EventDocument> {
      const { command, event } = documents(account, 'Deposit', 'MoneyDeposited', { amount }, commandId);
      await client.withSession((session) =>
        session.withTransaction(async () => {
          await commands.insertOne(command, { session });
          await events.insertOne(event, { session });
        }),
      );
      return event;
    },
    async stored(): Promise<number> {
      const [commandCount, eventCount] = await Promise.all([commands.countDocuments(), events.countDocuments()]);
      if (commandCount !== eventCount) throw new Error(`${commandCount} commands, ${eventCount} events`);
      return eventCount;
    },
  };
}
