import { MongoClient } from 'mongodb';
import { environment, serveAppend } from '../lib/append-contender.ts';
import { deposit, openAccounts, startBank } from './bank.ts';

/** `app.send` alone: no gateway and no workers. */
const app = await startBank({ role: 'gateway', door: false });

serveAppend({
  prepare: () => openAccounts(app, { shown: false }),
  deposit: (account) => deposit(app, account),
  async stored() {
    const client = await new MongoClient(environment('MONGODB_URL')).connect();
    const count = await client.db(environment('MONGODB_DATABASE')).collection('commits').countDocuments();
    await client.close();
    return count;
  },
  stop: () => app.stop(),
});
