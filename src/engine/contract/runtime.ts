import type { AnyRecorded, EventMeta } from '../../define/event.ts';
import type { Model } from '../../define/model.ts';
import type { Issue } from '../../define/schema.ts';
import type { CommandProgress, FlowReader } from './flow.ts';
import type { Operators } from './operators.ts';
import type { PastReads } from './past.ts';
import type { SagaReads } from './sagas.ts';
import type { TimerReads } from './timers.ts';
import type { WatchReads } from './watch.ts';

export type * from './operators.ts';
export type * from './rebuild.ts';
export type * from './watch.ts';

/**
 * What a running Millrace does for those who call it by name: the GraphQL resolvers and the typed `App`.
 * Everything here is plain data; nothing here knows GraphQL, MongoDB or Redis.
 */

/** A command as it comes in. */
export interface CommandRequest {
  readonly aggregate: string;
  /** May be missing only for a command of `creates`; it is then derived from tenant, aggregate and commandId. */
  readonly id?: string | undefined;
  readonly type: string;
  /** Raw input. */
  readonly data: unknown;
  /** Idempotency key, chosen by the sender before the first try; without it a repeat is a new command. */
  readonly commandId?: string | undefined;
  /** Refuse with a conflict unless the stream is at exactly this version; 0 means "does not exist". */
  readonly expectedVersion?: number | undefined;
  /** Decide and answer, write nothing. Not for queued commands. */
  readonly dryRun?: boolean | undefined;
  /**
   * NOW (default for aggregates): decided before the answer. QUEUED: stored, answered at once, carried out by a worker.
   * Commands of services are always queued.
   */
  readonly mode?: 'NOW' | 'QUEUED' | undefined;
  /** Not before this time; implies QUEUED. In the past: at once. */
  readonly sendAt?: Date | undefined;
  readonly meta?: Partial<EventMeta> | undefined;
}

/** An event in a receipt; its position is not known before it is placed. */
export type ReceiptEvent = Omit<AnyRecorded, 'position'> & { readonly position: number | null };

export interface CommandAccepted {
  readonly kind: 'accepted';
  readonly commandId: string;
  readonly correlationId: string;
  /** Stream key. */
  readonly streamId: string;
  readonly id: string;
  /** Version of the stream after the command; null when no event happened, by the author's choice. */
  readonly version: number | null;
  /** True when this is the receipt of an earlier try. */
  readonly duplicate: boolean;
  /** True when nothing was written; `token` then waits for nothing. */
  readonly dryRun?: true;
  readonly token: string;
  readonly events: readonly ReceiptEvent[];
  /**
   * Names of inline views that take from these events and did not show them when the command was answered: not within
   * AT_LEAST_TIMEOUT_MS, or because their key waits behind a failed event or their projector is paused. Empty in receipts that are
   * looked up later.
   */
  readonly behind: readonly string[];
}
export interface CommandRejected {
  readonly kind: 'rejected';
  readonly commandId: string;
  readonly code: string;
  readonly reason: string;
}
export interface CommandConflict {
  readonly kind: 'conflict';
  readonly commandId: string;
  readonly expected: number;
  readonly actual: number;
  /** Events after `expected`, oldest first, at most 100. */
  readonly missedEvents: readonly ReceiptEvent[];
}
export interface CommandInvalid {
  readonly kind: 'invalid';
  readonly commandId: string | null;
  readonly issues: readonly Issue[];
}
/** Stored and certain to be carried out; what becomes of it is told by `commandByToken` and `watchCommand`. */
export interface CommandQueued {
  readonly kind: 'queued';
  readonly commandId: string;
  readonly correlationId: string;
  /** Of the aggregate instance; of a service, the commandId. */
  readonly id: string;
  /** Names the command. Reads with `atLeast` wait until it was carried out and applied. */
  readonly token: string;
}
export type CommandOutcome = CommandAccepted | CommandQueued | CommandRejected | CommandConflict | CommandInvalid;

