import { aggregate, module, start } from 'millrace';
import { z } from 'zod';
import { closedLoop, type LoopFigures } from '../lib/closed-loop.ts';
import { serve } from '../lib/serve.ts';
import { settings } from './bank.ts';

/** One long stream whose state is never in memory (AGGREGATE_CACHE_COUNT=0): every command loads it. SNAPSHOT_EVERY 0: none. */
const every = Number(process.env.SNAPSHOT_EVERY);
const meter = aggregate({
  name: 'meter',
  events: { Added: z.object({ by: z.int() }) },
  commands: { Add: z.object({ by: z.int(), count: z.int() }) },
  ...(every > 0 && { snapshot: { every, version: 1 } }),
  initial: () => ({ total: 0, last: 0 }),
  evolve: { Added: ({ total }, { by }) => ({ total: total + by, last: by }) },
  decide: { Add: (_state, { by, count }) => Array.from({ length: count }, () => ({ type: 'Added', data: { by } })) },
});
const app = await start({
  modules: [module({ name: 'meters', parts: [meter] })],
  role: 'gateway',
  settings: settings(),
});
const id = 'long';

async function add(count: number): Promise<void> {
  const outcome = await app.send(meter, id, { type: 'Add', data: { by: 1, count } });
  if (outcome.kind !== 'accepted') throw new Error(JSON.stringify(outcome));
}

serve(
  {
    /** Commits of one event each, as people make them; the stream is loaded for each, so it is not done by commands. */
    async prepare({ eventCount }: { eventCount: number }): Promise<void> {
      const { MongoClient } = await import('mongodb');
      await add(1);
      const client = await new MongoClient(process.env.MONGODB_URL ?? '').connect();
      const commits = client.db(process.env.MONGODB_DATABASE).collection('commits');
      const [first] = await commits.find().toArray();
      if (first === undefined) throw new Error('the first commit is not there');
      const { _id, ...commit } = first;
      for (let version = 2; version <= eventCount; version += 1_000) {
        const some = Array.from({ length: Math.min(1_000, eventCount - version + 1) }, (_, index) => ({
          ...commit,
          _id: `${String(_id)}-${version + index}` as never,
          version: version + index,
          command: { ...commit.command, id: `c${version + index}` },
        }));
        await commits.insertMany(some);
      }
      await client.close();
      // The first load keeps a snapshot where there is one to keep; the second begins there.
      await add(1);
      await add(1);
    },
    round: ({ durationMs }: { durationMs: number }): Promise<LoopFigures> =>
      closedLoop({ concurrency: 1, durationMs, operation: () => add(1) }),
  },
  () => app.stop(),
);
