import { Redis } from 'ioredis';
import { MongoClient } from 'mongodb';
import { afterAll, describe, expect, test } from 'vitest';
import { timersLease } from '../../src/engine/timers/timers.ts';
import { type RunningApp, readSettings } from '../../src/index.ts';
import { createLogger } from '../../src/logger.ts';
import { startApp } from '../../src/start.ts';
import type { InstanceDocument, LeaseDocument, LogDocument, TimerDocument } from '../../src/store/documents.ts';
import app, { clock } from '../setup/alarm-app.ts';
import { privateRedis, type TestServers, testServers } from '../setup/servers.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';

/** Within seconds, where all of this shares a core or two with others. */
const TOO_LATE_MS = 30_000;
/** Until a process has started. */
const START_MAX_MS = 120_000;
const closers: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

interface Rang {
  readonly key: string;
  readonly dueAt: number;
  readonly lateMs: number;
}

async function stage(servers: TestServers = testServers()) {
  const client = await new MongoClient(servers.mongoUrl).connect();
  const db = client.db(servers.database);
  closers.push(() => client.close());
  closers.push(() => db.dropDatabase().catch(() => undefined));
  const env = {
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    PORT: '0',
    // A thousand commands at once are no matter of time here.
    COMMAND_TIMEOUT_MS: '60000',
  };
  const events = db.collection<LogDocument>('events');
  const rang = async (): Promise<readonly Rang[]> =>
    (await events.find({ type: 'Rang' }).sort({ _id: 1 }).toArray()).map(({ stream, data }) => {
      const { dueAt, lateMs } = data as { dueAt: string; lateMs: number };
      return { key: stream.split('/')[2] ?? '', dueAt: Date.parse(dueAt), lateMs };
    });
  return {
    db,
    events,
    timers: db.collection<TimerDocument>('timers'),
    rang,
    rangCount: async (count: number, timeoutMs = 60_000): Promise<readonly Rang[]> => {
      let seen = 0;
      return until(
        `${count} clocks rang`,
        async () => {
          const found = await rang();
          seen = found.length;
          return seen >= count ? found : undefined;
        },
        { timeoutMs, seen: () => seen },
      );
    },
    async start(role: 'all' | 'gateway'): Promise<RunningApp> {
      const settings = readSettings(env);
      const logger = createLogger({ level: 'silent', pretty: false });
      const running = await startApp({ modules: app.modules, role, settings, logger });
      closers.push(() => running.stop());
      return running;
    },
    worker(more: NodeJS.ProcessEnv = {}): SourceProcess {
      const args = ['start', '--role', 'worker', '--app', 'test/setup/alarm-app.ts'];
      const started = startSource('test/setup/processes/cli.ts', args, {
        PATH: process.env.PATH,
        LOG_LEVEL: 'error',
        LOG_PRETTY: 'false',
        ...env,
        ...more,
      });
      closers.push(async () => {
        started.child.kill('SIGKILL');
        await started.exited;
      });
      return started;
    },
    workerCount: (count: number) => {
      const workers = () => db.collection<InstanceDocument>('instances').countDocuments({ role: 'worker' });
      return until(`${count} workers`, async () => ((await workers()) >= count ? true : undefined), {
        timeoutMs: START_MAX_MS,
      });
    },
    /** Process id of who looks after the timers. */
    holder: () =>
      until(
        'somebody looks after the timers',
        async () => {
          const lease = await db.collection<LeaseDocument>('leases').findOne({ _id: timersLease('main') });
          if (lease === null || lease.expiresAt.getTime() < Date.now()) return undefined;
          return (await db.collection<InstanceDocument>('instances').findOne({ _id: lease.holder }))?.pid;
        },
        { timeoutMs: START_MAX_MS },
      ),
  };
}

async function set(running: RunningApp, id: string, afterMs: number): Promise<void> {
  const outcome = await running.send(clock, id, { type: 'Set', data: { afterMs } });
  expect(outcome.kind).toBe('accepted');
}
const onceEach = (found: readonly Rang[], count: number): void => {
  expect(found.length).toBe(count);
  expect(new Set(found.map(({ key }) => key)).size).toBe(count);
};