/** What a try of a queued command failed with. */
export interface CommandError {
  readonly code: string;
  /** Class of the error. */
  readonly type: string;
  readonly message: string;
  /** The same for errors of one kind. */
  readonly fingerprint: string;
  /** Issues of a schema, where there are some. */
  readonly issues: readonly Issue[];
}
export interface CommandStatus {
  readonly commandId: string;
  readonly token: string;
  /** RUNNING: begun, or waiting for its next try. DEAD: its tries are used up; an operator retries or cancels it. */
  readonly status: 'RECEIVED' | 'RUNNING' | 'ACCEPTED' | 'REJECTED' | 'DEAD' | 'CANCELLED';
  readonly receipt: CommandAccepted | CommandRejected | null;
  /** Tries that ended; 1 for a command that was not queued. */
  readonly attempts: number;
  /** Of the last try that failed. */
  readonly error: CommandError | null;
  /** Delayed commands: not before this time. */
  readonly sendAt: Date | null;
  readonly nextAttemptAt: Date | null;
  readonly updatedAt: Date;
  /** How far the consumers of its events are, where `watchCommand` tells of it; `commandProgress` looks. */
  readonly progress?: CommandProgress;
}
/** A queued command as operators see it. */
export interface QueuedCommand {
  readonly status: CommandStatus;
  /** Name of the aggregate or service. */
  readonly target: string;
  readonly id: string;
  readonly type: string;
  readonly correlationId: string;
  readonly actor: string | null;
  readonly receivedAt: Date;
}

export interface ReadOptions {
  /** Token of a receipt: wait until the view has applied that command, else VIEW_BEHIND. */
  readonly atLeast?: string | undefined;
  /** How long `atLeast` waits; default AT_LEAST_TIMEOUT_MS. */
  readonly timeoutMs?: number | undefined;
  /** Nobody waits for the answer any more: `atLeast` gives up within a quarter of a second, with VIEW_BEHIND. */
  readonly signal?: AbortSignal | undefined;
}

/** A view document without the platform's own fields. */
export interface ViewRecord {
  readonly id: string;
  readonly version: number;
  readonly document: Readonly<Record<string, unknown>>;
}

/** Comparison operators by field; a bare value never stands for an operator. */
export type FilterInput = ReadonlyMap<string, ReadonlyMap<'eq' | 'in' | 'gt' | 'gte' | 'lt' | 'lte', unknown>>;
export interface SortInput {
  readonly field: string;
  readonly direction: 1 | -1;
}
/** Relay: `first`/`after` forward or `last`/`before` backward. Default 50, at most 1,000; BAD_INPUT otherwise. */
export interface PageInput {
  readonly first?: number | null | undefined;
  readonly after?: string | null | undefined;
  readonly last?: number | null | undefined;
  readonly before?: string | null | undefined;
}
export interface Page<T> {
  readonly edges: readonly { readonly cursor: string; readonly node: T }[];
  readonly pageInfo: {
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
    readonly startCursor: string | null;
    readonly endCursor: string | null;
  };
}

/** Served by an index or refused with INDEX_MISSING. */
export interface EventFilterInput {
  readonly types?: readonly string[] | null | undefined;
  readonly aggregate?: string | null | undefined;
  readonly aggregateId?: string | null | undefined;
  readonly correlationId?: string | null | undefined;
  /** Who sent the command, as in `meta.actor`. */
  readonly actor?: string | null | undefined;
  readonly since?: Date | null | undefined;
  readonly until?: Date | null | undefined;
}

export interface Readiness {
  /** `ready`, `degraded` (serves, with reasons) or `unavailable` (do not send traffic). */
  readonly status: 'ready' | 'degraded' | 'unavailable';
  readonly reasons: readonly string[];
}

/** An event that a handler fails at; its partition stands still before it. */
export interface ConsumerFailure {
  readonly partition: number;
  readonly position: number;
  readonly key: string;
  readonly eventType: string;
  readonly code: string;
  readonly message: string;
  readonly attempts: number;
  readonly since: Date;
}
/** How far a consumer has come. */
export interface ConsumerState {
  readonly name: string;
  readonly kind: 'projector' | 'saga' | 'observer';
  /** Of projectors; live ones are no consumers. Null where these modules do not say: of an unused generation. */
  readonly mode: 'async' | 'inline' | null;
  readonly version: number;
  readonly generation: number;
  /** RESETTING: a reset was begun and is not done. UNUSED: an earlier generation that these modules have no more. */
  readonly state: 'RUNNING' | 'PAUSED' | 'RESETTING' | 'UNUSED';
  /** Who paused it, and why; null when nobody did. */
  readonly paused: { readonly since: Date; readonly reason: string; readonly actor: string | null } | null;
  /** Everything up to here is handled, in all partitions. */
  readonly position: number;
  /** Newest position in the log. */
  readonly logEnd: number;
  /** Events of the log after `position`; partitions without events of their own follow within seconds. */
  readonly lag: number;
  /** How long ago the oldest of them happened; 0 when it is caught up. */
  readonly lagMs: number;
  readonly caughtUp: boolean;
  /** Keys whose event failed and is tried again. */
  readonly retryingCount: number;
  /** Keys whose event failed for good: somebody has to act. */
  readonly deadCount: number;
  /** Events that wait behind those. */
  readonly parkedCount: number;
  /** Observers: what stopped its tries after failures in a row, in one process at least; null: nothing. */
  readonly breaker: {
    readonly state: 'OPEN' | 'HALF_OPEN';
    readonly since: Date;
    /** When it tries again at the latest. */
    readonly until: Date;
    readonly failureCount: number;
    readonly code: string;
    readonly message: string;
  } | null;
  /** Since when something fails without a break; null: nothing does. */
  readonly failingSince: Date | null;
  readonly failures: readonly ConsumerFailure[];
}

