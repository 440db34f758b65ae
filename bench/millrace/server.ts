import { environment } from '../lib/append-contender.ts';
import { serve } from '../lib/serve.ts';
import { deposit, openAccounts, shown, startBank } from './bank.ts';

/** A Millrace that serves GraphQL, or its workers. ROLE: all, gateway or worker. */
const role = environment('ROLE') as 'all' | 'gateway' | 'worker';
const app = await startBank({ role, door: role !== 'worker' });

serve(
  {
    /** Opens the accounts. `shown`: answers when each is in its view, which needs workers. */
    prepare: (options: { readonly shown: boolean }) => openAccounts(app, options),
    url: () => `${app.url}/graphql`,
    /** What is left of a round is not the next contender's load: resolves when the view shows all that was sent. */
    settle: async () => shown(app, 0, await deposit(app, 0)),
  },
  () => app.stop(),
);
