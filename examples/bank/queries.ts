import { query } from 'millrace';
import { z } from 'zod';
import { accountView } from './balances.ts';

export const richest = query({
  name: 'richest',
  description: 'The accounts with the highest balances',
  input: z.object({ limit: z.int().min(1).max(100) }),
  output: z.array(accountView.schema),
  run: ({ limit }, read) => read(accountView).list({ sort: { balance: -1 }, limit }),
});

export const accountsOf = query({
  name: 'accountsOf',
  description: 'The open accounts of an owner, at most 100',
  input: z.object({ owner: z.string().min(1).max(200) }),
  output: z.array(accountView.schema),
  run: ({ owner }, read) => read(accountView).list({ filter: { owner }, limit: 100 }),
});
