import type { SagaStep } from '../../define/saga-instance.ts';
import type { StoredError } from '../../store/documents.ts';
import type { DeadLetter } from './operators.ts';
import type { Page, PageInput } from './runtime.ts';

/** An instance of a saga, as people see it. */
export interface SagaRecord {
  /** Name of the saga. */
  readonly saga: string;
  readonly generation: number;
  readonly id: string;
  readonly status: 'ACTIVE' | 'ENDED';
  /** Null while its first input has not been handled. */
  readonly state: unknown;
  /** Correlation keys that lead here, the id first. */
  readonly keys: readonly string[];
  readonly startedAt: Date;
  readonly updatedAt: Date;
  readonly endedAt: Date | null;
  readonly correlationId: string | null;
  /** Steps so far; the timeline holds the last 200. */
  readonly stepCount: number;
  readonly timers: readonly { readonly name: string; readonly dueAt: Date; readonly setAt: Date }[];
  readonly steps: readonly SagaStep[];
}

/** A command that a saga sent, and what became of it. */
export interface SagaSent {
  readonly commandId: string;
  readonly aggregate: string;
  readonly id: string;
  readonly type: string;
  /** Null when nothing is known of it any more: it was settled more than a week ago. */
  readonly state: 'RECEIVED' | 'RUNNING' | 'ACCEPTED' | 'REJECTED' | 'DEAD' | 'CANCELLED' | null;
  readonly attempts: number;
  readonly refusal: { readonly code: string; readonly reason: string } | null;
  readonly error: StoredError | null;
}
/** One input and what came of it; of an input that failed, why. */
export interface SagaTimelineStep extends Omit<SagaStep, 'sent' | 'tenant'> {
  readonly sent: readonly SagaSent[];
  /** Set on the last step only: it waits as a dead letter. */
  readonly error: StoredError | null;
}

export interface SagaFilter {
  readonly saga: string;
  readonly status?: 'ACTIVE' | 'ENDED' | null | undefined;
  readonly correlationId?: string | null | undefined;
}

export interface SagaReads {
  /** Newest first. Throws UNKNOWN_CONSUMER. */
  sagas(filter: SagaFilter, page: PageInput): Promise<Page<SagaRecord>>;
  /** By id; of a saga with several correlation keys, by any of them. Throws UNKNOWN_CONSUMER. */
  saga(saga: string, id: string): Promise<SagaRecord | undefined>;
  /** Oldest first. Equal reads at the same time share a round trip. */
  sagaTimeline(record: SagaRecord): Promise<readonly SagaTimelineStep[]>;
  sagaDeadLetter(record: SagaRecord): Promise<DeadLetter | undefined>;
}
