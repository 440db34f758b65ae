import type { EventMeta } from '../define/event.ts';
import type { SagaInstance } from '../define/saga-instance.ts';

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
  /** Keys of this partition that have a dead letter; absent: 0. */
  readonly blockedCount?: number;
  /** While set, whoever reads the partition leaves it alone: its consumer is paused. */
  readonly paused?: boolean;
  /** An event that is about to be handled with care, after crashes, and how often that was begun. */
  readonly mark?: { readonly position: number; readonly count: number };
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
  /** Set when it is retired: no process runs it any more, its records may be dropped. */
  readonly retiredAt?: Date;
  /** Observers: events up to here were handled before a reset and are skipped. */
  readonly replayUntil?: number;
  /** Observers: processes whose breaker is not closed, by instance id. One that is not renewed after `until` is of a dead process. */
  readonly breakers?: Readonly<Record<string, BreakerRecord>>;
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

/** What went wrong, without the payload: bounded in size, whatever was thrown. */
export interface StoredError {
  readonly code: string;
  /** Class name, or what was thrown instead of an error. */
  readonly type: string;
  /** At most 2,000 characters. */
  readonly message: string;
  /** At most 4,000 characters. */
  readonly stack: string | null;
  /** Same for errors of the same type, shape of message and top frame. */
  readonly fingerprint: string;
  /** Issues of a schema, where there are some. */
  readonly issues?: readonly { readonly path: readonly (string | number)[]; readonly message: string }[];
}

/** `dead_letters`: a key of a consumer whose event failed; later events of that key wait in `parked_events`. */
export interface DeadLetterDocument {
  /** sha256 (32 hex characters) of log, consumer, generation and key. */
  readonly _id: string;
  readonly logId: string;
  readonly consumer: string;
  readonly consumerKind: 'projector' | 'saga' | 'observer';
  readonly generation: number;
  readonly version: number;
  readonly partition: number;
  readonly key: string;
  /** RETRYING: tries go on by themselves; DEAD: an operator or a deployment must act. */
  readonly state: 'RETRYING' | 'DEAD';
  /** The input that failed: an event of the log, or a timer or refusal of a saga (then the event fields are absent). */
  readonly input: 'event' | 'timer' | 'refusal';
  /** Position of the event; of the checkpoint for other inputs. */
  readonly position: number;
  readonly eventId: string | null;
  /** Event type, timer name or command type. */
  readonly inputType: string;
  readonly correlationId: string | null;
  /** Tries so far, since it failed first or was retried by an operator. */
  readonly attempts: number;
  /** Of the policy at the last try; null: for ever. */
  readonly maxAttempts: number | null;
  /** Counts retries by operators: part of the job's id. */
  readonly delivery: number;
  readonly error: StoredError;
  /** Events of this key that wait behind it. */
  readonly parkedCount: number;
  readonly firstFailedAt: Date;
  readonly lastFailedAt: Date;
  /** When the next try is due; null when DEAD. */
  readonly nextAttemptAt: Date | null;
  /** Tries that were begun with care, after crashes, and have not ended. */
  readonly begun?: number;
  /** The operation that let it be tried again last. */
  readonly operation?: string;
}

/** `parked_events`: references to events that wait behind a dead letter, in order of position. */
export interface ParkedEventDocument {
  /** `<dead letter id>/<position padded to 16 digits>` */
  readonly _id: string;
  readonly deadLetter: string;
  readonly consumer: string;
  readonly generation: number;
  readonly partition: number;
  readonly key: string;
  readonly position: number;
}

/** `queued_commands`: commands that wait for a worker, and what became of them. */
export interface QueuedCommandDocument {
  /** `stream` + NUL + command id. */
  readonly _id: string;
  readonly logId: string;
  readonly stream: string;
  /** Name of the aggregate or service. */
  readonly target: string;
  readonly targetKind: 'aggregate' | 'service';
  readonly id: string;
  readonly commandId: string;
  readonly type: string;
  /** Raw input without fields that must not be stored. */
  readonly data: unknown;
  readonly hash: string;
  readonly expectedVersion?: number;
  readonly meta: EventMeta;
  /** RUNNING: begun, or waiting for its next try. One of an aggregate that its writer carries out at once is born RUNNING. */
  readonly state: 'RECEIVED' | 'RUNNING' | 'ACCEPTED' | 'REJECTED' | 'DEAD' | 'CANCELLED';
  /** Tries that ended, since it was received or retried by an operator; interrupted ones do not count. */
  readonly attempts: number;
  /** Counts retries by operators: part of the job's id. */
  readonly delivery: number;
  /** While it is open: the sweep takes it up after this time, unless it made progress. */
  readonly dueAt?: Date;
  /** Services: the process that runs it now; `until` by the server's clock. */
  readonly claim?: { readonly holder: string; readonly until: Date };
  /** Services: tries whose process fell silent. */
  readonly interruptions?: number;
  readonly error?: StoredError;
  readonly refusal?: { readonly code: string; readonly reason: string };
  readonly receivedAt: Date;
  /** Delayed commands: not before this time. */
  readonly notBefore?: Date;
  readonly startedAt?: Date;
  readonly nextAttemptAt?: Date;
  readonly finishedAt?: Date;
  readonly updatedAt: Date;
  /** Set when finished (not for DEAD ones); TTL index. */
  readonly expiresAt?: Date;
  /** The saga instance that sent it. */
  readonly sender?: {
    readonly consumer: string;
    readonly generation: number;
    readonly partition: number;
    readonly key: string;
  };
  /** A refusal that the sender has not been told yet. */
  readonly tell?: boolean;
}

