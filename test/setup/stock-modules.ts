import { z } from 'zod';
import { aggregate, module, projector, query, type SwapRule, view } from '../../src/index.ts';

/** Items in stock. Version 2 of the view counts changes, too, and leaves out what version 1 had wrong. */
export const item = aggregate({
  name: 'item',
  events: { Stocked: z.object({ count: z.int(), note: z.string().optional() }) },
  commands: { Stock: z.object({ count: z.int(), note: z.string().optional() }) },
  initial: () => null,
  evolve: { Stocked: () => null },
  decide: { Stock: (_state, data) => ({ type: 'Stocked', data }) },
});

const v1 = view('stock', z.object({ id: z.string(), count: z.int() }), { indexes: [{ count: 1 }] });
const v2 = view('stock', z.object({ id: z.string(), count: z.int(), changes: z.int().optional() }), {
  // The first is another one than before, for the same questions.
  indexes: [{ count: 1, changes: 1 }, { changes: 1 }],
});
/** What version 1 of the view cannot answer. */
const changesOf = query({
  name: 'changesOf',
  input: z.object({ id: z.string() }),
  output: z.object({ changes: z.int() }),
  run: async ({ id }, read) => ({ changes: (await read(v2).get(id))?.changes as number }),
});

export interface StockOptions {
  readonly version: 1 | 2;
  /** The new code carries the old projector. */
  readonly carries?: boolean;
  readonly swap?: SwapRule;
  /** Throws in version 2. */
  readonly breaks?: (note: string) => boolean;
  /** Ends as late as the test says, in version 2. */
  readonly onEvent?: () => void;
}

export function stockModules({ version, carries = false, swap, breaks, onEvent }: StockOptions) {
  const older = projector({
    name: 'stocks',
    version: 1,
    from: [item],
    into: v1,
    on: { Stocked: (doc, { stream, data }) => ({ id: stream.id, count: (doc?.count ?? 0) + data.count }) },
  });
  const newer = projector({
    name: 'stocks',
    version: 2,
    from: [item],
    into: v2,
    attempts: 1,
    ...(swap && { swap }),
    ...(carries && { previous: older }),
    on: {
      Stocked: (doc, { stream, data }) => {
        onEvent?.();
        if (breaks?.(data.note ?? '') === true) throw new Error(`cannot read ${data.note}`);
        if (data.note === 'void') return undefined;
        return { id: stream.id, count: (doc?.count ?? 0) + data.count, changes: (doc?.changes ?? 0) + 1 };
      },
    },
  });
  return [module({ name: 'stock', parts: version === 1 ? [item, v1, older] : [item, v2, newer, changesOf] })];
}