describe('timers of sagas', () => {
  test('of an hour, everything stopped for two and Redis emptied: fire once at the start, an hour late', async () => {
    const redis = await privateRedis();
    const { start, timers, db, rangCount, rang } = await stage({ ...testServers(), redisUrl: redis.url });
    const first = await start('all');
    await set(first, 'a', 3_600_000);
    const timer = await until('the timer is set', async () => (await timers.findOne({ kind: 'saga' })) ?? undefined);
    await first.stop();
    const admin = new Redis(redis.url);
    await admin.flushall();
    admin.disconnect();
    // Two hours pass.
    const dueAt = new Date(timer.dueAt.getTime() - 7_200_000);
    await timers.updateOne({ _id: timer._id }, { $set: { dueAt } });
    await db.collection('saga_alarm_g1').updateOne({}, { $set: { 'timers.0.dueAt': dueAt } });
    const second = await start('all');
    const [only] = await rangCount(1);
    expect(only).toMatchObject({ key: 'a', dueAt: dueAt.getTime() });
    expect(only?.lateMs).toBeGreaterThan(3_590_000);
    expect(only?.lateMs).toBeLessThan(3_660_000);
    await until('it is gone', async () => ((await timers.countDocuments({ kind: 'saga' })) === 0 ? true : undefined));
    expect(await rang()).toHaveLength(1);
    await second.stop();
  });

  test('1,000 of them, Redis emptied while they wait: each fires once, within seconds of its time', async () => {
    const redis = await privateRedis();
    const { start, timers, rangCount, rang } = await stage({ ...testServers(), redisUrl: redis.url });
    const running = await start('all');
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => set(running, `t${i}`, 2_000 + i)));
    await until('all are set', async () =>
      (await timers.countDocuments({ kind: 'saga' })) + (await rang()).length >= 1_000 ? true : undefined,
    );
    const admin = new Redis(redis.url);
    await admin.flushall();
    admin.disconnect();
    onceEach(await rangCount(1_000), 1_000);
    expect(Math.max(...(await rang()).map(({ lateMs }) => lateMs))).toBeLessThan(TOO_LATE_MS);
    await running.stop();
  });

  test('outlive the process that looks after them: killed, another one goes on, and none fires twice', {
    timeout: 300_000,
  }, async () => {
    const { start, worker, workerCount, holder, rangCount, events } = await stage();
    const gateway = await start('gateway');
    worker();
    const first = await holder();
    worker();
    await workerCount(2);
    await Promise.all(Array.from({ length: 120 }, (_, i) => set(gateway, `t${i}`, 1_500 + i * 60)));
    await rangCount(10);
    process.kill(first, 'SIGKILL');
    const killedAtMs = Date.now();
    const found = await rangCount(120);
    onceEach(found, 120);
    expect(Math.max(...found.map(({ lateMs }) => lateMs))).toBeLessThan(TOO_LATE_MS);
    await until('another one looks after the timers', async () => (await holder()) !== first || undefined);
    // In order of their times: the one that the killed process had in hand comes after the next ones.
    const ticks = async () =>
      (await events.find({ type: 'Ticked' }).toArray())
        .map(({ data }) => Date.parse((data as { dueAt: string }).dueAt))
        .sort((a, b) => a - b);
    let seen: readonly number[] = [];
    const look = async () => {
      seen = await ticks();
      const whole = seen.every((dueAt, i) => i === 0 || dueAt - (seen[i - 1] ?? 0) <= 2_000);
      return whole && (seen[0] ?? killedAtMs) < killedAtMs && (seen.at(-1) ?? 0) > killedAtMs ? seen : undefined;
    };
    const whole = await until('ticks before the kill and after it, and none missing between', look, {
      seen: () => seen,
    });
    expect(new Set(whole).size).toBe(whole.length);
  });

  test('fire at their time in workers whose clocks are an hour off', { timeout: 300_000 }, async () => {
    const { start, worker, workerCount, holder, rangCount, events } = await stage();
    const gateway = await start('gateway');
    const skew = new URL('../faults/harness/clock-skew.mjs', import.meta.url).href;
    worker({ NODE_OPTIONS: `--import ${skew}`, CLOCK_SKEW_MS: '3600000' });
    worker({ NODE_OPTIONS: `--import ${skew}`, CLOCK_SKEW_MS: '-3600000' });
    await holder();
    await workerCount(2);
    const setAt = Date.now();
    const sendAt = new Date(setAt + 3_000);
    await gateway.send(clock, 'delayed', { type: 'Tick', data: { dueAt: sendAt.toISOString() } }, { sendAt });
    await Promise.all(Array.from({ length: 20 }, (_, i) => set(gateway, `t${i}`, 3_000)));
    const early = await until(
      'something is done',
      async () =>
        (await events.findOne({ type: { $in: ['Rang', 'Ticked'] }, stream: { $ne: 'default/clock/tower' } })) ??
        undefined,
    );
    expect({ early, afterMs: Date.now() - setAt >= 3_000 }).toEqual({ early, afterMs: true });
    await until(
      'the delayed command',
      async () => (await events.findOne({ stream: 'default/clock/delayed' })) ?? undefined,
    );
    const found = await rangCount(20);
    onceEach(found, 20);
    // By MongoDB's clock, too.
    expect(Math.max(...found.map(({ lateMs }) => lateMs))).toBeLessThan(TOO_LATE_MS);
  });
});
