import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { HORIZON_MS, MOMENT_MS, timersLease } from '../../src/engine/timers/timers.ts';
import type { TimerDocument } from '../../src/store/documents.ts';
import { privateRedis, testServers } from '../setup/servers.ts';
import { timerProcesses } from '../setup/timer-processes.ts';
import { until } from '../setup/until.ts';

type Stage = Awaited<ReturnType<typeof timerProcesses>>;

const serverNow = async ({ store }: Stage): Promise<number> => store.timers.now();
const firedCount = async (stage: Stage, count: number): Promise<void> => {
  await until(`${count} timers fired`, () => (stage.fired.length >= count ? true : undefined), {
    seen: () => stage.fired.length,
  });
  expect(stage.early).toEqual([]);
};
const leads = (stage: Stage, ...processes: readonly { readonly instanceId: string }[]) =>
  until('one of them looks after the timers', async () => {
    const holder = (await stage.store.leases.state(timersLease('main')))?.holder;
    return processes.some(({ instanceId }) => instanceId === holder) || undefined;
  });
const keysOf = (fired: Stage['fired']) => fired.map(({ due }) => due.key).sort();

interface Round {
  readonly count: number;
  readonly stepMs: number;
  /** Of the first, from now on. Default 4.5 s: bells hang from 5 s before. */
  readonly aheadMs?: number;
  readonly set?: (timers: readonly TimerDocument[]) => Promise<unknown>;
}
/**
 * Sets timers until all of a round have fired, half of them within half a second: no look for what is overdue is so fast. Where
 * only bells fire, what is missed while the machine stands still is missed for good, and there is another round.
 */
async function fireAtTheirTimes(stage: Stage, { count, stepMs, aheadMs = 4_500, set }: Round): Promise<void> {
  const seen: { fired: number; medianMs: number }[] = [];
  for (let round = 0; round < 4; round++) {
    const firstMs = (await serverNow(stage)) + aheadMs;
    const timers = Array.from({ length: count }, (_, i) =>
      stage.timer(`round${round}-${i}`, new Date(firstMs + i * stepMs)),
    );
    await (set ?? ((all) => stage.timers.insertMany([...all])))(timers);
    const ofRound = () => stage.fired.filter(({ due: { key } }) => key.startsWith(`round${round}-`));
    await until('all have fired, or should have', async () => {
      if (ofRound().length >= count) return true;
      return (await serverNow(stage)) > firstMs + count * stepMs + 3_000 || undefined;
    });
    await stage.timers.deleteMany({});
    expect(stage.early).toEqual([]);
    const fired = ofRound();
    expect(new Set(keysOf(fired)).size).toBe(fired.length);
    const lateMs = fired.map(({ atMs, due: { dueAt } }) => atMs - dueAt.getTime()).sort((a, b) => a - b);
    const medianMs = lateMs[Math.floor(lateMs.length / 2)] ?? Number.POSITIVE_INFINITY;
    if (fired.length === count && medianMs < 500) return;
    seen.push({ fired: fired.length, medianMs });
  }
  throw new Error(`no round of ${count} timers fired at their times: ${JSON.stringify(seen)}`);
}

