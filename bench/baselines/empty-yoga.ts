import { randomUUID } from 'node:crypto';
import { serve } from '../lib/serve.ts';
import { accepted, bankSchema } from './bank-schema.ts';
import { idle } from './idle.ts';
import { startYoga } from './yoga-server.ts';

/** A mutation that does nothing, with the same input, answer and server options as Millrace's. */
let version = 0;
const server = await startYoga(
  bankSchema({
    deposit({ id, commandId }) {
      version += 1;
      return accepted(id, commandId ?? randomUUID(), version);
    },
    accountChanged: idle,
  }),
);

serve({ url: () => server.url }, () => server.close());
