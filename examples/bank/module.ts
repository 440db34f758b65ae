import { module } from 'millrace';
import { account } from './account.ts';
import { accountView, balances } from './balances.ts';
import { cardProcessor, cardTopUp } from './card-processor.ts';
import { moneyTransfer } from './money-transfer.ts';
import { notify } from './notify.ts';
import { accountsOf, richest } from './queries.ts';
import { movementView, statement } from './statement.ts';
import { transfer } from './transfer.ts';
import { transfers, transferView } from './transfers.ts';

/** The sample application: accounts, their balances and statements, transfers between them, and money from cards. */
export const bank = module({
  name: 'bank',
  parts: [
    ...[account, accountView, balances, movementView, statement, richest, accountsOf],
    ...[transfer, transferView, transfers, moneyTransfer, notify],
    ...[cardProcessor, cardTopUp],
  ],
});
