import { module } from 'millrace';
import { account } from './account.ts';
import { accountView, balances } from './balances.ts';
import { accountsOf, richest } from './queries.ts';
import { movementView, statement } from './statement.ts';

/** The sample application: accounts, their balances and their statements. */
export const bank = module({
  name: 'bank',
  parts: [account, accountView, balances, movementView, statement, richest, accountsOf],
});
