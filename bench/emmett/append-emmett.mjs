import { CommandHandler, IllegalStateError } from '@event-driven-io/emmett';
import { getMongoDBEventStore } from '@event-driven-io/emmett-mongodb';
import { MongoClient } from 'mongodb';
import { accountId, environment, OWNER, serveAppend } from '../lib/append-contender.ts';
import { ACCOUNT_COUNT } from '../lib/options.ts';

/** Baseline (c): Emmett's MongoDB store and CommandHandler with the same aggregate, same durability, driver 6. */
const url = new URL(environment('MONGODB_URL'));
url.pathname = `/${environment('MONGODB_DATABASE')}`;
const client = await new MongoClient(url.href, {
  writeConcern: { w: 'majority', journal: true },
  readConcern: { level: 'majority' },
}).connect();
const eventStore = getMongoDBEventStore({ client });

const initialState = () => ({ status: 'none', owner: '', balance: 0 });
const evolve = (state, { type, data }) => {
  if (type === 'AccountOpened') return { status: 'open', owner: data.owner, balance: 0 };
  return { ...state, balance: state.balance + data.amount };
};
const handle = CommandHandler({ evolve, initialState, mapToStreamId: (id) => `account:${id}` });

const open = (state) => {
  if (state.status !== 'none') throw new IllegalStateError('this account was opened before');
  return { type: 'AccountOpened', data: OWNER };
};
const deposit = (amount) => (state) => {
  if (state.status !== 'open') throw new IllegalStateError('this account is not open');
  return { type: 'MoneyDeposited', data: { amount } };
};

serveAppend({
  async prepare() {
    await handle(eventStore, accountId(0), open);
    for (let from = 1; from < ACCOUNT_COUNT; from += 50) {
      const accounts = Array.from({ length: Math.min(50, ACCOUNT_COUNT - from) }, (_, i) => from + i);
      await Promise.all(accounts.map((account) => handle(eventStore, accountId(account), open)));
    }
  },
  deposit: (account) => handle(eventStore, accountId(account), deposit(1)),
  async stored() {
    const streams = client.db().collection('emt:account');
    const [sum] = await streams
      .aggregate([{ $group: { _id: null, events: { $sum: { $size: '$messages' } } } }])
      .toArray();
    return sum.events;
  },
  stop: () => client.close(),
});
