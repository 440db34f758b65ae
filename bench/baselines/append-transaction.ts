import { environment, serveAppend } from '../lib/append-contender.ts';
import { ACCOUNT_COUNT } from '../lib/options.ts';
import { commandAndEvent } from './command-event.ts';
import { connect } from './commit.ts';

/** Baseline (b): one transaction a request that inserts a command and an event. No decision. */
const client = await connect();
const store = commandAndEvent(client, client.db(environment('MONGODB_DATABASE')));

serveAppend({
  prepare: () => store.open(ACCOUNT_COUNT),
  deposit: (account) => store.deposit(account, 1),
  stored: () => store.stored(),
  stop: () => client.close(),
});
