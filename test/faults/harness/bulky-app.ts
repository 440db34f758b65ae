import { z } from 'zod';
import { bank } from '../../../examples/bank/module.ts';
import { aggregate, defineApp, module } from '../../../src/index.ts';

const text = z.string().max(20_000);

/** What people write, in events as large as they like. */
const memo = aggregate({
  name: 'memo',
  events: { MemoWritten: z.object({ text }) },
  commands: { WriteMemo: z.object({ text }) },
  initial: () => null,
  evolve: { MemoWritten: () => null },
  decide: { WriteMemo: (_state, { text }) => [{ type: 'MemoWritten', data: { text } }] },
});

/** The bank with events that are large. */
export default defineApp({ modules: [bank, module({ name: 'memos', parts: [memo] })] });
