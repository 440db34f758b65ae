import type { Db, MongoClient } from 'mongodb';
import { MillraceError } from '../errors.ts';
import { createCausalReads } from './causal-reads.ts';
import { ignoreExisting } from './commits.ts';
import type {
  AuditDocument,
  ConsumerDocument,
  DeadLetterDocument,
  PartitionDocument,
  ServedViewDocument,
  ViewSwap,
} from './documents.ts';
import { askedAgain, inTime } from './in-time.ts';
import { consumerId, type GenerationRef } from './partitions.ts';
import { createTransactions, type TransactionEnd } from './transactions.ts';

/** A swap and what must hold for it. */
export interface SwapMove {
  readonly view: string;
  readonly ref: GenerationRef;
  readonly partitionCount: number;
  readonly swap: ViewSwap;
  readonly audit: AuditDocument;
}

/** `views`: which generations of each view reads went over to. */
export interface ServedViewStore {
  list(): Promise<readonly ServedViewDocument[]>;
  /**
   * One transaction that looks and writes: every partition of the generation has handled `swap.position`, none stands still,
   * none of its keys waits, it is neither paused nor aborted, and no later generation was swapped in. `refused`: something of
   * that does not hold.
   */
  swap(move: SwapMove): Promise<TransactionEnd>;
  /** The generation was retired; of the last one nothing stays noted. Idempotent. */
  forget(view: string, ref: GenerationRef): Promise<void>;
  sessionIds(): readonly unknown[];
  close(): Promise<void>;
}

const READ_MAX_MS = 10_000;
const WRITE_MAX_MS = 10_000;
const servedViewId = (logId: string, view: string): string => `${logId}/${view}`;

export async function ensureServedViews(db: Db, existing: ReadonlySet<string>): Promise<void> {
  if (!existing.has('views')) await db.createCollection('views').catch(ignoreExisting);
}

/**
 * Notes what is read of a view of which nothing is noted: its only generation, or those that were created before swaps were noted,
 * each of which was read at once. Idempotent; several processes may call it at once, and call it before they create a generation.
 * Throws DEFINITION_INVALID when another projector keeps the view: generations of both would lie in the same collections.
 */
export async function ensureServed(
  db: Db,
  logId: string,
  { consumer, generation, view }: GenerationRef & { readonly view: string },
): Promise<void> {
  const views = db.collection<ServedViewDocument>('views');
  const _id = servedViewId(logId, view);
  const known = await views.findOne({ _id });
  if (known !== null && known.swaps.length > 0) return checkKeeper(known, consumer);
  if (known !== null) await views.deleteOne({ _id, swaps: [] });
  const there = await db
    .collection<ConsumerDocument>('consumers')
    .find({ _id: { $gte: `${logId}/`, $lt: `${logId}0` }, view, retiredAt: { $exists: false } })
    .sort({ generation: 1 })
    .toArray();
  for (const one of there) checkKeeper({ ...one, view }, consumer);
  const generations = there.length === 0 ? [generation] : there.map((one) => one.generation);
  const at = new Date();
  const swaps = generations.map((one) => ({ generation: one, at, position: 0, reason: null, actor: null }));
  const noted = await views.findOneAndUpdate(
    { _id },
    { $setOnInsert: { view, consumer, swaps } },
    { upsert: true, returnDocument: 'after' },
  );
  if (noted !== null) checkKeeper(noted, consumer);
}

function checkKeeper(
  { view, consumer: keeper }: Pick<ServedViewDocument, 'view' | 'consumer'>,
  consumer: string,
): void {
  if (keeper === consumer) return;
  throw new MillraceError(
    'DEFINITION_INVALID',
    `View "${view}" is kept by projector "${keeper}"; "${consumer}" would write among its documents. Name the projector "${keeper}" again, or give the view a new name. When no process has "${keeper}" any more, retiring all its generations frees the name of the view (\`millrace consumers list --unused\`, \`millrace consumers retire ${keeper} … --reason …\`).`,
  );
}

export function createServedViewStore(client: MongoClient, db: Db, logId: string): ServedViewStore {
  const views = db.collection<ServedViewDocument>('views');
  const consumers = db.collection<ConsumerDocument>('consumers');
  const partitions = db.collection<PartitionDocument>('partitions');
  const letters = db.collection<DeadLetterDocument>('dead_letters');
  const audits = db.collection<AuditDocument>('audit');
  const transactions = createTransactions(client, createCausalReads(client), 1);
  return {
    list: () => {
      const read = () => views.find({ _id: { $gte: `${logId}/`, $lt: `${logId}0` } }).toArray();
      return askedAgain(read, READ_MAX_MS, 'which generations are read');
    },
    swap: ({ view, ref, partitionCount, swap, audit }) =>
      transactions.run(async ({ session }) => {
        const _id = consumerId(logId, ref);
        // Written, not only read: who pauses, aborts or retires it at the same time meets this.
        const no = { $exists: false };
        const untouched = { paused: no, resetting: no, aborted: no, retiredAt: no };
        const noted = await consumers.updateOne({ _id, ...untouched }, { $set: { swappedAt: swap.at } }, { session });
        if (noted.matchedCount === 0) return false;
        const states = await partitions.find({ _id: { $gte: `${_id}/`, $lt: `${_id}0` } }, { session }).toArray();
        const level = states.filter(
          ({ checkpoint, failure, blockedCount = 0, paused = false }) =>
            checkpoint >= swap.position && failure === undefined && blockedCount === 0 && !paused,
        );
        if (states.length < partitionCount || level.length < states.length) return false;
        const { consumer, generation } = ref;
        if ((await letters.findOne({ logId, consumer, generation }, { session })) !== null) return false;
        const { matchedCount } = await views.updateOne(
          { _id: servedViewId(logId, view), 'swaps.generation': { $not: { $gte: generation } } },
          { $push: { swaps: swap } },
          { session },
        );
        if (matchedCount === 0) return false;
        await audits.insertOne({ ...audit }, { session });
        return true;
      }),
    async forget(view, { consumer, generation }) {
      const own = { _id: servedViewId(logId, view), consumer };
      const pulling = views.updateOne(own, { $pull: { swaps: { generation } } });
      await inTime(pulling, WRITE_MAX_MS, 'a note about a view');
      await inTime(views.deleteOne({ ...own, swaps: [] }), WRITE_MAX_MS, 'a note about a view');
    },
    sessionIds: () => transactions.sessionIds(),
    close: () => transactions.close(),
  };
}
