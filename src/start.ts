import type { GraphQLSchema } from 'graphql';
import { type RunningWorkers, startAll } from '../workers/all.ts';
import { createCommandEntrance, type RunningCommands } from '../workers/commands.ts';
import { startPresence } from '../workers/presence.ts';
import { armCrash } from './crash-points.ts';
import type { CommandOf, Contract, RejectionOf } from './define/aggregate.ts';
import { buildModel, type Model } from './define/model.ts';
import type { Module } from './define/module.ts';
import type { AnyQuery, QueryInput, QueryOutput } from './define/query.ts';
import type { Doc, View } from './define/view.ts';
import { createCommandDesk } from './engine/commands/command-desk.ts';
import { createCommandHandler } from './engine/commands/handle-command.ts';
import { awaitInlineViews } from './engine/commands/inline-views.ts';
import { onHookFailed } from './engine/commands/intercept.ts';
import { interceptModel } from './engine/commands/intercept-model.ts';
import { newId } from './engine/concurrency/new-id.ts';
import type {
  CommandAccepted,
  CommandConflict,
  CommandInvalid,
  CommandOutcome,
  CommandQueued,
  CommandRejected,
  CommandRequest,
  Flow,
  ReadOptions,
  Runtime,
  SettledOptions,
} from './engine/contract/runtime.ts';
import { createOperators } from './engine/create-operators.ts';
import { callsOf, createReads } from './engine/create-reads.ts';
import { consumerStates } from './engine/delivery/consumer-states.ts';
import { logIndexBuilds, readiness } from './engine/delivery/readiness.ts';
import { createFlowReader } from './engine/flow/flow.ts';
import { createCommandFollow } from './engine/flow/follow-command.ts';
import { decodeOnce } from './engine/log/decode-once.ts';
import { createHintBus } from './engine/log/hint-bus.ts';
import { createLogReader } from './engine/log/log-reader.ts';
import { createSagaReads } from './engine/sagas/saga-reads.ts';
import { type WatchedChange, type WatchOptions, watchedChanges } from './engine/subscriptions/watched-changes.ts';
import { checkSchedules } from './engine/timers/cron.ts';
import { createTimerReads } from './engine/timers/timer-reads.ts';
import { followServedViews } from './engine/views/served-views.ts';
import { type Gateway, startGateway } from './gateway/server.ts';
import { createLogger, type Logger } from './logger.ts';
import { createHintChannel } from './queue/hints.ts';
import { connectRedis } from './queue/redis.ts';
import { readSettings, type Settings } from './settings.ts';
import type { CommitDocument } from './store/documents.ts';
import { openStore } from './store/open-store.ts';

export type { WatchedChange, WatchOptions } from './engine/subscriptions/watched-changes.ts';

/** The outcome of a command sent in code, with the aggregate's own rejection codes. */
export type Outcome<A> =
  | CommandAccepted
  | CommandQueued
  | (CommandRejected & {
      readonly code: RejectionOf<A> | 'ALREADY_EXISTS' | 'NOT_FOUND' | 'CLOSED' | 'IDEMPOTENCY_CONFLICT';
    })
  | CommandConflict
  | CommandInvalid;

/** A running Millrace in code. Errors: those of the commands and reads in src/errors.ts. */
export interface RunningApp {
  readonly runtime: Runtime;
  /** Base address of the gateway; undefined without one. */
  readonly url: string | undefined;
  /**
   * `id` may be undefined for a command of `creates` and for services. Effect once a commandId. With `mode: 'QUEUED'` or `sendAt`,
   * and for services, it is stored and carried out by a worker: the answer is `queued`, and `runtime.watchCommand` tells the rest.
   */
  send<A extends Contract>(
    to: A,
    id: string | undefined,
    message: CommandOf<A>,
    options?: Pick<CommandRequest, 'commandId' | 'expectedVersion' | 'dryRun' | 'meta' | 'mode' | 'sendAt'>,
  ): Promise<Outcome<A>>;
  ask<Q extends AnyQuery>(query: Q, input: QueryInput<Q>, options?: ReadOptions): Promise<QueryOutput<Q>>;
  /**
   * Snapshot first, then changes; versions only rise. After a cursor: what was missed, CAUGHT_UP, then changes; or GAP, if
   * it does not fit, and a snapshot. Ends when the signal aborts, the app stops, the loop is left, and
   * at once by `return()`, also while a `next()` waits. Bad ids and BAD_CURSOR are thrown by the call, what fails later by `next()`.
   */
  watch<V extends View>(
    view: V,
    id: string,
    options?: WatchOptions,
  ): AsyncIterableIterator<WatchedChange<Doc<V>>, undefined>;
  /**
   * Resolves once everything that a correlation id set in motion is done, refused, cancelled or dead, with all its steps. Never
   * hangs: throws NOT_SETTLED, naming what is under way, at `timeoutMs` (default 10,000).
   */
  settled(correlationId: string, options?: SettledOptions): Promise<Flow>;
  /** Graceful: doors first, then workers, then connections. A second call waits for the first. */
  stop(): Promise<void>;
}

