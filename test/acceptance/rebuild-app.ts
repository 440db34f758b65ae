import { account } from '../../examples/bank/account.ts';
import { accountView, balances } from '../../examples/bank/balances.ts';
import { defineApp, module, type Projector } from '../../src/index.ts';

/** The accounts of the bank. Version 2 shouts the names of those whose id ends with 7. */
const shout = (doc: unknown, id: string): unknown =>
  typeof doc === 'object' && doc !== null && 'owner' in doc && id.endsWith('7')
    ? { ...doc, owner: String(doc.owner).toUpperCase() }
    : doc;
const second: Projector = {
  ...(balances as Projector),
  version: 2,
  swap: 'byOperator',
  previous: balances,
  project: (doc, event, key) => shout((balances as Projector).project(doc, event, key), key),
};
const projector = process.env.REBUILD_VERSION === '2' ? second : balances;

export default defineApp({ modules: [module({ name: 'bank', parts: [account, accountView, projector] })] });
