import { module, type RunningApp, readSettings, type Settings, start } from 'millrace';
import { createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { account } from '../../examples/bank/account.ts';
import { accountView, balances } from '../../examples/bank/balances.ts';
import { accountId, OWNER } from '../lib/append-contender.ts';
import { ACCOUNT_COUNT } from '../lib/options.ts';

/** What the hand-written stack does and no more: accounts and their balances, no statement. */
export const bank = module({ name: 'bank', parts: [account, accountView, balances] });
/** Nothing but the aggregate: a worker of it runs a sequencer and no consumer. */
export const accountsOnly = module({ name: 'bank', parts: [account] });
/** The bank with its projector in a new version, which reads the log from the start. */
export const bankAtVersion = (version: number) =>
  module({ name: 'bank', parts: [account, accountView, { ...balances, version }] });

/** Settings of production but for the port and for opening all accounts at once on a busy machine. */
export const settings = (): Settings =>
  readSettings({ PORT: '0', LOG_LEVEL: 'warn', AT_LEAST_TIMEOUT_MS: '60000', ...process.env });

/** A Millrace as its users start it, on the servers of this benchmark. With `door` it serves GraphQL on a free port. */
export function startBank(options: {
  readonly role: 'all' | 'gateway' | 'worker';
  readonly door: boolean;
}): Promise<RunningApp> {
  const { role, door } = options;
  if (!door) return start({ modules: [bank], role, settings: settings() });
  const builder = createSchemaBuilder();
  exposeModule(builder, bank);
  return start({ modules: [bank], schema: builder.toSchema(), role, settings: settings() });
}

/** Opens every account; with `shown` it also waits until each has its view document. */
export async function openAccounts(app: RunningApp, options: { readonly shown: boolean }): Promise<void> {
  await Promise.all(
    Array.from({ length: ACCOUNT_COUNT }, async (_, i) => {
      const outcome = await app.send(account, accountId(i), { type: 'OpenAccount', data: OWNER });
      if (outcome.kind !== 'accepted') throw new Error(`${accountId(i)} was not opened: ${JSON.stringify(outcome)}`);
      if (options.shown) await shown(app, i, outcome.token);
    }),
  );
}

/** Resolves when the account's view document shows what the token stands for. */
export async function shown(app: RunningApp, index: number, token: string): Promise<void> {
  const found = await app.runtime.document(accountView.name, accountId(index), { atLeast: token });
  if (found === undefined) throw new Error(`${accountId(index)} has no view document`);
}

/** The token of the receipt. */
export async function deposit(app: RunningApp, index: number): Promise<string> {
  const outcome = await app.send(account, accountId(index), { type: 'Deposit', data: { amount: 1 } });
  if (outcome.kind !== 'accepted') throw new Error(`a deposit was not accepted: ${JSON.stringify(outcome)}`);
  return outcome.token;
}
