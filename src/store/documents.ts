import type { EventMeta } from '../define/event.ts';

/**
 * The documents that Millrace keeps in MongoDB, one collection each. `commits` and `events` are immutable.
 * Word list and invariants: docs/architecture.md.
 */

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

/** `consumers`: what is fixed when a generation is created. */
export interface ConsumerDocument {
  /** `<logId>/<consumer>/<generation>` */
  readonly _id: string;
  readonly consumer: string;
  readonly version: number;
  readonly generation: number;
  readonly partitionCount: number;
  readonly createdAt: Date;
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

/** `instances`: processes that live, with the sessions that their transactions use. */
export interface InstanceDocument {
  readonly _id: string;
  readonly host: string;
  readonly pid: number;
  readonly role: string;
  readonly sessions: readonly unknown[];
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
