import type { Db, MongoClient } from 'mongodb';
import type { RecordSlice } from './audit.ts';
import { createCausalReads } from './causal-reads.ts';
import { ignoreExisting } from './commits.ts';
import type { AuditDocument, OperationDocument } from './documents.ts';
import { createTransactions, type TransactionEnd } from './transactions.ts';

/** `operations`: long work of operators. What it does to dead letters is counted by the transactions that do it. */
export interface OperationStore {
  find(id: string): Promise<OperationDocument | undefined>;
  /** By id, the newest first. */
  scan(slice: RecordSlice<string>): Promise<readonly OperationDocument[]>;
  /** Those that run, the oldest first. */
  running(): Promise<readonly OperationDocument[]>;
  /** With its entry in the audit, if it has one of its own. */
  start(operation: OperationDocument, audit: AuditDocument | undefined): Promise<TransactionEnd>;
  /** `refused`: it does not run (any more). */
  stop(id: string, now: Date, audit: AuditDocument): Promise<TransactionEnd>;
  /** Everything up to this id was looked at. */
  reached(id: string, after: string, now: Date): Promise<void>;
  finish(id: string, now: Date): Promise<void>;
  /** Ids of the sessions of its transactions. */
  sessionIds(): readonly unknown[];
  close(): Promise<void>;
}

/** Creates the collection and its indexes; safe from several processes at once. */
export async function ensureOperations(db: Db, existing: ReadonlySet<string>): Promise<void> {
  if (!existing.has('operations')) await db.createCollection('operations').catch(ignoreExisting);
  await db.collection('operations').createIndexes([{ name: 'state', key: { logId: 1, state: 1 } }]);
}

export function createOperationStore(client: MongoClient, db: Db, logId: string): OperationStore {
  const operations = db.collection<OperationDocument>('operations');
  const audits = db.collection<AuditDocument>('audit');
  const transactions = createTransactions(client, createCausalReads(client), 1);
  const running = (id: string) => ({ _id: id, logId, state: 'RUNNING' }) as const;
  return {
    find: async (id) => (await operations.findOne({ _id: { $eq: id }, logId })) ?? undefined,
    scan: ({ after, before, inclusive, turned, limit }) => {
      if (limit === 0) return Promise.resolve([]);
      const bounds = {
        ...(after !== undefined && { [inclusive ? '$lte' : '$lt']: after }),
        ...(before !== undefined && { [inclusive ? '$gte' : '$gt']: before }),
      };
      return operations
        .find({ logId, _id: { $gte: '', ...bounds } }, { limit, batchSize: limit })
        .sort({ _id: turned ? 1 : -1 })
        .toArray();
    },
    running: () => operations.find({ logId, state: 'RUNNING' }).sort({ _id: 1 }).toArray(),
    start: (operation, audit) =>
      transactions.run(async ({ session }) => {
        await operations.insertOne({ ...operation }, { session });
        if (audit !== undefined) await audits.insertOne({ ...audit }, { session });
        return true;
      }),
    stop: (id, now, audit) =>
      transactions.run(async ({ session }) => {
        const stopped = { $set: { state: 'STOPPED', updatedAt: now, finishedAt: now } } as const;
        if ((await operations.updateOne(running(id), stopped, { session })).matchedCount === 0) return false;
        await audits.insertOne({ ...audit }, { session });
        return true;
      }),
    async reached(id, after, now) {
      await operations.updateOne(running(id), { $set: { after, updatedAt: now } });
    },
    async finish(id, now) {
      await operations.updateOne(running(id), { $set: { state: 'DONE', updatedAt: now, finishedAt: now } });
    },
    sessionIds: () => transactions.sessionIds(),
    close: () => transactions.close(),
  };
}
