import { z } from 'zod';
import { aggregate } from '../../src/index.ts';

/** For tests of parts that need events and nothing of them. */
export const counter = aggregate({
  name: 'counter',
  events: { Counted: z.object({ by: z.int() }) },
  commands: { Count: z.object({ by: z.int() }) },
  initial: () => 0,
  evolve: { Counted: (sum, { by }) => sum + by },
  decide: { Count: (_sum, data) => ({ type: 'Counted', data }) },
});
