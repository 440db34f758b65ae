import type { Db, MongoClient } from 'mongodb';
import type { RecordSlice } from './audit.ts';
import { createCausalReads } from './causal-reads.ts';
import { ignoreExisting } from './commits.ts';
import type { AuditDocument, OperationDocument, OperationPartDocument } from './documents.ts';
import { askedAgain, inTime } from './in-time.ts';
import type { GenerationRef } from './partitions.ts';
import { createTransactions, type TransactionEnd } from './transactions.ts';

/**
 * `operations`: long work of operators. What it does to dead letters is counted by the transactions that do it, by partition in
 * `operation_parts`; `countParts` adds that up.
 */
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
  /** Everything up to this id was looked at. Nothing happens when another generation is in hand. */
  reached(id: string, of: GenerationRef, after: string, now: Date): Promise<void>;
  /** It is done with this generation. `leftCount`: dead letters of it that it left. Nothing happens when another one is in hand. */
  pass(id: string, of: GenerationRef, leftCount: number, now: Date): Promise<void>;
  /** FAILED with an error, else DONE. */
  finish(id: string, error: string | null, now: Date): Promise<void>;
  /** Adds to all operations of the log what was counted for them, running or not. Throws when it could not be written. */
  countParts(now: Date): Promise<void>;
  /** Ids of the sessions of its transactions. */
  sessionIds(): readonly unknown[];
  close(): Promise<void>;
}

const READ_MAX_MS = 30_000;
const WRITE_MAX_MS = 10_000;
const asked = <T>(read: () => Promise<T>): Promise<T> => askedAgain(read, READ_MAX_MS, 'a read of operations');

/** Creates the collection and its indexes; safe from several processes at once. */
export async function ensureOperations(db: Db, existing: ReadonlySet<string>): Promise<void> {
  const missing = ['operations', 'operation_parts'].filter((name) => !existing.has(name));
  await Promise.all(missing.map((name) => db.createCollection(name).catch(ignoreExisting)));
  await db.collection('operations').createIndexes([{ name: 'state', key: { logId: 1, state: 1 } }]);
}

export function createOperationStore(client: MongoClient, db: Db, logId: string): OperationStore {
  const operations = db.collection<OperationDocument>('operations');
  const parts = db.collection<OperationPartDocument>('operation_parts');
  const audits = db.collection<AuditDocument>('audit');
  const transactions = createTransactions(client, createCausalReads(client), 1);
  const running = (id: string) => ({ _id: id, logId, state: 'RUNNING' }) as const;
  const inHand = (id: string, { consumer, generation }: GenerationRef) => ({
    ...running(id),
    'rest.0.consumer': consumer,
    'rest.0.generation': generation,
  });
  return {
    find: async (id) => (await asked(() => operations.findOne({ _id: { $eq: id }, logId }))) ?? undefined,
    scan: ({ after, before, inclusive, turned, limit }) => {
      if (limit === 0) return Promise.resolve([]);
      const bounds = {
        ...(after !== undefined && { [inclusive ? '$lte' : '$lt']: after }),
        ...(before !== undefined && { [inclusive ? '$gte' : '$gt']: before }),
      };
      return asked(() =>
        operations
          .find({ logId, _id: { $gte: '', ...bounds } }, { limit, batchSize: limit })
          .sort({ _id: turned ? 1 : -1 })
          .toArray(),
      );
    },
    running: () => asked(() => operations.find({ logId, state: 'RUNNING' }).sort({ _id: 1 }).toArray()),
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
    async reached(id, of, after, now) {
      const set = { $set: { after, updatedAt: now } };
      await inTime(operations.updateOne(inHand(id, of), set), WRITE_MAX_MS, 'how far an operation came');
    },
    async pass(id, of, leftCount, now) {
      const { consumer, generation } = of;
      const next = {
        $pop: { rest: -1 },
        $set: { after: null, updatedAt: now },
        ...(leftCount > 0 && { $push: { left: { consumer, generation, count: leftCount } } }),
      } as const;
      await inTime(operations.updateOne(inHand(id, of), next), WRITE_MAX_MS, 'how far an operation came');
    },
    async finish(id, error, now) {
      const state = error === null ? 'DONE' : 'FAILED';
      const set = { $set: { state, error, updatedAt: now, finishedAt: now } } as const;
      await inTime(operations.updateOne(running(id), set), WRITE_MAX_MS, 'the end of an operation');
    },
    async countParts(now) {
      if ((await asked(() => parts.findOne({ logId }))) === null) return;
      const end = await transactions.run(async ({ session }) => {
        const found = await parts.find({ logId }, { session }).toArray();
        const sums = new Map<string, number>();
        for (const { operation, doneCount } of found) sums.set(operation, (sums.get(operation) ?? 0) + doneCount);
        for (const [_id, doneCount] of sums) {
          await operations.updateOne({ _id, logId }, { $inc: { doneCount }, $set: { updatedAt: now } }, { session });
        }
        await parts.deleteMany({ _id: { $in: found.map(({ _id }) => _id) } }, { session });
        return true;
      });
      if (end.kind === 'committed') return;
      throw 'error' in end ? end.error : new Error('What operations did was being counted at the same time.');
    },
    sessionIds: () => transactions.sessionIds(),
    close: () => transactions.close(),
  };
}
