import type { EventMeta } from '../define/event.ts';
import type { SagaInstance } from '../define/saga-instance.ts';

/**
 * The documents that Millrace keeps in MongoDB, one collection each. `commits` and `events` are immutable.
 * Word list and invariants: docs/architecture.md.
 */

export type * from './failure-documents.ts';
export type * from './work-documents.ts';

/** An event inside a commit. */
export interface CommitEvent {
  readonly id: string;
  readonly type: string;
  readonly schemaVersion: number;
  readonly data: unknown;
}

/** `commits`: a command and all events that it caused, atomic. */
export interface CommitDocument {
  /** UUIDv7 made by the gateway; the same document is inserted again when an outcome is unknown. */
  readonly _id: string;
  readonly stream: string;
  /** Version of the first event; absent on a receipt without events. */
  readonly version?: number;
  readonly command: { readonly id: string; readonly type: string; readonly data: unknown; readonly hash: string };
  readonly events: readonly CommitEvent[];
  readonly meta: EventMeta;
  readonly at: Date;
}

/** `rejections`: a refusal that a repeat of the same command meets again until `expiresAt` (TTL index). */
export interface RejectionDocument {
  /** `stream` + NUL + command id. */
  readonly _id: string;
  readonly stream: string;
  readonly command: { readonly id: string; readonly type: string; readonly hash: string };
  readonly code: string;
  readonly reason: string;
  readonly meta: EventMeta;
  readonly at: Date;
  readonly expiresAt: Date;
}

/** `snapshots`: the state of a stream, from which a cold load goes on. */
export interface SnapshotDocument {
  /** The stream. */
  readonly _id: string;
  /** Of the last event in it. */
  readonly version: number;
  /** Of the first event of the commit that it ends with. */
  readonly commitVersion: number;
  /** That commit: another history may have one at the same version. */
  readonly commitId: string;
  readonly closed: boolean;
  /** Hash of what made the state: one of other code is no use. */
  readonly shape: string;
  /** JSON. */
  readonly state: string;
  /** Hash of all that is above. */
  readonly check: string;
  readonly at: Date;
}

/** `events`: the log, clustered by position. */
export interface LogDocument {
  /** Position: 1, 2, 3, … without gaps. */
  readonly _id: number;
  readonly id: string;
  readonly type: string;
  readonly schemaVersion: number;
  readonly stream: string;
  readonly version: number;
  readonly data: unknown;
  readonly meta: EventMeta;
  readonly commandId: string;
  readonly at: Date;
}

/** `partitions`: how far a consumer's share of keys has come. */
export interface PartitionDocument {
  /** `<logId>/<consumer>/<generation>/<partition>` */
  readonly _id: string;
  readonly consumer: string;
  readonly generation: number;
  readonly partition: number;
  /** Every event of this partition up to this position has been handled. */
  readonly checkpoint: number;
  /** Incremented by every transaction of the partition. */
  readonly revision: number;
  readonly updatedAt: Date;
  /** Keys of this partition that have a dead letter; absent: 0. */
  readonly blockedCount?: number;
  /** While set, whoever reads the partition leaves it alone: its consumer is paused. */
  readonly paused?: boolean;
  /** Of the pause or resume of its consumer that set or took away `paused` last. */
  readonly pauseCount?: number;
  /** Set while the handler fails for a key: this partition stands still at `checkpoint`. */
  readonly failure?: {
    readonly key: string;
    readonly position: number;
    readonly eventType: string;
    readonly code: string;
    readonly message: string;
    readonly attempts: number;
    readonly since: Date;
  };
}

/**
 * `partition_marks`: events of a partition that are about to be handled with care, after crashes. Not in the partition itself:
 * that may be locked by the open transaction of whoever died last.
 */
export interface PartitionMarkDocument {
  /** Of the partition. */
  readonly _id: string;
  readonly position: number;
  /** The last one; absent: `position` alone. */
  readonly until?: number;
  /** How often they were begun. */
  readonly count: number;
}