/** `timers`: what is due at a time. */
export interface TimerDocument {
  /** `<logId>/saga/<saga>/<generation>/<key>/<name>` or `<logId>/schedule/<name>` */
  readonly _id: string;
  readonly logId: string;
  readonly kind: 'saga' | 'schedule';
  readonly name: string;
  readonly dueAt: Date;
  readonly setAt: Date;
  readonly correlationId: string | null;
  readonly consumer?: string;
  readonly generation?: number;
  readonly partition?: number;
  readonly key?: string;
  /** Id of the input that set it. */
  readonly causationId?: string | null;
  readonly depth?: number;
  /** Schedules: the expression that `dueAt` was computed from. */
  readonly cron?: string;
  readonly timeZone?: string;
  /** Schedules: the last time whose command was queued, when that was, and how late. */
  readonly last?: { readonly dueAt: Date; readonly queuedAt: Date; readonly lateMs: number };
  /** Schedules: why the command of `dueAt` cannot be queued; it stays due. */
  readonly failure?: { readonly code: string; readonly message: string; readonly since: Date };
  /** Schedules: since when the process that looks after timers does not declare it. */
  readonly unknownSince?: Date;
}

/** `audit`: what operators did. Never changed, never deleted by Millrace. */
export interface AuditDocument {
  /** UUIDv7 */
  readonly _id: string;
  readonly logId: string;
  readonly at: Date;
  /** e.g. `deadLetter.skip`, `consumer.pause` */
  readonly action: string;
  readonly actor: string | null;
  readonly reason: string;
  /** What it was done to: consumer, dead letter id, operation id … */
  readonly target: string;
  readonly before: unknown;
  readonly after: unknown;
}

/** `operations`: long work that operators started, with its progress. */
export interface OperationDocument {
  /** UUIDv7 */
  readonly _id: string;
  readonly logId: string;
  readonly kind: 'retryDeadLetters' | 'skipDeadLetters';
  readonly state: 'RUNNING' | 'STOPPED' | 'DONE' | 'FAILED';
  readonly filter: unknown;
  /** Of the event that is meant, where one dead letter is skipped. */
  readonly position?: number;
  readonly ratePerSecond: number;
  readonly reason: string;
  readonly actor: string | null;
  readonly totalCount: number;
  /** Released to be tried again so far. */
  readonly doneCount: number;
  /** Id of the last dead letter that was released: it goes on after it. */
  readonly after: string | null;
  readonly error: string | null;
  readonly startedAt: Date;
  readonly updatedAt: Date;
  readonly finishedAt: Date | null;
}

/** `observer_journal`: what `once` ran and what came of it; TTL index. */
export interface JournalDocument {
  /** `<idempotency key>/<key>` */
  readonly _id: string;
  /** JSON of the result, at most 64 KiB. */
  readonly json: string;
  readonly at: Date;
  readonly expiresAt: Date;
}

/** `rate_limits`: when an observer's last tries began, over all processes; TTL index. */
export interface RateLimitDocument {
  /** `<logId>/<observer>` */
  readonly _id: string;
  /** Milliseconds by the server's clock, oldest first; at most as many as the rate counts. */
  readonly starts: readonly number[];
  /** Answers of the last update: the start that it found, how far away it was, and whether it was taken. */
  readonly at: number;
  readonly waitMs: number;
  readonly taken: boolean;
  readonly expiresAt: Date;
}

/** `alerts`: which group of dead letters was told to whom; TTL index. */
export interface AlertDocument {
  /** `<logId>/<alert>/<consumer>/<fingerprint>` */
  readonly _id: string;
  /** Answer of the last claim. */
  readonly claimed: boolean;
  /** Nobody tells it before this time. */
  readonly notBefore?: Date;
  /** Of the group when it was told, or fewer when some were healed since. */
  readonly count: number;
  /** Newest failure that was told. */
  readonly upTo?: Date;
  readonly toldAt?: Date;
  readonly expiresAt: Date;
}

/** `crashes`: processes that died without leaving; TTL index. */
export interface CrashDocument {
  /** Id of the instance. */
  readonly _id: string;
  readonly at: Date;
  readonly expiresAt: Date;
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
}

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
