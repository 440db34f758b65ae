import { environment, OWNER, serveAppend } from '../lib/append-contender.ts';
import { ACCOUNT_COUNT } from '../lib/options.ts';
import { type CommitDocument, commitDocument, connect, Versions } from './commit.ts';

/** Baseline (a): the driver's `insertOne` of the same document into a collection with the same indexes. No decision. */
const client = await connect();
const db = client.db(environment('MONGODB_DATABASE'));
const commits = db.collection<CommitDocument>('commits');
const versions = new Versions();

serveAppend({
  async prepare() {
    await db.createCollection('commits', { clusteredIndex: { key: { _id: 1 }, unique: true } });
    await commits.createIndexes([
      {
        key: { stream: 1, version: 1 },
        unique: true,
        partialFilterExpression: { version: { $exists: true } },
      },
      { key: { stream: 1, 'command.id': 1 }, unique: true },
    ]);
    await commits.insertMany(
      Array.from({ length: ACCOUNT_COUNT }, (_, account) =>
        commitDocument(account, versions.next(account), 'OpenAccount', 'AccountOpened', OWNER),
      ),
    );
  },
  deposit: (account) =>
    commits.insertOne(commitDocument(account, versions.next(account), 'Deposit', 'MoneyDeposited', { amount: 1 })),
  stored: () => commits.countDocuments(),
  stop: () => client.close(),
});
