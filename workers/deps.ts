import { hostname } from 'node:os';
import type { Model } from '../src/define/model.ts';
import type { CommandWorker } from '../src/engine/commands/command-worker.ts';
import { ServerClock } from '../src/engine/concurrency/server-clock.ts';
import { type DecodeOnce, decodeOnce } from '../src/engine/log/decode-once.ts';
import type { HintBus } from '../src/engine/log/hint-bus.ts';
import type { OwnedLogReader } from '../src/engine/log/log-reader.ts';
import { Membership, runsConsumers } from '../src/engine/processes/membership.ts';
import type { ServedViews } from '../src/engine/views/served-views.ts';
import type { Logger } from '../src/logger.ts';
import { createEpoch, type Epoch } from '../src/queue/epoch.ts';
import type { QueueOptions } from '../src/queue/job-queue.ts';
import type { RedisConnections } from '../src/queue/redis.ts';
import { createRetries, type Retries } from '../src/queue/retries.ts';
import { createWakeUps, type WakeUps } from '../src/queue/wake-ups.ts';
import type { Settings } from '../src/settings.ts';
import type { DeliveryStore } from '../src/store/delivery-store.ts';
import { consumerId } from '../src/store/partitions.ts';
import type { CommandExecution } from './commands.ts';

/** What a process brings; it also closes these. */
export interface ProcessDeps {
  readonly store: DeliveryStore;
  readonly model: Model;
  readonly settings: Pick<Settings, 'logId' | 'job' | 'sweepIntervalMs' | 'shutdownTimeoutMs'> & {
    readonly redis: Pick<Settings['redis'], 'prefix'>;
  };
  readonly logger: Logger;
  readonly hints: HintBus;
  readonly reader: OwnedLogReader;
  readonly redis: RedisConnections;
  /** Unique for every start of a process. */
  readonly instanceId: string;
  /** Shared with others of this process that read the log. */
  readonly decode?: DecodeOnce | undefined;
  /** Without it this process carries out no queued commands. */
  readonly commands?: CommandExecution | undefined;
  /** What this process reads; absent: nothing. */
  readonly served?: Pick<ServedViews, 'ids' | 'generationOf'> | undefined;
  /** `all` and `worker` run consumers. */
  readonly role: 'all' | 'worker' | 'sequencer' | 'consumers' | 'sweep';
}

/** What the roles of one process share. */
export interface WorkerDeps extends ProcessDeps {
  readonly membership: Membership;
  readonly wakeUps: WakeUps;
  readonly retries: Retries;
  readonly epoch: Epoch;
  /** MongoDB's, one for all that is due. */
  readonly clock: ServerClock;
  readonly decode: DecodeOnce;
  /** Partitions of each consumer, by name. */
  readonly partitionCounts: ReadonlyMap<string, number>;
  /** Ids of generations that this process runs beside those of its model. */
  readonly runsToo: Set<string>;
}
/** The same, once it is known who carries out commands. */
export interface ConsumerDeps extends WorkerDeps {
  /** Takes what a transaction queued ("offer"), and tells of refusals ("onRefused"). */
  readonly commandWorker?: CommandWorker | undefined;
}

/** `stop` is graceful and bounded: no new work, jobs in hand finished or given back. */
export interface RunningRole {
  stop(): Promise<void>;
}

/** What every queue of this process is opened with. */
export function queueOptions({
  settings,
  instanceId,
  logger,
}: Pick<ProcessDeps, 'settings' | 'instanceId' | 'logger'>): QueueOptions {
  return { prefix: settings.redis.prefix, logId: settings.logId, instanceId, ...settings.job, logger };
}

/** Creates generations that are new. */
export async function partitionCountsOf({
  store,
  model,
}: Pick<ProcessDeps, 'store' | 'model'>): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  for (const consumer of model.consumers) {
    counts.set(consumer.name, (await store.consumers.ensure(consumer)).partitionCount);
  }
  return counts;
}

/** Registers the process among the living; call it before any role starts, and `leave` after all have stopped. */
export async function joinWorkers(deps: ProcessDeps): Promise<WorkerDeps & { readonly leave: () => Promise<void> }> {
  const { store, settings, logger, instanceId, role, model } = deps;
  const generations = model.consumers.map(({ name: consumer, generation }) => ({ consumer, generation }));
  const consumers = runsConsumers({ role }) ? generations.map((one) => consumerId(store.logId, one)) : [];
  const runsToo = new Set<string>();
  const membership = new Membership({
    store: store.instances,
    self: { id: instanceId, host: hostname(), pid: process.pid, role, consumers },
    sessions: () => [...store.partitions.sessionIds(), ...store.operators.sessionIds()],
    logger,
    now: () => ({ consumers: [...consumers, ...runsToo], serves: deps.served?.ids() }),
  });
  const partitionCounts = await partitionCountsOf(deps);
  await membership.start();
  const queues = queueOptions(deps);
  const wakeUps = createWakeUps(deps.redis, queues);
  const retries = createRetries(deps.redis, queues);
  const epoch = createEpoch(deps.redis, queues);
  const leave = async (): Promise<void> => {
    const { shutdownTimeoutMs } = settings;
    await Promise.all([wakeUps.close(shutdownTimeoutMs), retries.close(shutdownTimeoutMs)]);
    await membership.stop();
  };
  return {
    ...deps,
    membership,
    wakeUps,
    retries,
    epoch,
    clock: new ServerClock(() => store.timers.now()),
    decode: deps.decode ?? decodeOnce(deps.model),
    partitionCounts,
    runsToo,
    leave,
  };
}
