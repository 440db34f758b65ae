import type { Model } from '../define/model.ts';
import { type CommitStore, createCommitStore, ensureCommits } from './commits.ts';
import { closeClient, connect, explainMongo } from './connect.ts';
import { createDeliveryStore, type DeliveryStore, ensureDelivery } from './delivery-store.ts';
import { createEventPages, type EventPages } from './event-pages.ts';
import { createFlowReads, ensureFlow, type FlowReads } from './flow-reads.ts';
import { createRejectionStore, ensureRejections, type RejectionStore } from './rejections.ts';
import { createViewStore, ensureViewCollection, type ViewStore } from './view-documents.ts';

/** Everything that one process keeps in MongoDB. Whoever opened it closes it. */
export interface Store {
  readonly commits: CommitStore;
  readonly rejections: RejectionStore;
  readonly delivery: DeliveryStore;
  readonly views: ViewStore;
  readonly events: EventPages;
  readonly flow: FlowReads;
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
}): Promise<Store> {
  const { client, db } = await connect(options);
  try {
    const names = await db.listCollections({}, { nameOnly: true }).toArray();
    const existing = new Set(names.map(({ name }) => name));
    await Promise.all([ensureCommits(db, existing), ensureRejections(db), ensureDelivery(db, existing)]);
    await ensureFlow(db);
    for (const { projector, generation } of options.model.projectorOf.values()) {
      await ensureViewCollection(db, projector.into, generation);
    }
  } catch (error) {
    await closeClient(client);
    throw explainMongo(error, options.url);
  }
  const delivery = createDeliveryStore(client, db, options.logId);
  return {
    commits: createCommitStore(client, db),
    rejections: createRejectionStore(db),
    delivery,
    views: createViewStore(client, db, options.logId),
    events: createEventPages(client, db),
    flow: createFlowReads(client, db, options.logId),
    ping: async () => {
      await db.command({ ping: 1 }, { timeoutMS: 2_000 });
    },
    async close() {
      await Promise.all([delivery.partitions.close(), delivery.operators.close()]);
      await closeClient(client);
    },
  };
}