export interface StartOptions {
  readonly modules: readonly Module[];
  /** Opens the gateway (roles `all` and `gateway`); without a schema there is none. */
  readonly schema?: GraphQLSchema | undefined;
  /** `all` (default): gateway and workers; `gateway`: commands and reads only; `worker`: delivery only. */
  readonly role?: 'all' | 'gateway' | 'worker';
  /** Default: from the environment. */
  readonly settings?: Settings;
  readonly logger?: Logger;
}

/** Starts a Millrace in this process: `const app = await start({ modules: [bank] })`. Throws what is wrong, with its cure. */
export async function startApp(options: StartOptions): Promise<RunningApp> {
  const settings = options.settings ?? readSettings(process.env);
  const logger = options.logger ?? createLogger(settings.log);
  const model = interceptModel(buildModel(options.modules), onHookFailed(logger));
  const role = options.role ?? 'all';
  checkSchedules(model);
  if (settings.crash !== undefined) armCrash(settings.crash);
  const instanceId = newId();
  const closers: (() => Promise<void>)[] = [];
  try {
    return await assemble({ model, settings, logger, role, instanceId, schema: options.schema, closers });
  } catch (error) {
    await closeAll(closers, logger);
    throw error;
  }
}

interface Assembly {
  readonly model: Model;
  readonly settings: Settings;
  readonly logger: Logger;
  readonly role: 'all' | 'gateway' | 'worker';
  readonly instanceId: string;
  readonly schema: GraphQLSchema | undefined;
  /** What was opened, in order; closed from the last to the first. */
  readonly closers: (() => Promise<void>)[];
}

