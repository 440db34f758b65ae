import type { Db } from 'mongodb';
import type { Model } from '../define/model.ts';
import { type CommitStore, createCommitStore, ensureCommits } from './commits.ts';
import { closeClient, connect, explainMongo } from './connect.ts';
import { createDeliveryStore, type DeliveryStore, ensureDelivery } from './delivery-store.ts';
import { createEventPages, type EventPages } from './event-pages.ts';
import { createFlowReads, ensureFlow, type FlowReads } from './flow-reads.ts';
import { createRejectionStore, ensureRejections, type RejectionStore } from './rejections.ts';
import { ensureServed } from './served-views.ts';
import { createSnapshotStore, ensureSnapshots, type SnapshotStore } from './snapshots.ts';
import { createViewStore, type ViewStore } from './view-documents.ts';
import { ensureViewCollection, indexText, missingIndexes, type OnIndexBuild } from './view-indexes.ts';
import { createPastStore, type PastStore } from './view-past.ts';

/** Everything that one process keeps in MongoDB. Whoever opened it closes it. */
export interface Store {
  readonly commits: CommitStore;
  readonly rejections: RejectionStore;
  readonly snapshots: SnapshotStore;
  readonly delivery: DeliveryStore;
  readonly views: ViewStore;
  readonly past: PastStore;
  readonly events: EventPages;
  readonly flow: FlowReads;
  /** Declared indexes that MongoDB does not have (any more), in words; looked for once in ten seconds. */
  missingIndexes(): Promise<readonly string[]>;
  /** Rejects when the primary does not answer. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** Connects, checks the server, creates collections and indexes (idempotent, from several processes at once). */
export async function openStore(options: {
  readonly url: string;
  readonly database: string;
  readonly appName: string;
  readonly logId: string;
  readonly model: Model;
  /** Hears of indexes that are built over a view's documents: the start waits for them. */
  readonly onIndexBuild?: OnIndexBuild;
}): Promise<Store> {
  const { client, db } = await connect(options);
  try {
    const names = await db.listCollections({}, { nameOnly: true }).toArray();
    const existing = new Set(names.map(({ name }) => name));
    await Promise.all([
      ensureCommits(db, existing),
      ensureRejections(db),
      ensureSnapshots(db, existing),
      ensureDelivery(db, existing),
    ]);
    await ensureFlow(db);
    for (const { name: consumer, projector, generation } of options.model.projectorOf.values()) {
      await ensureServed(db, options.logId, { consumer, generation, view: projector.into.name });
      await ensureViewCollection(db, projector.into, generation, options.onIndexBuild);
    }
  } catch (error) {
    await closeClient(client);
    throw explainMongo(error, options.url);
  }
  const delivery = createDeliveryStore(client, db, options.logId);
  return {
    commits: createCommitStore(client, db),
    rejections: createRejectionStore(db),
    snapshots: createSnapshotStore(db),
    delivery,
    views: createViewStore(client, db, options.logId),
    past: createPastStore(client, db, options.logId),
    events: createEventPages(client, db),
    flow: createFlowReads(client, db, options.logId),
    missingIndexes: atMostEvery(INDEX_LOOK_MS, () => findMissing(db, options.model)),
    ping: async () => {
      await db.command({ ping: 1 }, { timeoutMS: 2_000 });
    },
    async close() {
      await Promise.all([delivery.partitions.close(), delivery.operators.close()]);
      await closeClient(client);
    },
  };
}

const INDEX_LOOK_MS = 10_000;

async function findMissing(db: Db, model: Model): Promise<readonly string[]> {
  const found: string[] = [];
  for (const { projector, generation } of model.projectorOf.values()) {
    const missing = await missingIndexes(db, projector.into, generation);
    for (const index of missing) {
      found.push(
        `view "${projector.into.name}" (generation ${generation}) has no index ${indexText(index)}: what needs it is refused. Start a process with this code anew, it builds it`,
      );
    }
  }
  return found;
}

/** The answer of the last time while that is not older; a question that failed is asked again. */
function atMostEvery<T>(ms: number, ask: () => Promise<T>): () => Promise<T> {
  let last: { readonly at: number; readonly answer: Promise<T> } | undefined;
  return () => {
    if (last !== undefined && Date.now() - last.at < ms) return last.answer;
    const answer = ask();
    const asked = { at: Date.now(), answer };
    last = asked;
    answer.catch(() => {
      if (last === asked) last = undefined;
    });
    return answer;
  };
}
