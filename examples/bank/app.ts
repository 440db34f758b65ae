import { defineApp } from 'millrace';
import { createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { accountView } from './balances.ts';
import { bank } from './module.ts';

const builder = createSchemaBuilder();
// What only the sagas send is no field of its own.
const { type } = exposeModule(builder, bank, {
  commands: {
    DebitForTransfer: { hidden: true },
    CreditForTransfer: { hidden: true },
    CompleteTransfer: { hidden: true },
    FailTransfer: { hidden: true },
  },
});

// A field written by hand stands beside the derived ones: a balance as people read it.
builder.objectField(type(accountView), 'displayBalance', (t) =>
  t.string({
    nullable: false,
    description: 'balance and currency, e.g. "12.34 EUR"',
    resolve: ({ balance, currency }) => `${(balance / 100).toFixed(2)} ${currency}`,
  }),
);

export default defineApp({ modules: [bank], schema: builder.toSchema() });
