import type { Db, MongoClient } from 'mongodb';
import { type AuditStore, createAuditStore, ensureAudit } from './audit.ts';
import { type ConsumerControlStore, createConsumerControlStore } from './consumer-controls.ts';
import { createDeadLetterReads, type DeadLetterReads, ensureDeadLetterReads } from './dead-letter-reads.ts';
import { createOperationStore, ensureOperations, type OperationStore } from './operations.ts';
import { createRebuildPages, type RebuildPages } from './rebuild-pages.ts';
import { createServedViewStore, ensureServedViews, type ServedViewStore } from './served-views.ts';

/** What operators look at and change. */
export interface OperatorStore {
  readonly audit: AuditStore;
  readonly operations: OperationStore;
  readonly deadLetters: DeadLetterReads;
  readonly consumers: ConsumerControlStore;
  readonly views: ServedViewStore;
  readonly rebuilds: RebuildPages;
  /** Ids of the sessions of its transactions. */
  sessionIds(): readonly unknown[];
  close(): Promise<void>;
}

/** Creates collections and indexes; idempotent, safe from several processes at once. */
export async function ensureOperators(db: Db, existing: ReadonlySet<string>): Promise<void> {
  await Promise.all([
    ensureAudit(db, existing),
    ensureOperations(db, existing),
    ensureServedViews(db, existing),
    ensureDeadLetterReads(db),
  ]);
}

export function createOperatorStore(client: MongoClient, db: Db, logId: string): OperatorStore {
  const operations = createOperationStore(client, db, logId);
  const consumers = createConsumerControlStore(client, db, logId);
  const views = createServedViewStore(client, db, logId);
  return {
    audit: createAuditStore(db, logId),
    operations,
    deadLetters: createDeadLetterReads(db, logId),
    consumers,
    views,
    rebuilds: createRebuildPages(client, db, logId),
    sessionIds: () => [...operations.sessionIds(), ...consumers.sessionIds(), ...views.sessionIds()],
    async close() {
      await Promise.all([operations.close(), consumers.close(), views.close()]);
    },
  };
}
