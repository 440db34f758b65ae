import type { AnyBulkWriteOperation } from 'mongodb';
import { environment } from '../lib/append-contender.ts';
import { serve } from '../lib/serve.ts';
import { connect } from './commit.ts';
import { bankCommits, createLog, type LogDocument, toLog } from './log-documents.ts';

/** The driver alone: write a log in order, read it, rebuild a view from it. */
const client = await connect();
const db = client.db(environment('MONGODB_DATABASE'));
const events = await createLog(db);
const commits = bankCommits();
let end = 0;

const PLACE_BATCH_COUNT = 500;
const READ_BATCH_COUNT = 1_000;

interface BalanceDocument {
  readonly _id: string;
  readonly owner: string;
  readonly currency: string;
  readonly balance: number;
  readonly position: number;
}

const readLog = () => events.find({}, { sort: { _id: 1 }, batchSize: READ_BATCH_COUNT });
const timed = async (work: () => Promise<number>): Promise<number> => {
  const start = performance.now();
  const count = await work();
  return (count / (performance.now() - start)) * 1000;
};

function fold(balances: Map<string, BalanceDocument>, event: LogDocument): string {
  const id = event.stream.slice(event.stream.lastIndexOf('/') + 1);
  const before = balances.get(id);
  if (event.type === 'AccountOpened') {
    const { owner, currency } = event.data as { owner: string; currency: string };
    balances.set(id, { _id: id, owner, currency, balance: 0, position: event._id });
  } else if (before !== undefined) {
    const { amount } = event.data as { amount: number };
    balances.set(id, { ...before, balance: before.balance + amount, position: event._id });
  }
  return id;
}

serve(
  {
    /** Ordered insertMany, one batch after the other. Documents per second. */
    place: (count: number) =>
      timed(async () => {
        const last = end + count;
        while (end < last) {
          const batch = Array.from({ length: Math.min(PLACE_BATCH_COUNT, last - end) }, (_, i) =>
            toLog(commits.next().value, end + 1 + i),
          );
          await events.insertMany(batch, { ordered: true });
          end += batch.length;
        }
        return count;
      }),
    scan: () =>
      timed(async () => {
        let count = 0;
        for await (const event of readLog()) {
          count += 1;
          if (event._id !== count) throw new Error(`position ${event._id} where ${count} was expected`);
        }
        return count;
      }),
    /** Cursor, fold in memory, one bulkWrite of the touched documents for each 1,000 events. */
    rebuild: () =>
      timed(async () => {
        const view = db.collection<BalanceDocument>(`balances_${Date.now()}`);
        const balances = new Map<string, BalanceDocument>();
        const touched = new Set<string>();
        const flush = async () => {
          const writes = [...touched].flatMap((id): AnyBulkWriteOperation<BalanceDocument>[] => {
            const replacement = balances.get(id);
            return replacement === undefined
              ? []
              : [{ replaceOne: { filter: { _id: id }, replacement, upsert: true } }];
          });
          touched.clear();
          if (writes.length > 0) await view.bulkWrite(writes, { ordered: false });
        };
        let count = 0;
        for await (const event of readLog()) {
          touched.add(fold(balances, event));
          count += 1;
          if (count % READ_BATCH_COUNT === 0) await flush();
        }
        await flush();
        return count;
      }),
  },
  () => client.close(),
);
