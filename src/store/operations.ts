import type { Db, MongoClient, UpdateFilter } from 'mongodb';
import type { RecordSlice } from './audit.ts';
import { createCausalReads } from './causal-reads.ts';
import { ignoreExisting } from './commits.ts';
import type { AuditDocument, DeadLetterDocument, OperationDocument, PartitionDocument } from './documents.ts';
import { type PartitionRef, partitionId } from './partitions.ts';
import { createTransactions, type TransactionEnd, type TransactionScope } from './transactions.ts';

/** Dead letters of one partition that an operation releases together. */
export interface Release {
  readonly operation: string;
  readonly partition: PartitionRef;
  readonly ids: readonly string[];
  readonly state: DeadLetterDocument['state'];
  readonly now: Date;
}

/** `operations`: long work of operators, and what it does to dead letters. */
export interface OperationStore {
  find(id: string): Promise<OperationDocument | undefined>;
  /** By id, the newest first. */
  scan(slice: RecordSlice<string>): Promise<readonly OperationDocument[]>;
  running(): Promise<readonly OperationDocument[]>;
  /** With its entry in the audit. */
  start(operation: OperationDocument, audit: AuditDocument): Promise<TransactionEnd>;
  /** `refused`: it does not run (any more). */
  stop(id: string, now: Date, audit: AuditDocument): Promise<TransactionEnd>;
  /**
   * Lets dead letters be tried again and counts them, in one transaction that takes the partition's next revision.
   * `refused` with `nothing`: none of them is as it was; with `over`: the operation does not run any more.
   */
  release(release: Release): Promise<{ readonly end: TransactionEnd; readonly outcome: 'done' | 'nothing' | 'over' }>;
  /** Everything up to this id was looked at. False: it does not run any more. */
  reached(id: string, after: string, now: Date): Promise<boolean>;
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
  const letters = db.collection<DeadLetterDocument>('dead_letters');
  const partitions = db.collection<PartitionDocument>('partitions');
  const transactions = createTransactions(client, createCausalReads(client), 1);

  const change = async (
    { session }: TransactionScope,
    id: string,
    update: UpdateFilter<OperationDocument>,
  ): Promise<boolean> => {
    const { matchedCount } = await operations.updateOne({ _id: id, logId, state: 'RUNNING' }, update, { session });
    return matchedCount === 1;
  };

  const release = async (scope: TransactionScope, wanted: Release): Promise<'done' | 'nothing' | 'over'> => {
    const { session } = scope;
    const { operation, partition, ids, state, now } = wanted;
    // The partition first: a worker that is about to commit and this one must not both go on.
    const next = { $inc: { revision: 1 }, $currentDate: { updatedAt: true } } as const;
    await partitions.updateOne({ _id: partitionId(logId, partition) }, next, { session });
    const { modifiedCount } = await letters.updateMany(
      // What this operation released and failed again meanwhile is left alone.
      { _id: { $in: [...ids] }, state, operation: { $ne: operation }, ...notUnderWay(state, now) },
      { $set: { state: 'RETRYING', attempts: 0, nextAttemptAt: now, operation }, $inc: { delivery: 1 } },
      { session },
    );
    if (modifiedCount === 0) return 'nothing';
    const counted = { $inc: { doneCount: modifiedCount }, $set: { updatedAt: now } };
    return (await change(scope, operation, counted)) ? 'done' : 'over';
  };

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
        await audits.insertOne({ ...audit }, { session });
        return true;
      }),
    stop: (id, now, audit) =>
      transactions.run(async (scope) => {
        if (!(await change(scope, id, { $set: { state: 'STOPPED', updatedAt: now, finishedAt: now } }))) return false;
        await audits.insertOne({ ...audit }, { session: scope.session });
        return true;
      }),
    async release(wanted) {
      let outcome: 'done' | 'nothing' | 'over' = 'nothing';
      const end = await transactions.run(async (scope) => {
        outcome = await release(scope, wanted);
        return outcome === 'done';
      });
      return { end, outcome };
    },
    async reached(id, after, now) {
      const filter = { _id: id, logId, state: 'RUNNING' } as const;
      return (await operations.updateOne(filter, { $set: { after, updatedAt: now } })).matchedCount === 1;
    },
    async finish(id, now) {
      const done = { $set: { state: 'DONE', updatedAt: now, finishedAt: now } } as const;
      await operations.updateOne({ _id: id, logId, state: 'RUNNING' }, done);
    },
    sessionIds: () => transactions.sessionIds(),
    close: () => transactions.close(),
  };
}

/** One that is due is being tried, or about to be. */
const notUnderWay = (state: DeadLetterDocument['state'], now: Date): object =>
  state === 'RETRYING' ? { nextAttemptAt: { $gt: now } } : {};