export type {
  CommandProgress,
  ConsumerProgress,
  Flow,
  FlowReader,
  FlowStep,
  SettledOptions,
  StepKind,
  StepState,
} from './flow.ts';

export type { SagaFilter, SagaReads, SagaRecord, SagaSent, SagaTimelineStep } from './sagas.ts';

export interface Runtime extends TimerReads, FlowReader, SagaReads, WatchReads, PastReads {
  readonly model: Model;
  /**
   * The outcome of a command. An acceptance with events waits for the inline views that take from them (`behind`); whatever becomes
   * of those, it is an acceptance.
   */
  handle(request: CommandRequest): Promise<CommandOutcome>;
  /** Undefined when nothing is known of that command. Throws BAD_TOKEN. */
  commandByToken(token: string): Promise<CommandStatus | undefined>;
  findCommand(aggregate: string, id: string, commandId: string): Promise<CommandStatus | undefined>;
  /** How far the consumers of its events are now. */
  commandProgress(status: CommandStatus): Promise<CommandProgress>;
  /**
   * Every state of a command, in order; after ACCEPTED one for each consumer whose state changed (`progress`), and as the last one
   * that is settled. Throws BAD_TOKEN.
   */
  watchCommand(token: string, signal: AbortSignal): AsyncIterable<CommandStatus>;
  /** Queued commands that wait (the longest due first) or are dead (the longest dead first). Throws BAD_INPUT, BAD_CURSOR. */
  queuedCommands(
    filter: { readonly state: CommandStatus['status']; readonly target?: string | null | undefined },
    page: PageInput,
  ): Promise<Page<QueuedCommand>>;
  /** A DEAD command waits for a worker again, its tries counted anew. Throws BAD_TOKEN, REASON_MISSING, COMMAND_NOT_DEAD. */
  retryCommand(
    token: string,
    options: { readonly reason: string; readonly actor?: string | null },
  ): Promise<CommandStatus>;
  /**
   * Gives up a command that has not begun, or is DEAD; a saga that sent it hears of it as a refusal. Throws BAD_TOKEN,
   * REASON_MISSING, COMMAND_NOT_WAITING.
   */
  cancelCommand(
    token: string,
    options: { readonly reason: string; readonly actor?: string | null },
  ): Promise<CommandStatus>;
  /**
   * Equal reads at the same time share one round trip. Of a live view it is folded from the log: its version is the number of its
   * steps, `atLeast` waits until the command's events are in the log, and it throws HISTORY_TOO_LONG, VIEW_BEHIND with reason PARKED
   * at an event that the projector fails at, and what decoding throws. What lists, counts or watches such a view throws
   * VIEW_NOT_STORED.
   */
  document(view: string, id: string, options?: ReadOptions): Promise<ViewRecord | undefined>;
  documents(
    view: string,
    query: { readonly filter?: FilterInput | undefined; readonly sort?: readonly SortInput[] | undefined } & PageInput &
      ReadOptions,
  ): Promise<Page<ViewRecord>>;
  /**
   * How many documents a list has, exact up to COUNT_MAX, null beyond. Walks so many keys of the index that serves the list;
   * throws INDEX_MISSING like the list itself.
   */
  countDocuments(
    view: string,
    query: {
      readonly filter?: FilterInput | undefined;
      readonly sort?: readonly SortInput[] | undefined;
    } & ReadOptions,
  ): Promise<number | null>;
  /** `input` is raw. Throws BAD_INPUT with issues. */
  ask(query: string, input: unknown, options?: ReadOptions): Promise<unknown>;
  events(filter: EventFilterInput, page: PageInput): Promise<Page<AnyRecorded>>;
  /** All consumers of the modules, in their order. `unused`: then earlier generations, too. */
  consumers(options?: { readonly unused?: boolean }): Promise<readonly ConsumerState[]>;
  readonly operators: Operators;
  ready(): Promise<Readiness>;
}
