import type { EventMeta } from '../define/event.ts';
import type { StoredError } from './failure-documents.ts';

/** Documents of work that waits, of what operators did and of what observers remember; one collection each. */

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
  /** While it is open: the sweep takes it up after this time, unless it made progress. Absent while it waits for `notBefore`. */
  readonly dueAt?: Date;
  /** Services: the process that runs it now; `until` by the server's clock. */
  readonly claim?: { readonly holder: string; readonly until: Date; readonly error?: StoredError };
  /** Aggregates: the process that began a try whose end is not written. */
  readonly begunBy?: string;
  /** Tries whose process died, or (services) fell silent. */
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
  /** Generations that are still to be done, each by a process that runs it; the first is in hand. */
  readonly rest: readonly { readonly consumer: string; readonly generation: number }[];
  /** Of the generation in hand, the id of the last dead letter that was looked at: it goes on after it. */
  readonly after: string | null;
  /** Dead letters that were left as they were, since no process ran their generation. */
  readonly left: readonly { readonly consumer: string; readonly generation: number; readonly count: number }[];
  /** What was left over, and why. */
  readonly error: string | null;
  readonly startedAt: Date;
  readonly updatedAt: Date;
  readonly finishedAt: Date | null;
}

/** `operation_parts`: what partitions did for an operation and its document does not count yet; gone when it does. */
export interface OperationPartDocument {
  /** `<operation>/<consumer>/<partition>`: partitions are written at the same time, so that one counter would hold all up. */
  readonly _id: string;
  readonly logId: string;
  readonly operation: string;
  readonly doneCount: number;
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
