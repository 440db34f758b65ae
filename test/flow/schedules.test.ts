import { describe, expect, test } from 'vitest';
import { timersLease } from '../../src/engine/timers/timers.ts';
import type { Schedule } from '../../src/index.ts';
import type { TimerDocument } from '../../src/store/documents.ts';
import { lighting, timerProcesses } from '../setup/timer-processes.ts';
import { until } from '../setup/until.ts';

type Stage = Awaited<ReturnType<typeof timerProcesses>>;
const EVERY_SECOND = '* * * * * *';
const HOUR_MS = 3_600_000;

const record = async ({ timers }: Stage): Promise<TimerDocument | undefined> =>
  (await timers.findOne({ kind: 'schedule', name: 'lighting' })) ?? undefined;
const recordThat = (stage: Stage, awaited: string, holds: (schedule: TimerDocument) => boolean) => {
  let seen: TimerDocument | undefined;
  const look = async () => {
    seen = await record(stage);
    return seen !== undefined && holds(seen) ? seen : undefined;
  };
  return until(awaited, look, { seen: () => seen });
};
const commandIds = async ({ queued }: Stage): Promise<string[]> =>
  (await queued.find().sort({ commandId: 1 }).toArray()).map(({ commandId }) => commandId);
/** A schedule as a process left it that stopped then; `agoMs` before now. */
async function leftBehind(stage: Stage, schedule: Schedule, agoMs: number): Promise<Date> {
  const first = await stage.start({ schedules: [schedule] });
  const { _id } = await recordThat(stage, 'the schedule is known', () => true);
  await first.stop();
  await stage.queued.deleteMany({});
  const dueAt = new Date((await stage.store.timers.now()) - agoMs);
  dueAt.setUTCMilliseconds(0);
  await stage.timers.updateOne({ _id }, { $set: { dueAt }, $unset: { last: '' } });
  return dueAt;
}

