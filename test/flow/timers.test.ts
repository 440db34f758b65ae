import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { HORIZON_MS, timersLease } from '../../src/engine/timers/timers.ts';
import { privateRedis, testServers } from '../setup/servers.ts';
import { timerProcesses } from '../setup/timer-processes.ts';
import { until } from '../setup/until.ts';

type Stage = Awaited<ReturnType<typeof timerProcesses>>;

const serverNow = async ({ store }: Stage): Promise<number> => store.timers.now();
const firedCount = (stage: Stage, count: number, timeoutMs = 30_000) =>
  until(`${count} timers fired`, () => (stage.fired.length >= count ? true : undefined), {
    timeoutMs,
    seen: () => stage.fired.length,
  });
const leads = (stage: Stage, process: string, timeoutMs = 30_000) =>
  until(
    `${process} looks after the timers`,
    async () => ((await stage.store.leases.state(timersLease('main')))?.holder === process ? true : undefined),
    { timeoutMs },
  );
const keysOf = (stage: Stage) => stage.fired.map(({ due }) => due.key).sort();

describe('timers', () => {
  test('fire once, never before their time by the clock of MongoDB, and by their bells', async () => {
    const stage = await timerProcesses();
    const one = await stage.start({ only: 'bells' });
    const two = await stage.start({ only: 'bells' });
    const now = await serverNow(stage);
    await stage.timers.insertMany(
      Array.from({ length: 200 }, (_, i) => stage.timer(`t${i}`, new Date(now + 4_000 + i * 13))),
    );
    await firedCount(stage, 200);
    await until('nothing is left', async () => ((await stage.timers.countDocuments()) === 0 ? true : undefined));
    expect(new Set(keysOf(stage)).size).toBe(200);
    expect(stage.fired.length).toBe(200);
    expect(Math.min(...stage.fired.map(({ due }) => due.lateMs))).toBeGreaterThanOrEqual(0);
    expect([one.instanceId, two.instanceId]).toContain(stage.fired[0]?.process);
  });

  test('that are set for soon, after the look, do not wait for the next one', async () => {
    const stage = await timerProcesses();
    const one = await stage.start({ only: 'noticed' });
    await leads(stage, one.instanceId);
    const noticed = async ({ timers }: typeof one, key: string, atMs: number): Promise<void> => {
      await stage.timers.insertOne(stage.timer(key, new Date(atMs)));
      timers.noticed('saga', [atMs]);
    };
    const dueMs = (await serverNow(stage)) + 3_000;
    for (let i = 0; i < 9; i++) await noticed(one, `soon${i}`, dueMs + i * 100);
    await firedCount(stage, 9);
    await one.stop();
    await noticed(await stage.start(), 'past', dueMs - 90_000);
    await firedCount(stage, 10);
    const past = stage.fired.find(({ due }) => due.key === 'past');
    expect(past?.due.lateMs).toBeGreaterThan(86_000);
  });

  test('missed while everything was down fire once, and say how late', async () => {
    const stage = await timerProcesses();
    const first = await stage.start();
    await leads(stage, first.instanceId);
    const now = await serverNow(stage);
    await stage.timers.insertMany([
      stage.timer('an-hour', new Date(now + 3_600_000)),
      stage.timer('a-day', new Date(now + 86_400_000)),
    ]);
    await first.stop();
    // Two hours later, as far as the timer is concerned.
    await stage.timers.updateMany({ key: 'an-hour' }, { $set: { dueAt: new Date(now - 3_600_000) } });
    await Promise.all([stage.start(), stage.start()]);
    await firedCount(stage, 1);
    await until('it is gone', async () => ((await stage.timers.countDocuments()) === 1 ? true : undefined));
    expect(keysOf(stage)).toEqual(['an-hour']);
    expect(stage.fired[0]?.due.lateMs).toBeGreaterThan(3_599_000);
  });

  test('survive a holder of the lease that vanishes: its bells ring elsewhere, then another one looks ahead', async () => {
    const stage = await timerProcesses();
    const holder = await stage.start();
    await leads(stage, holder.instanceId);
    const other = await stage.start({ only: 'bells' });
    const dueFrom = async (first: number, stepMs: number): Promise<void> => {
      const now = await serverNow(stage);
      const timers = Array.from({ length: 30 }, (_, i) =>
        stage.timer(`t${first + i}`, new Date(now + 4_000 + i * stepMs)),
      );
      await stage.timers.insertMany(timers);
    };
    // Within its horizon when it looks next: 17 moments at least.
    await dueFrom(0, 29);
    const bells = new Queue('main-timers', {
      connection: { url: stage.servers.redisUrl },
      prefix: stage.servers.prefix,
    });
    const hang = async () => (await bells.getDelayedCount()) >= 17 || stage.fired.length > 0 || undefined;
    await until('bells hang', hang);
    await holder.cutOff();
    const beforeCount = stage.fired.length;
    await leads(stage, other.instanceId);
    await dueFrom(30, 100);
    await firedCount(stage, 60);
    expect(stage.fired.slice(beforeCount).every(({ process }) => process === other.instanceId)).toBe(true);
    await bells.close();
  });

  test('put a bounded number of jobs into Redis, however many there are, and names of moments only', {
    timeout: 40_000,
  }, async () => {
    const stage = await timerProcesses();
    const one = await stage.start();
    await leads(stage, one.instanceId);
    const now = await serverNow(stage);
    await stage.timers.insertMany(
      Array.from({ length: 5_000 }, (_, i) => stage.timer(`t${i}`, new Date(now + 3_000 + i * 1_000))),
    );
    await stage.timers.insertMany(
      Array.from({ length: 1_500 }, (_, i) => stage.timer(`dense${i}`, new Date(now + 3_000 + (i % 1_000)))),
    );
    const bells = new Queue('main-timers', {
      connection: { url: stage.servers.redisUrl },
      prefix: stage.servers.prefix,
    });
    await until('bells hang', async () => ((await bells.getDelayedCount()) > 10 ? true : undefined));
    const jobs = await bells.getDelayed(0, 10_000);
    expect(jobs.length).toBeLessThan(2 + HORIZON_MS / 50);
    for (const { name, data } of jobs) {
      expect(name).toBe('saga');
      expect(data).toEqual({ kind: 'saga', atMs: expect.any(Number) });
    }
    await firedCount(stage, 1_500, 30_000);
    await bells.close();
  });

  test('that cannot be fired stay due and are tried again, without holding up others', async () => {
    const stage = await timerProcesses();
    const tries = new Map<string, number>();
    const now = await serverNow(stage);
    await stage.timers.insertMany(
      Array.from({ length: 700 }, (_, i) => stage.timer(`bad${i}`, new Date(now - 60_000 + i))),
    );
    await stage.start({
      takes: ({ key }) => {
        tries.set(key, (tries.get(key) ?? 0) + 1);
        return key.startsWith('bad') && (tries.get(key) ?? 0) < 3 ? 'throws' : 'yes';
      },
    });
    await until('the first try of all', () => (tries.size === 700 ? true : undefined));
    const due = (await serverNow(stage)) + 300;
    await stage.timers.insertOne(stage.timer('good', new Date(due)));
    await firedCount(stage, 701);
    const good = stage.fired.find(({ due: { key } }) => key === 'good');
    expect(good?.due.lateMs).toBeLessThan(8_000);
    expect(Math.max(...tries.values())).toBe(3);
  });

  test('of a paused saga wait, and fire once when it goes on', async () => {
    const stage = await timerProcesses();
    const now = await serverNow(stage);
    await stage.timers.insertMany(
      Array.from({ length: 2_000 }, (_, i) => stage.timer(`t${i}`, new Date(now - 60_000 + i))),
    );
    let askedCount = 0;
    const asked = new Set<string>();
    let paused = true;
    await stage.start({
      takes: ({ key }) => {
        askedCount += 1;
        asked.add(key);
        return paused ? 'paused' : 'yes';
      },
    });
    await until('it was asked again and again', () => (askedCount > 1_000 ? true : undefined));
    // A batch each time, not all of them.
    expect(asked.size).toBeLessThan(2_000);
    expect(await stage.timers.countDocuments()).toBe(2_000);
    paused = false;
    await firedCount(stage, 2_000);
    expect(new Set(keysOf(stage)).size).toBe(2_000);
  });

  test('of generations and sagas that nobody runs are left alone', async () => {
    const stage = await timerProcesses();
    const now = await serverNow(stage);
    const timer = stage.timer('old', new Date(now - 1_000));
    await stage.timers.insertMany([
      { ...timer, _id: 'g2', generation: 2 },
      { ...timer, _id: 'other', consumer: 'other' },
      { ...timer, _id: 'log', logId: 'another' },
      stage.timer('mine', new Date(now - 500)),
    ]);
    await stage.start();
    await firedCount(stage, 1);
    await until('it is gone', async () => ((await stage.timers.countDocuments()) < 4 ? true : undefined));
    expect(await stage.timers.distinct('_id')).toEqual(['g2', 'log', 'other']);
    expect(keysOf(stage)).toEqual(['mine']);
  });
});