describe('timers', () => {
  test('fire at their times by their bells, never before by the clock of MongoDB', async () => {
    const stage = await timerProcesses();
    const one = await stage.start({ only: 'bells' });
    const two = await stage.start({ only: 'bells' });
    await leads(stage, one, two);
    await fireAtTheirTimes(stage, { count: 200, stepMs: 13 });
  });

  test('that are set for soon, after the look, do not wait for the next one', async () => {
    const stage = await timerProcesses();
    const one = await stage.start({ only: 'noticed' });
    await leads(stage, one);
    const noticed = async ({ timers }: typeof one, timer: TimerDocument): Promise<void> => {
      await stage.timers.insertOne(timer);
      timers.noticed('saga', [timer.dueAt.getTime()]);
    };
    const set = async (timers: readonly TimerDocument[]): Promise<void> => {
      for (const timer of timers) await noticed(one, timer);
    };
    await fireAtTheirTimes(stage, { count: 9, stepMs: 100, aheadMs: 4_000, set });
    // It could find what is overdue, but does not look: that is up to the other one.
    const two = await stage.start();
    await noticed(two, stage.timer('past', new Date((await serverNow(stage)) - 90_000)));
    const isPast = ({ due }: Stage['fired'][number]) => due.key === 'past';
    const past = await until('what is due already', () => stage.fired.find(isPast));
    expect(past.process).toBe(two.instanceId);
    expect(past.due.lateMs).toBeGreaterThanOrEqual(90_000 - 1_000);
  });

  test('missed while everything was down fire once, and say how late', async () => {
    const stage = await timerProcesses();
    const first = await stage.start();
    await leads(stage, first);
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
    expect(keysOf(stage.fired)).toEqual(['an-hour']);
    expect(stage.fired[0]?.due.lateMs).toBeGreaterThan(3_599_000);
  });

  test('survive a holder of the lease that vanishes: its bells ring elsewhere, then another one looks ahead', async () => {
    const stage = await timerProcesses();
    const holder = await stage.start();
    await leads(stage, holder);
    const other = await stage.start({ only: 'bells' });
    const bells = new Queue('main-timers', {
      connection: { url: stage.servers.redisUrl },
      prefix: stage.servers.prefix,
    });
    // 17 moments. Those whose bells do not hang in time are the holder's alone: then anew.
    const hang = async (): Promise<true | undefined> => {
      const dueMs = Math.ceil((await serverNow(stage)) / MOMENT_MS) * MOMENT_MS + 4_501;
      await stage.timers.insertMany(
        Array.from({ length: 30 }, (_, i) => stage.timer(`${dueMs}-${i}`, new Date(dueMs + i * 29))),
      );
      const all = await until('bells hang', async () => {
        if ((await bells.getDelayedCount()) >= 17) return 'hang';
        return (await serverNow(stage)) > dueMs ? 'too late' : undefined;
      });
      if (all === 'hang') return true;
      await stage.timers.deleteMany({});
      return undefined;
    };
    await until('bells of all of them', hang);
    await holder.cutOff();
    const beforeCount = stage.fired.length;
    // Nobody looks ahead until all of them have rung: bells of the dead one, and no others.
    const { leases } = stage.store;
    await leases.acquire(timersLease('main'), holder.instanceId, 120_000);
    // What the holder had in hand may be gone without its having heard so.
    await until('nothing is left', async () => (await stage.timers.countDocuments()) === 0 || undefined);
    await leases.release(timersLease('main'), holder.instanceId);
    await leads(stage, other);
    await fireAtTheirTimes(stage, { count: 30, stepMs: 100 });
    expect(stage.fired.slice(beforeCount).every(({ process }) => process === other.instanceId)).toBe(true);
    await bells.close();
  });

  test('put a bounded number of jobs into Redis, however many there are, and names of moments only', async () => {
    const stage = await timerProcesses();
    const one = await stage.start();
    await leads(stage, one);
    const now = await serverNow(stage);
    await stage.timers.insertMany(
      Array.from({ length: 5_000 }, (_, i) => stage.timer(`t${i}`, new Date(now + 3_000 + i * 200))),
    );
    await stage.timers.insertMany(
      Array.from({ length: 1_500 }, (_, i) => stage.timer(`dense${i}`, new Date(now + 3_000 + (i % 1_000)))),
    );
    const bells = new Queue('main-timers', {
      connection: { url: stage.servers.redisUrl },
      prefix: stage.servers.prefix,
    });
    await until('bells hang', async () => ((await bells.getDelayedCount()) > 10 ? true : undefined));
    const delayed = await bells.getDelayed(0, 10_000);
    // After a standstill there may be bells of before that did not ring yet.
    const nowMs = await serverNow(stage);
    const jobs = delayed.filter(({ data }) => data.atMs > nowMs);
    expect(jobs.length).toBeLessThan(2 + HORIZON_MS / MOMENT_MS);
    for (const { name, data } of jobs) {
      expect(name).toBe('saga');
      expect(data).toEqual({ kind: 'saga', atMs: expect.any(Number) });
    }
    await firedCount(stage, 1_500);
    await bells.close();
  });

  test('that cannot be fired stay due and are tried again, without holding up others', async () => {
    const stage = await timerProcesses();
    const tries = new Map<string, number>();
    let broken = true;
    const now = await serverNow(stage);
    await stage.timers.insertMany(
      Array.from({ length: 700 }, (_, i) => stage.timer(`bad${i}`, new Date(now - 60_000 + i))),
    );
    await stage.start({
      takes: ({ key }) => {
        tries.set(key, (tries.get(key) ?? 0) + 1);
        return key.startsWith('bad') && (broken || (tries.get(key) ?? 0) < 3) ? 'throws' : 'yes';
      },
    });
    await until('the first try of all', () => (tries.size === 700 ? true : undefined));
    const due = (await serverNow(stage)) + 300;
    await stage.timers.insertOne(stage.timer('good', new Date(due)));
    await firedCount(stage, 1);
    expect(keysOf(stage.fired)).toEqual(['good']);
    broken = false;
    await firedCount(stage, 701);
    expect(new Set(keysOf(stage.fired)).size).toBe(701);
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
    expect(new Set(keysOf(stage.fired)).size).toBe(2_000);
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
    expect(keysOf(stage.fired)).toEqual(['mine']);
  });
});

describe('timers, when Redis', () => {
  test('loses everything, are found by a look', async () => {
    const redis = await privateRedis();
    const stage = await timerProcesses({ ...testServers(), redisUrl: redis.url });
    const one = await stage.start();
    await leads(stage, one);
    const now = await serverNow(stage);
    await stage.timers.insertMany(
      Array.from({ length: 100 }, (_, i) => stage.timer(`t${i}`, new Date(now + 4_500 + i * 20))),
    );
    const admin = new Redis(redis.url);
    const bells = new Queue('main-timers', { connection: { url: redis.url }, prefix: stage.servers.prefix });
    const hang = async () => (await bells.getDelayedCount()) > 10 || stage.fired.length > 0 || undefined;
    await until('bells hang', hang);
    await admin.flushall();
    await firedCount(stage, 100);
    expect(new Set(keysOf(stage.fired)).size).toBe(100);
    await bells.close();
    admin.disconnect();
  });

  test('is away, fire at their times all the same', async () => {
    const redis = await privateRedis();
    const stage = await timerProcesses({ ...testServers(), redisUrl: redis.url });
    const one = await stage.start({ only: 'bells' });
    await leads(stage, one);
    await redis.kill();
    await fireAtTheirTimes(stage, { count: 50, stepMs: 10 });
  });
});
