import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { RetryOptions } from '../../src/define/retry-policy.ts';
import type { Delivery } from '../../src/engine/delivery/delivery.ts';
import { createHintBus, type HintBus } from '../../src/engine/log/hint-bus.ts';
import { createLogReader } from '../../src/engine/log/log-reader.ts';
import { aggregate, buildModel, type Module, module, projector, view } from '../../src/index.ts';
import { createLogger, type Logger } from '../../src/logger.ts';
import { createHintChannel } from '../../src/queue/hints.ts';
import { connectRedis } from '../../src/queue/redis.ts';
import { closeClient, connect } from '../../src/store/connect.ts';
import { createDeliveryStore } from '../../src/store/delivery-store.ts';
import { type RunningWorkers, startAll } from '../../workers/all.ts';
import type { TestServers } from './servers.ts';

export const LOG_ID = 'main';
export const logger = createLogger({ level: process.env.TEST_LOG === '1' ? 'debug' : 'silent', pretty: false });
export const SHUTDOWN_TIMEOUT_MS = 5_000;
/** What production uses; faults must heal within these. */
export const productionTiming = { job: { lockMs: 5_000, stalledCheckMs: 2_000 }, sweepIntervalMs: 1_000 };
/** Faults heal sooner, and hide more. */
export const fastTiming = { job: { lockMs: 1_000, stalledCheckMs: 500 }, sweepIntervalMs: 250 };

/** Counts: one document a counter, and one a group of counters. */
export const counter = aggregate({
  name: 'counter',
  events: { Counted: z.object({ by: z.int(), group: z.string().optional() }), Dropped: z.object({}) },
  commands: { Count: z.object({ by: z.int() }) },
  initial: () => null,
  evolve: { Counted: () => null, Dropped: () => null },
  decide: { Count: (_state, data) => ({ type: 'Counted', data }) },
});
const sum = z.object({ id: z.string(), total: z.int(), count: z.int(), text: z.string().optional() });
export const counterView = view('counter', sum, { indexes: [{ total: 1 }] });
export const groupView = view('group', sum);

/** Breaks the handler for some counters, as a bug in the author's code would. */
export interface Bug {
  readonly breaks: (event: { readonly id: string; readonly by: number }) => boolean;
  /** The `key` function of `groups` throws: nobody can tell whose the event is. */
  readonly misroutes?: (by: number) => boolean;
  readonly text?: (by: number) => string;
  /** Thrown instead of an error. */
  readonly throws?: (by: number) => unknown;
  readonly retry?: RetryOptions;
}

/** The same module in every process; `bug` is what a deployment of mended code leaves out. */
export function counterModule(bug?: Bug): Module {
  const counters = projector({
    name: 'counters',
    version: 1,
    from: [counter],
    into: counterView,
    ...bug?.retry,
    on: {
      Counted: (doc, { stream, data }) => {
        if (bug?.breaks({ id: stream.id, by: data.by })) {
          throw bug.throws === undefined ? new Error(`cannot count ${stream.id}`) : bug.throws(data.by);
        }
        const text = bug?.text?.(data.by);
        const next = { id: stream.id, total: (doc?.total ?? 0) + data.by, count: (doc?.count ?? 0) + 1 };
        return text === undefined ? next : { ...next, text };
      },
      Dropped: () => null,
    },
  });
  const groups = projector({
    name: 'groups',
    version: 1,
    from: [counter],
    into: groupView,
    // Several documents an event; with two groups of one partition among them now and then.
    key: (event) => {
      if (event.type !== 'Counted') return [];
      if (bug?.misroutes?.(event.data.by)) throw new Error(`cannot tell the groups of ${event.data.by}`);
      return event.data.group?.split(',') ?? [];
    },
    on: {
      Counted: (doc, { data }, id) => ({ id, total: (doc?.total ?? 0) + data.by, count: (doc?.count ?? 0) + 1 }),
    },
  });
  return module({ name: 'counting', parts: [counter, counterView, counters, groupView, groups] });
}

export interface WorkerOptions {
  readonly servers: TestServers;
  readonly bug: Bug;
  readonly timing: typeof productionTiming & { readonly shutdownTimeoutMs?: number };
  readonly pollMs: number;
  readonly logger: Logger;
  /** Instead of the counters' own. */
  readonly modules: readonly Module[];
}

export interface TestWorker {
  readonly hints: HintBus;
  readonly instanceId: string;
  readonly delivery: Delivery;
  readonly offer: RunningWorkers['offer'];
  stop(): Promise<void>;
}

export async function startTestWorker(
  options: Pick<WorkerOptions, 'servers'> & Partial<WorkerOptions>,
): Promise<TestWorker> {
  const { mongoUrl, redisUrl, database, prefix } = options.servers;
  const instanceId = randomUUID();
  const { client, db } = await connect({ url: mongoUrl, database, appName: 'worker' });
  const store = createDeliveryStore(client, db, LOG_ID);
  const redis = await connectRedis(redisUrl, logger);
  const channel = createHintChannel(redis, { prefix, logId: LOG_ID, instanceId });
  const hints = createHintBus(channel);
  const reader = await createLogReader(store.log, hints, { pollMs: options.pollMs ?? 1_000 });
  const workers = await startAll({
    store,
    model: buildModel(options.modules ?? [counterModule(options.bug)]),
    settings: {
      logId: LOG_ID,
      shutdownTimeoutMs: SHUTDOWN_TIMEOUT_MS,
      redis: { prefix },
      ...(options.timing ?? fastTiming),
    },
    logger: options.logger ?? logger,
    hints,
    reader,
    redis,
    instanceId,
    role: 'worker',
  });
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await workers.stop();
    reader.close();
    await channel.close();
    await redis.close();
    await store.partitions.close();
    await closeClient(client);
  };
  return {
    hints,
    instanceId,
    offer: workers.offer,
    delivery: workers.delivery,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}
