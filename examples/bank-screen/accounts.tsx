import { useCommand, useView } from 'millrace/react';
import { Accounts, Deposit, Withdraw } from './graphql.ts';

/** All accounts, live. What a button does is shown at once, and taken back where it is refused. */
export function AccountsPage() {
  const view = useView(Accounts);
  const adding = (all: typeof view.documents, id: string, amount: number) =>
    all.map((account) => (account.id === id ? { ...account, balance: account.balance + amount } : account));
  const [deposit] = useCommand(Deposit, { view, optimistic: (all, { id, amount }) => adding(all, id, amount) });
  const [withdraw, last] = useCommand(Withdraw, {
    view,
    optimistic: (all, { id, amount }) => adding(all, id, -amount),
  });
  return (
    <main data-live={view.isLive}>
      <h1>Accounts</h1>
      <p role="status">{view.isLive ? 'Live' : view.isStale ? 'Connection lost: this may be old' : 'Loading'}</p>
      {view.error !== undefined && <p role="alert">It is over: {view.error.message}</p>}
      <ul>
        {[...view.documents].sort(byOwner).map(({ id, owner, currency, balance }) => (
          <li key={id}>
            <span>{owner}</span>
            <output id={`balance-${id}`}>{`${(balance / 100).toFixed(2)} ${currency}`}</output>
            <button type="button" onClick={() => deposit({ id, amount: 100 })}>
              + 1.00
            </button>
            <button type="button" onClick={() => withdraw({ id, amount: 500 })}>
              − 5.00
            </button>
          </li>
        ))}
      </ul>
      {last.outcome?.__typename === 'CommandRejected' && <p role="alert">Refused: {last.outcome.reason}</p>}
      {last.error !== undefined && <p role="alert">{last.error.message}</p>}
    </main>
  );
}

const byOwner = (a: { readonly owner: string }, b: { readonly owner: string }) => a.owner.localeCompare(b.owner);