describe('timers, when Redis', () => {
  test('loses everything, are found by a look', async () => {
    const redis = await privateRedis();
    const stage = await timerProcesses({ ...testServers(), redisUrl: redis.url });
    const one = await stage.start();
    await leads(stage, one.instanceId);
    const now = await serverNow(stage);
    await stage.timers.insertMany(
      Array.from({ length: 100 }, (_, i) => stage.timer(`t${i}`, new Date(now + 2_500 + i * 20))),
    );
    const admin = new Redis(redis.url);
    const bells = new Queue('main-timers', { connection: { url: redis.url }, prefix: stage.servers.prefix });
    await until('bells hang', async () => ((await bells.getDelayedCount()) > 10 ? true : undefined));
    await admin.flushall();
    await firedCount(stage, 100);
    expect(new Set(keysOf(stage)).size).toBe(100);
    await bells.close();
    admin.disconnect();
  });

  test('is away, fire at their times all the same', async () => {
    const redis = await privateRedis();
    const stage = await timerProcesses({ ...testServers(), redisUrl: redis.url });
    const one = await stage.start({ only: 'bells' });
    await leads(stage, one.instanceId);
    await redis.kill();
    const now = await serverNow(stage);
    await stage.timers.insertMany(
      Array.from({ length: 50 }, (_, i) => stage.timer(`t${i}`, new Date(now + 4_000 + i * 10))),
    );
    await firedCount(stage, 50);
  });
});