/** `consumers`: what is fixed when a generation is created. */
export interface ConsumerDocument {
  /** `<logId>/<consumer>/<generation>` */
  readonly _id: string;
  readonly consumer: string;
  readonly version: number;
  readonly generation: number;
  readonly kind?: 'projector' | 'saga' | 'observer';
  readonly partitionCount: number;
  /** The position after which it began; absent: 0. */
  readonly startPosition?: number;
  readonly createdAt: Date;
  /** Projectors: the view that it keeps. */
  readonly view?: string;
  /** While set, no process runs it. */
  readonly paused?: { readonly since: Date; readonly reason: string; readonly actor: string | null };
  /** Counts pauses and resumes, so that processes see one that was short. */
  readonly pauseCount?: number;
  /** A reset that was begun: until it is done the consumer stays paused. */
  readonly resetting?: {
    readonly since: Date;
    readonly position: number;
    readonly dropInstances: boolean;
    readonly repeatEffects: boolean;
    /** Observers: what had been handled before. */
    readonly replayUntil?: number;
  };
  /** A rebuild that was given up: what it had built is removed, and it stays paused until it is started anew. */
  readonly aborted?: { readonly since: Date; readonly reason: string; readonly actor: string | null };
  /** When a rebuild was started anew; absent: `createdAt`. */
  readonly startedAt?: Date;
  /** When reads of its view went over to it; absent: never, or it is the first of its view. */
  readonly swappedAt?: Date;
  /** Set when it is retired: no process runs it any more, its records may be dropped. */
  readonly retiredAt?: Date;
  /** Retired, and what it left behind is not all removed yet. */
  readonly removing?: true;
  /** Observers: events up to here were handled before a reset and are skipped. */
  readonly replayUntil?: number;
  /** Observers: processes whose breaker is not closed, by instance id. One that is not renewed after `until` is of a dead process. */
  readonly breakers?: Readonly<Record<string, BreakerRecord>>;
}

/**
 * `views`: the generations of a view that reads went over to. A process serves the version of its
 * own code where that is among them, else the highest below it (below `previous`, where its code names one); where there is none, its own.
 */
export interface ServedViewDocument {
  /** `<logId>/<view>` */
  readonly _id: string;
  readonly view: string;
  readonly consumer: string;
  readonly swaps: readonly ViewSwap[];
}
export interface ViewSwap {
  readonly generation: number;
  readonly at: Date;
  /** Every partition had handled the log up to here. */
  readonly position: number;
  /** Null for the first generation of a view. */
  readonly reason: string | null;
  readonly actor: string | null;
}

/** An observer's breaker that stopped its tries in one process. */
export interface BreakerRecord {
  /** HALF_OPEN: one try is under way to see whether it works again. */
  readonly state: 'OPEN' | 'HALF_OPEN';
  /** When it opened first, after it was closed. */
  readonly since: Date;
  /** When the next try to see is due at the latest. */
  readonly until: Date;
  /** Failures in a row that opened it. */
  readonly failureCount: number;
  readonly code: string;
  readonly message: string;
}

/** A command that was merged into a view document, and the partition revision that wrote it. */
export interface Origin {
  readonly commandId: string;
  readonly revision: number;
}

/** The platform's own fields of a view document; the author's fields stand beside them. Tombstones have `_deleted`. */
export interface ViewMarks {
  /** The document's key. */
  readonly _id: string;
  readonly _partition: number;
  /** Partition revision of the transaction that wrote this. */
  readonly _revision: number;
  /** Position of the last event in it. */
  readonly _position: number;
  /** Counts the changes of this document; only rises, also over a removal. */
  readonly _version: number;
  /** The last commands in it, newest last, at most ORIGINS_CAP. */
  readonly _origins: readonly Origin[];
  /** When it was removed; TTL index. */
  readonly _deleted?: Date;
}
export type ViewDocument = ViewMarks & Readonly<Record<string, unknown>>;
export const ORIGINS_CAP = 10;

/** `saga_<saga>_g<generation>`: an instance of a saga, with the marks that its partition keeps. */
export type SagaDocument = ViewMarks & SagaInstance;

/** `saga_keys`: where a correlation key leads, for sagas with several. Written by the transactions of the saga's partition. */
export interface SagaKeyDocument {
  /** `<logId>/<saga>/<generation>/<key>` */
  readonly _id: string;
  readonly consumer: string;
  readonly generation: number;
  readonly partition: number;
  readonly key: string;
  /** Id of the instance. */
  readonly instance: string;
  /** Of an instance that has ended: they are removed together. */
  readonly expiresAt?: Date;
}

/** `instances`: processes that live, with the sessions that their transactions use. */
export interface InstanceDocument {
  readonly _id: string;
  readonly host: string;
  readonly pid: number;
  readonly role: string;
  readonly sessions: readonly unknown[];
  /** Ids of the generations (`consumers`) that it runs. */
  readonly consumers?: readonly string[];
  /** Ids of the generations whose views it reads. */
  readonly serves?: readonly string[];
  readonly startedAt: Date;
  /** By the server's clock ($$NOW). */
  readonly heartbeatAt: Date;
}

/** `leases`: who does work that only one should do. Lost leases cost work, never correctness. */
export interface LeaseDocument {
  readonly _id: string;
  readonly holder: string;
  /** By the server's clock ($$NOW). */
  readonly expiresAt: Date;
}