describe('a schedule', () => {
  test('sends its command at each time, once, though two processes see to it', async () => {
    const stage = await timerProcesses();
    const schedules = [lighting(EVERY_SECOND)];
    await Promise.all([stage.start({ schedules }), stage.start({ schedules })]);
    const ids = await until('four times', async () => {
      const found = await commandIds(stage);
      return found.length >= 4 ? found : undefined;
    });
    const times = ids.map((id) => Date.parse(id.replace('lighting@', '')));
    times.forEach((time, i) => {
      expect(ids[i]).toBe(`lighting@${new Date(time).toISOString()}`);
      if (i > 0) expect(time - (times[i - 1] ?? 0)).toBe(1_000);
    });
    const { last } = await recordThat(stage, 'the last time is noted', (one) => one.last !== undefined);
    expect(last?.lateMs).toBeLessThan(10_000);
    const sent = await stage.queued.find().toArray();
    for (const { meta, target, id, type, data, commandId } of sent) {
      expect(meta).toMatchObject({ actor: 'schedule:lighting', causationId: null, tenant: 'default' });
      expect({ target, id, type }).toEqual({ target: 'lamp', id: 'a', type: 'Light' });
      expect(commandId).toBe(`lighting@${(data as { at: string }).at}`);
    }
    // Each opens a flow of its own.
    expect(new Set(sent.map(({ meta }) => meta.correlationId)).size).toBe(sent.length);
  });

  test('that missed many times sends one command, late, and goes on with the next time', async () => {
    const stage = await timerProcesses();
    // Every five minutes of two hours that are over; the next time is 22 hours ahead.
    const nowMs = await stage.store.timers.now();
    const [first, second] = [2, 1].map((ago) => new Date(nowMs - ago * HOUR_MS).getUTCHours());
    const schedule = lighting(`*/5 ${first},${second} * * *`);
    const dueAt = await leftBehind(stage, schedule, 2 * HOUR_MS);
    await Promise.all([stage.start({ schedules: [schedule] }), stage.start({ schedules: [schedule] })]);
    const after = await recordThat(stage, 'it moved on', (one) => one.last !== undefined);
    expect(after.last?.dueAt).toEqual(dueAt);
    expect(after.last?.lateMs).toBeGreaterThan(2 * HOUR_MS - 2_000);
    expect(after.dueAt.getTime()).toBeGreaterThan(await stage.store.timers.now());
    expect(await commandIds(stage)).toEqual([`lighting@${dueAt.toISOString()}`]);
  });

  test('that missed some seconds sends them all', async () => {
    const stage = await timerProcesses();
    const schedule = lighting('*/2 * * * * *');
    const left = await leftBehind(stage, schedule, 20_000);
    const dueAt = new Date(Math.floor(left.getTime() / 2_000) * 2_000);
    await stage.timers.updateOne({ name: 'lighting' }, { $set: { dueAt } });
    await stage.start({ schedules: [schedule] });
    const expected = Array.from(
      { length: 10 },
      (_, i) => `lighting@${new Date(dueAt.getTime() + i * 2_000).toISOString()}`,
    );
    const ids = await until('ten times', async () => {
      const found = await commandIds(stage);
      return found.length >= 10 ? found : undefined;
    });
    expect(ids.slice(0, 10)).toEqual(expected);
  });

  test('whose process died between its command and its next time does not send again', async () => {
    const stage = await timerProcesses();
    // Once a year: no other time lies between the one that is owed and now.
    const schedule = lighting('0 0 1 1 *');
    const dueAt = await leftBehind(stage, schedule, 60_000);
    const first = await stage.start({ schedules: [schedule] });
    await recordThat(stage, 'it moved on', (one) => one.last !== undefined);
    await first.stop();
    const [before] = await stage.queued.find().toArray();
    // As if the second step had not been taken.
    await stage.timers.updateOne({ name: 'lighting' }, { $set: { dueAt }, $unset: { last: '' } });
    await stage.start({ schedules: [schedule] });
    await recordThat(stage, 'it moved on again', (one) => one.last !== undefined);
    expect(await stage.queued.find().toArray()).toEqual([before]);
  });

  test('whose expression changes counts anew from the deployment on', async () => {
    const stage = await timerProcesses();
    const first = await stage.start({ schedules: [lighting('0 0 1 1 *')] });
    const before = await recordThat(stage, 'the schedule is known', () => true);
    await first.stop();
    await stage.start({ schedules: [lighting(EVERY_SECOND)] });
    const after = await recordThat(stage, 'the new times', (one) => one.last !== undefined);
    expect(after).toMatchObject({ _id: before._id, cron: EVERY_SECOND, timeZone: 'UTC' });
    expect(after.last?.dueAt.getTime()).toBeLessThan(before.dueAt.getTime());
  });

  test('whose expression changes while a time is owed sends that time, late', async () => {
    const stage = await timerProcesses();
    const dueAt = await leftBehind(stage, lighting('0 3 * * *'), HOUR_MS);
    await stage.start({ schedules: [lighting('0 0 1 1 *')] });
    const after = await recordThat(stage, 'it moved on', (one) => one.last !== undefined);
    expect(after.last?.dueAt).toEqual(dueAt);
    expect(after.dueAt.toISOString()).toMatch(/-01-01T00:00:00\.000Z$/);
    expect(await commandIds(stage)).toHaveLength(1);
  });

  test('that is removed sends nothing, is kept for an hour for older processes, and then goes', async () => {
    const stage = await timerProcesses();
    const dueAt = await leftBehind(stage, lighting('0 * * * *'), HOUR_MS);
    const first = await stage.start();
    await recordThat(stage, 'it is marked', (one) => one.unknownSince !== undefined);
    await first.stop();
    expect((await record(stage))?.dueAt).toEqual(dueAt);
    await stage.timers.updateOne({ name: 'lighting' }, { $set: { unknownSince: new Date(Date.now() - 2 * HOUR_MS) } });
    await stage.start();
    await until('it is gone', async () => ((await record(stage)) === undefined ? true : undefined));
    expect(await commandIds(stage)).toEqual([]);
  });

  test('that comes back long after it was removed begins anew', async () => {
    const stage = await timerProcesses();
    await leftBehind(stage, lighting('0 0 1 1 *'), 30 * 24 * HOUR_MS);
    await stage.timers.updateOne({ name: 'lighting' }, { $set: { unknownSince: new Date(Date.now() - 2 * HOUR_MS) } });
    await stage.start({ schedules: [lighting('0 0 1 1 *')] });
    const after = await recordThat(stage, 'it is known again', (one) => one.unknownSince === undefined);
    expect(after.dueAt.getTime()).toBeGreaterThan(await stage.store.timers.now());
    expect(await commandIds(stage)).toEqual([]);
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('no lamp');
      },
      'HANDLER_FAILED',
      /no lamp/,
    ],
    ['answers data that the schema refuses', () => ({ at: 7 }), 'BAD_INPUT', /at: /],
  ] as const)(
    'whose function %s keeps its time due and says why, until mended code sends it',
    async (_what, light, code, message) => {
      const stage = await timerProcesses();
      const dueAt = await leftBehind(stage, lighting('0 3 * * *'), HOUR_MS);
      const broken = await stage.start({ schedules: [lighting('0 3 * * *', light)] });
      const { failure, dueAt: still } = await recordThat(stage, 'the failure', (one) => one.failure !== undefined);
      expect(failure).toMatchObject({ code, message: expect.stringMatching(message), since: expect.any(Date) });
      expect(still).toEqual(dueAt);
      await broken.stop();
      await stage.start({ schedules: [lighting('0 3 * * *')] });
      const mended = await recordThat(stage, 'it moved on', (one) => one.last !== undefined);
      expect(mended.failure).toBeUndefined();
      expect(mended.last?.dueAt).toEqual(dueAt);
      expect(await commandIds(stage)).toEqual([`lighting@${dueAt.toISOString()}`]);
    },
  );

  test('of another deployment is left to that one: its times are not read by this one', async () => {
    const stage = await timerProcesses();
    const newer = await stage.start({ schedules: [lighting('0 0 1 1 *')] });
    await until('the newer one looks', async () =>
      (await stage.store.leases.state(timersLease('main')))?.holder === newer.instanceId ? true : undefined,
    );
    await recordThat(stage, 'the schedule is known', () => true);
    const older = await stage.start({ schedules: [lighting(EVERY_SECOND)] });
    older.timers.noticed('schedule', [Date.now() - 1_000]);
    await stage.timers.insertOne(stage.timer('seen', new Date(await stage.store.timers.now())));
    await until('a timer fired meanwhile', () => (stage.fired.length > 0 ? true : undefined));
    expect((await record(stage))?.cron).toBe('0 0 1 1 *');
    expect(await commandIds(stage)).toEqual([]);
  });
});