async function assemble(parts: Assembly): Promise<RunningApp> {
  const { model, settings, logger, role, instanceId, closers } = parts;
  const { logId } = settings;
  const onIndexBuild = logIndexBuilds(logger);
  const store = await openStore({ ...settings.mongodb, appName: `millrace-${role}`, logId, model, onIndexBuild });
  closers.push(() => store.close());
  const redis = await connectRedis(settings.redis.url, logger);
  closers.push(() => redis.close());
  const channel = createHintChannel(redis, { prefix: settings.redis.prefix, logId, instanceId });
  closers.push(() => channel.close());
  const hints = createHintBus(channel);
  const reader = await createLogReader(store.delivery.log, hints);
  closers.push(async () => reader.close());
  const served = await followServedViews({ logId, model, store: store.delivery.operators.views, hints, logger });
  closers.push(() => served.close());
  const { readyAfter = [] } = settings;
  const ready = readiness({ store, model, served, readyAfter, redisAvailable: () => redis.available() });

  const { timeoutMs, dataMaxBytes, rejectionTtlS, maxDepth } = settings.command;
  const limits = {
    timeoutMs,
    dataMaxBytes,
    rejectionTtlS,
    maxDepth,
    ...settings.commit,
    cacheCount: settings.aggregateCacheCount,
  };
  let place: ((commit: CommitDocument) => void) | undefined;
  const { commits, rejections, snapshots } = store;
  const handler = createCommandHandler({
    model,
    commits,
    rejections,
    snapshots,
    logId,
    limits,
    logger,
    onCommitted: (commit) => place?.(commit),
  });
  const execution = { handle: handler.handle, commits, rejections, limits };
  const decode = decodeOnce(model);
  const own = { store: store.delivery, model, settings, logger, hints, reader, redis, instanceId, decode, served };
  let commands: RunningCommands | undefined;
  if (role === 'gateway') {
    const presence = startPresence(own);
    closers.push(() => presence.stop());
  } else {
    const workers = await startAll({ ...own, role, commands: execution });
    closers.push(() => workers.stop());
    place = offerTogether(workers);
    commands = workers.commands;
  }
  // What is decided while the workers still run is placed at once.
  closers.push(() => handler.close());
  if (commands === undefined) {
    commands = createCommandEntrance(own, execution);
    const entrance = commands;
    closers.push(() => entrance.stop());
  }
  const { receiver, worker } = commands;
  const flowDeps = { model, logId, reads: store.flow, decode };
  const follow = createCommandFollow({ ...flowDeps, hintBus: hints, logReader: reader });
  const desk = createCommandDesk({
    model,
    logId,
    commits,
    rejections,
    queued: store.delivery.queuedCommands,
    onProgress: worker && ((listener) => worker.onProgress(listener)),
    onRetried: commands.retried,
    onCancelled: commands.cancelled,
    follow: follow.follow,
  });
  closers.push(async () => desk.close());
  const reads = createReads({
    model,
    views: store.views,
    past: store.past,
    events: store.events,
    hintBus: hints,
    logReader: reader,
    settings,
    logger,
    decided: desk.decided,
    decode,
    served,
  });
  closers.push(async () => reads.close());
  const flow = createFlowReader({ ...flowDeps, hintBus: hints, logReader: reader });
  closers.push(async () => flow.close());
  const operators = createOperators({
    model,
    store: store.delivery,
    decode,
    hints,
    dataMaxBytes,
    maxDepth,
  });
  closers.push(async () => operators.close());
  const runtime: Runtime = {
    model,
    handle: awaitInlineViews({
      model,
      handle: receiver.handle,
      shows: reads.shows,
      timeoutMs: settings.atLeastTimeoutMs,
      logger,
    }),
    commandByToken: desk.commandByToken,
    findCommand: desk.findCommand,
    watchCommand: desk.watchCommand,
    commandProgress: follow.progress,
    queuedCommands: desk.queuedCommands,
    retryCommand: desk.retryCommand,
    cancelCommand: desk.cancelCommand,
    ...callsOf(reads),
    flow: flow.flow,
    watchFlow: flow.watchFlow,
    settled: flow.settled,
    consumers: (options) => consumerStates(store.delivery, store.delivery.operators, model, options),
    operators,
    ...createSagaReads({ ...store.delivery, model }),
    ...createTimerReads({ ...store.delivery, model }),
    ready,
  };
  let gateway: Gateway | undefined;
  if (role !== 'worker' && parts.schema !== undefined) {
    gateway = await startGateway({ runtime, schema: parts.schema, settings, logger });
    const opened = gateway;
    closers.push(() => opened.stop());
  }
  return runningApp(runtime, gateway?.url, closers, logger);
}

function runningApp(
  runtime: Runtime,
  url: string | undefined,
  closers: (() => Promise<void>)[],
  logger: Logger,
): RunningApp {
  let stopped: Promise<void> | undefined;
  return {
    runtime,
    url,
    send: <A extends Contract>(to: A, id: string | undefined, message: CommandOf<A>, options = {}) =>
      runtime.handle({ ...options, aggregate: to.name, id, type: message.type, data: message.data }) as Promise<
        CommandOutcome & Outcome<A>
      >,
    ask: <Q extends AnyQuery>(query: Q, input: QueryInput<Q>, options?: ReadOptions) =>
      runtime.ask(query.name, input, options) as Promise<QueryOutput<Q>>,
    watch: <V extends View>(view: V, id: string, { after, signal }: WatchOptions = {}) =>
      watchedChanges<Doc<V>>(runtime.watchDocument(view.name, id, after, signal ?? new AbortController().signal)),
    settled: runtime.settled,
    stop() {
      stopped ??= closeAll(closers, logger);
      return stopped;
    },
  };
}

/** Commits of one turn of the event loop go to the sequencer together. */
function offerTogether(workers: RunningWorkers): (commit: Parameters<RunningWorkers['offer']>[0][number]) => void {
  let waiting: Parameters<RunningWorkers['offer']>[0][number][] = [];
  return (commit) => {
    if (waiting.push(commit) > 1) return;
    setImmediate(() => {
      const together = waiting;
      waiting = [];
      workers.offer(together);
    });
  };
}

async function closeAll(closers: (() => Promise<void>)[], logger: Logger): Promise<void> {
  for (const close of closers.splice(0).reverse()) {
    await close().catch((error: unknown) => logger.warn({ error: String(error) }, 'something did not close well'));
  }
}
