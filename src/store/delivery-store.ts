import type { Db, MongoClient } from 'mongodb';
import { type AlertStore, createAlertStore, ensureAlerts } from './alerts.ts';
import { type CausalReads, createCausalReads } from './causal-reads.ts';
import { type CommitFeed, createCommitFeed } from './commit-feed.ts';
import { type ConsumerStore, createConsumerStore, ensureConsumers } from './consumers.ts';
import { createDeadLetterStore, type DeadLetterStore, ensureDeadLetters } from './dead-letters.ts';
import { createDelayedCommandStore, type DelayedCommandStore, ensureDelayedCommands } from './delayed-commands.ts';
import { createExclusiveKeys, type ExclusiveKeys, ensureExclusiveKeys } from './exclusive-keys.ts';
import { createInstanceStore, type InstanceStore } from './instances.ts';
import { createLeaseStore, type LeaseStore } from './leases.ts';
import { createLogStore, ensureLog, type LogStore } from './log.ts';
import { createJournalStore, ensureJournal, type JournalStore } from './observer-journal.ts';
import { createOperatorStore, ensureOperators, type OperatorStore } from './operator-store.ts';
import { createPartitionStore, type PartitionStore } from './partitions.ts';
import { createPlacementStateStore, type PlacementStateStore } from './placement-state.ts';
import { createQueuedCommandStore, ensureQueuedCommands, type QueuedCommandStore } from './queued-commands.ts';
import { createRateLimitStore, type RateLimitStore } from './rate-limits.ts';
import { createSagaStore, ensureSagas, type SagaStore } from './sagas.ts';
import { createTimerStore, ensureTimers, type TimerStore } from './timers.ts';

/** Everything that carries commits into the log and events to consumers. */
export interface DeliveryStore {
  readonly logId: string;
  readonly feed: CommitFeed;
  readonly log: LogStore;
  readonly placement: PlacementStateStore;
  readonly partitions: PartitionStore;
  readonly consumers: ConsumerStore;
  readonly deadLetters: DeadLetterStore;
  readonly leases: LeaseStore;
  readonly operators: OperatorStore;
  readonly instances: InstanceStore;
  readonly journal: JournalStore;
  readonly rateLimits: RateLimitStore;
  readonly alerts: AlertStore;
  readonly sagas: SagaStore;
  readonly timers: TimerStore;
  readonly delayed: DelayedCommandStore;
  readonly queuedCommands: QueuedCommandStore;
  readonly exclusiveKeys: ExclusiveKeys;
}

/** Creates collections and indexes; idempotent, safe from several processes at once. */
export async function ensureDelivery(db: Db, existing: ReadonlySet<string>): Promise<void> {
  await Promise.all([
    ensureLog(db, existing),
    ensureConsumers(db, existing),
    ensureDeadLetters(db, existing),
    ensureOperators(db, existing),
    ensureJournal(db),
    ensureAlerts(db),
    ensureSagas(db, existing),
    ensureTimers(db, existing),
    ensureDelayedCommands(db),
    ensureQueuedCommands(db, existing),
    ensureExclusiveKeys(db),
  ]);
}

export function createDeliveryStore(client: MongoClient, db: Db, logId: string): DeliveryStore {
  // One for all that partitions are read together with: none of it may be older than their revisions.
  const reads: CausalReads = createCausalReads(client);
  return {
    logId,
    feed: createCommitFeed(client, db),
    log: createLogStore(client, db),
    placement: createPlacementStateStore(db, logId),
    partitions: createPartitionStore(client, db, logId, reads),
    consumers: createConsumerStore(db, logId),
    deadLetters: createDeadLetterStore(db, logId, reads),
    leases: createLeaseStore(db),
    operators: createOperatorStore(client, db, logId),
    instances: createInstanceStore(client, db),
    journal: createJournalStore(db),
    rateLimits: createRateLimitStore(db),
    alerts: createAlertStore(db, logId),
    sagas: createSagaStore(db, logId, reads),
    timers: createTimerStore(db, logId),
    delayed: createDelayedCommandStore(db),
    queuedCommands: createQueuedCommandStore(client, db),
    exclusiveKeys: createExclusiveKeys(db),
  };
}
