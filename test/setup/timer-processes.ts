import { randomUUID } from 'node:crypto';
import { afterAll } from 'vitest';
import { z } from 'zod';
import { queuedCommand } from '../../src/engine/commands/queued-command.ts';
import { ServerClock } from '../../src/engine/concurrency/server-clock.ts';
import type { DueTimer } from '../../src/engine/sagas/saga-timers.ts';
import { aggregate, buildModel, command, type Module, module, type Schedule, saga, schedule } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { connectRedis } from '../../src/queue/redis.ts';
import { ensureCommits } from '../../src/store/commits.ts';
import { closeClient, connect } from '../../src/store/connect.ts';
import { createDeliveryStore, ensureDelivery } from '../../src/store/delivery-store.ts';
import type { QueuedCommandDocument, TimerDocument } from '../../src/store/documents.ts';
import { sagaTimerId, type TimerStore } from '../../src/store/timers.ts';
import { startTimers } from '../../workers/timers.ts';
import { type TestServers, testServers } from './servers.ts';

export const LOG_ID = 'main';
export const lamp = aggregate({
  name: 'lamp',
  events: { Lit: z.object({ at: z.string() }) },
  commands: { Light: z.object({ at: z.string() }) },
  initial: () => null,
  evolve: { Lit: () => null },
  decide: { Light: (_state, data) => ({ type: 'Lit', data }) },
});
const evening = saga({
  name: 'evening',
  from: [lamp],
  initial: () => null,
  on: { Lit: () => undefined },
  onTimer: { dark: () => undefined },
});

/** Sends `Light` at times; `light` may be as wrong as an author's function can be. */
export const lighting = (cron: string, light?: (dueAt: Date) => unknown): Schedule =>
  schedule({
    name: 'lighting',
    cron,
    command: (dueAt) =>
      command(lamp, 'a', { type: 'Light', data: (light?.(dueAt) ?? { at: dueAt.toISOString() }) as never }),
  });

export const lampModule = (schedules: readonly Schedule[]): Module =>
  module({ name: 'lamps', parts: [lamp, evening, ...schedules] });

/** What fired: `due.lateMs` after its time, as it was told; `atMs`: by this machine's clock, which is MongoDB's as well. */
export interface Fired {
  readonly process: string;
  readonly due: DueTimer;
  readonly atMs: number;
}

/** What is overdue is asked for from no time on, and what is ahead by its times. */
function blind({ due }: Pick<TimerStore, 'due'>, only: 'bells' | 'noticed' | undefined): Partial<TimerStore> {
  async function* nothing() {}
  if (only === undefined) return {};
  return {
    due: (of, range, batchCount) => (range.from === undefined ? nothing() : due(of, range, batchCount)),
    ...(only === 'noticed' && { dueTimes: async () => [] }),
  };
}

/** A database, and processes that do nothing but fire what is due; each with connections of its own. */
export async function timerProcesses(servers: TestServers = testServers()) {
  const { client, db } = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  await ensureCommits(db, new Set());
  await ensureDelivery(db, new Set());
  const store = createDeliveryStore(client, db, LOG_ID);
  const timers = db.collection<TimerDocument>('timers');
  const fired: Fired[] = [];
  const early: Fired[] = [];
  const running = new Set<{ stop(): Promise<void> }>();
  afterAll(async () => {
    await Promise.all([...running].map((one) => one.stop()));
    await db.dropDatabase().catch(() => undefined);
    await closeClient(client);
  });

  return {
    servers,
    db,
    store,
    timers,
    fired,
    /** Fired before their time by MongoDB's clock: without effect, they stay. */
    early,
    queued: db.collection<QueuedCommandDocument>('queued_commands'),
    /** As the transaction of a saga's partition writes it. */
    timer(key: string, dueAt: Date): TimerDocument {
      const ref = { consumer: 'evening', generation: 1, key, name: 'dark' };
      const partition = key.length % 16;
      return {
        _id: sagaTimerId(LOG_ID, ref),
        logId: LOG_ID,
        kind: 'saga',
        ...ref,
        partition,
        dueAt,
        setAt: new Date(),
        correlationId: null,
      };
    },
    async start(
      options: {
        readonly schedules?: readonly Schedule[] /** "paused": the saga takes none; "throws": this one cannot be fired. */;
        readonly takes?: (due: DueTimer) => 'yes' | 'paused' | 'throws';
        /** What fires here: "bells", and nothing that a look finds overdue; or bells for what was noticed alone. Default: everything. */
        readonly only?: 'bells' | 'noticed';
      } = {},
    ) {
      const instanceId = randomUUID();
      const own = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'timers' });
      const ownStore = createDeliveryStore(own.client, own.db, LOG_ID);
      const ownTimers = own.db.collection<TimerDocument>('timers');
      const logger = createLogger({ level: 'silent', pretty: false });
      const redis = await connectRedis(servers.redisUrl, logger);
      const model = buildModel([lampModule(options.schedules ?? [])]);
      const role = await startTimers(
        {
          store: { ...ownStore, timers: { ...ownStore.timers, ...blind(ownStore.timers, options.only) } },
          model,
          settings: {
            logId: LOG_ID,
            redis: { prefix: servers.prefix },
            job: { lockMs: 5_000, stalledCheckMs: 2_000 },
            sweepIntervalMs: 1_000,
            shutdownTimeoutMs: 5_000,
          },
          logger,
          instanceId,
          redis,
          clock: new ServerClock(() => ownStore.timers.now()),
        },
        {
          async onDue(_saga, due) {
            const takes = options.takes?.(due) ?? 'yes';
            if (takes === 'throws') throw new Error('it cannot be fired');
            if (takes === 'paused') return false;
            // A look and a bell may both find it: its effect is once, as in the transaction of a saga's partition.
            const timer = { _id: due.id, dueAt: due.dueAt };
            const isDue = { $expr: { $lte: ['$dueAt', '$$NOW'] } };
            const { deletedCount } = await ownTimers.deleteOne({ ...timer, ...isDue });
            const one = { process: instanceId, due, atMs: Date.now() };
            if (deletedCount === 1) fired.push(one);
            // Still there, so nobody else was faster.
            else if ((await ownTimers.countDocuments(timer)) === 1) early.push(one);
            return true;
          },
          async queue(request) {
            const queued = queuedCommand({ model, logId: LOG_ID, dataMaxBytes: 65_536 }, request);
            if ('kind' in queued) return queued;
            const { _id, ...rest } = queued;
            const commands = own.db.collection<QueuedCommandDocument>('queued_commands');
            await commands.updateOne({ _id }, { $setOnInsert: rest }, { upsert: true });
            return undefined;
          },
        },
      );
      let stopped: Promise<void> | undefined;
      const stop = async (graceful: boolean): Promise<void> => {
        // What a SIGKILL leaves behind: nobody hands the lease over.
        if (graceful) await role.stop();
        await redis.close();
        await ownStore.partitions.close();
        await closeClient(own.client);
        if (!graceful) await role.stop();
      };
      const started = {
        instanceId,
        timers: role.timers,
        stop: () => {
          stopped ??= stop(true);
          return stopped;
        },
        /** Its connections are gone from one moment to the next; its lease runs out. */
        cutOff: () => {
          stopped ??= stop(false);
          return stopped;
        },
      };
      running.add(started);
      return started;
    },
  };
}
