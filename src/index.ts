/** The door for authors. The others: `millrace/graphql`, `millrace/testing`, `millrace/client`, `millrace/react`. */
export type {
  Aggregate,
  AggregateSpec,
  AnyAggregate,
  CommandOf,
  Contract,
  DecideContext,
  Dispatch,
  FieldOptions,
  Rejection,
  RejectionOf,
} from './define/aggregate.ts';
export { aggregate, command } from './define/aggregate.ts';
export { baggageOf } from './define/baggage.ts';
export type { ConsumerOptions } from './define/consumer-spec.ts';
export type { CustomProjectorSpec, Documents } from './define/custom-projector.ts';
export { customProjector } from './define/custom-projector.ts';
export type { DeadLetterAlert, DeadLetterAlertSpec } from './define/dead-letter-alert.ts';
export { deadLetterAlert } from './define/dead-letter-alert.ts';
export type {
  AnyRecorded,
  EventData,
  EventDefinition,
  EventMap,
  EventMeta,
  EventOf,
  Recorded,
  StreamRef,
} from './define/event.ts';
export { event } from './define/event.ts';
export type { HandlerCall, Interceptor, InterceptorHooks, InterceptorSpec } from './define/interceptor.ts';
export { interceptor } from './define/interceptor.ts';
export type { Model } from './define/model.ts';
export { buildModel } from './define/model.ts';
export type { Module, Part } from './define/module.ts';
export { module } from './define/module.ts';
export type { ObserveContext, Observer, ObserverOptions, ObserverSpec } from './define/observer.ts';
export { observer } from './define/observer.ts';
export type { Projector, ProjectorMode, ProjectorSpec, SwapRule } from './define/projector.ts';
export { projector } from './define/projector.ts';
export type {
  AnyQuery,
  Filter,
  ListOptions,
  Query,
  QueryInput,
  QueryOutput,
  Reader,
  Sort,
  ViewReader,
} from './define/query.ts';
export { query } from './define/query.ts';
export type { RetryOptions } from './define/retry-policy.ts';
export type { Reaction, Saga, SagaContext, SagaSpec, SentRejected, TimerFired } from './define/saga.ts';
export { saga } from './define/saga.ts';
export type { Schedule, ScheduleSpec } from './define/schedule.ts';
export { schedule } from './define/schedule.ts';
export type { Issue, JsonSchema, Schema, SchemaInput, SchemaMap, SchemaOutput } from './define/schema.ts';
export { jsonSchemaOf } from './define/schema.ts';
export type {
  AnyService,
  FailedCommand,
  Service,
  ServiceContext,
  ServiceOptions,
  ServiceSpec,
} from './define/service.ts';
export { service } from './define/service.ts';
export type { SnapshotOptions } from './define/snapshot-rule.ts';
export type { StartFrom } from './define/start-from.ts';
export { streamKey } from './define/stream-key.ts';
export type { Doc, IndexSpec, View } from './define/view.ts';
export { view } from './define/view.ts';
export type { App } from './define-app.ts';
export { defineApp } from './define-app.ts';
export type {
  AsOf,
  FieldChange,
  HistoryInput,
  HistoryStep,
  PastReads,
  PastRecord,
} from './engine/contract/past.ts';
export type {
  AuditEntry,
  AuditFilter,
  CommandAccepted,
  CommandConflict,
  CommandError,
  CommandInvalid,
  CommandOutcome,
  CommandProgress,
  CommandQueued,
  CommandRejected,
  CommandRequest,
  CommandStatus,
  ConsumerFailure,
  ConsumerProgress,
  ConsumerState,
  DeadLetter,
  DeadLetterCount,
  DeadLetterFilter,
  DeadLetterGroup,
  DryRun,
  EventDelivery,
  EventFilterInput,
  FilterInput,
  Flow,
  FlowStep,
  GapReason,
  Operation,
  OperatorCall,
  Operators,
  Page,
  PageInput,
  ParkedEvent,
  QueuedCommand,
  Readiness,
  ReadOptions,
  Rebuild,
  RebuildDiff,
  RebuildDiffField,
  RebuildDiffSample,
  Rebuilds,
  ReceiptEvent,
  ResetOptions,
  ResetPreview,
  RetryPreview,
  Runtime,
  SagaFilter,
  SagaReads,
  SagaRecord,
  SagaSent,
  SagaTimelineStep,
  SettledOptions,
  Signal,
  SortInput,
  StepKind,
  StepState,
  StoredError,
  ViewChange,
  ViewRecord,
} from './engine/contract/runtime.ts';
export type { PendingTimer, ScheduleState, TimerFilter, TimerReads } from './engine/contract/timers.ts';
export type { ErrorCode, ErrorDetails } from './errors.ts';
export { isMillraceError, MillraceError, NonRetryableError, RetryAfterError } from './errors.ts';
export type { LogLevel } from './logger.ts';
export type { WebhookSpec } from './observers/webhook.ts';
export { webhook } from './observers/webhook.ts';
export type { Settings } from './settings.ts';
export { readSettings } from './settings.ts';
export type { Outcome, RunningApp, StartOptions, WatchedChange, WatchOptions } from './start.ts';
export { startApp as start } from './start.ts';
