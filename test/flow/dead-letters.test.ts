import { afterEach, describe, expect, it } from 'vitest';
import { consumerLag, deliveryHealth } from '../../src/engine/delivery/delivery-health.ts';
import { buildModel } from '../../src/index.ts';
import type { CommitDocument } from '../../src/store/documents.ts';
import { deadLettersOf, retryQueue } from '../setup/dead-letters.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { logRecords } from '../setup/log-records.ts';
import { type Bug, counterModule, type TestWorker } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

const model = buildModel([counterModule()]);
const workers: TestWorker[] = [];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});
async function startWorker(fixture: DeliveryFixture, ...args: Parameters<DeliveryFixture['startWorker']>) {
  const worker = await fixture.startWorker(...args);
  workers.push(worker);
  return worker;
}
async function untilLevel(fixture: DeliveryFixture, end: number, timeoutMs = 60_000): Promise<void> {
  let seen: unknown;
  const look = async () => {
    const lag = await consumerLag(fixture.store, model);
    seen = lag.map(({ consumer, position, end: last }) => ({ consumer, position, last }));
    return lag.every(({ position }) => position >= end) || undefined;
  };
  await until(`all consumers at ${end}`, look, { timeoutMs, seen: () => seen });
}
/** Commits written one after the other get their positions in that order when each is waited for. */
async function appendInOrder(fixture: DeliveryFixture, commits: readonly CommitDocument[]): Promise<void> {
  for (const commit of commits) {
    const end = await fixture.store.log.end();
    await fixture.append([commit]);
    await until('it is placed', async () => ((await fixture.store.log.end()) > end ? true : undefined));
  }
}
const often = { attempts: 100, backoff: { type: 'fixed', delayMs: 300, jitter: 0 } } as const;
const soon = { attempts: 3, backoff: { type: 'fixed', delayMs: 300, jitter: 0 } } as const;
const bug: Bug = { breaks: ({ by }) => by === 666, retry: soon };

describe('a key whose event fails', async () => {
  const fixture = await deliveryFixture();
  const dead = deadLettersOf(fixture);
  const queue = retryQueue(fixture);
  const key = 'A';

  it('waits at its event, with its later events parked in order, while 1,000 other keys finish', async () => {
    const { logger, records } = logRecords();
    await startWorker(fixture, { bug, logger });
    const others = Array.from({ length: 1_000 }, (_, i) => fixture.count(`fine-${i}`));
    const commits = [fixture.count(key, 1), fixture.count(key, 2), fixture.count(key, 666)] as const;
    const breaking = commits[2];
    await appendInOrder(fixture, commits);
    await fixture.append(others);
    await untilLevel(fixture, 1_003);
    await appendInOrder(fixture, [fixture.count(key, 3), fixture.count(key, 4)]);
    await untilLevel(fixture, 1_005);
    const documents = await fixture.documents();
    expect(documents.size).toBe(1_001);
    expect(documents.get(key)).toMatchObject({ total: 3, count: 2 });
    expect(await dead.of(key)).toMatchObject({
      ...{ key, consumer: 'counters', generation: 1, version: 1, input: 'event', inputType: 'Counted' },
      ...{ correlationId: breaking.meta.correlationId, eventId: breaking.events[0]?.id, maxAttempts: 3 },
      ...{ position: 3, parkedCount: 2, error: { code: 'HANDLER_FAILED', message: 'cannot count A' } },
    });
    expect(await dead.positions(key)).toEqual([1_004, 1_005]);
    const health = await deliveryHealth(fixture.store, model);
    expect(health.status).toBe('degraded');
    expect(health.reasons.join()).toMatch(/"counters".*position 3.*key "A".*HANDLER_FAILED/);
    expect(records).toContainEqual(
      expect.objectContaining({
        ...{ msg: 'a handler failed', consumer: 'counters', key, position: 3, attempts: 1 },
        ...{ inputType: 'Counted', correlationId: breaking.meta.correlationId },
        err: expect.objectContaining({ message: 'cannot count A', stack: expect.any(String) }),
      }),
    );
  });

  it('is tried as often and as late as its policy says, then rests in BullMQ with ids only', async () => {
    await startWorker(fixture, { bug });
    const record = await dead.until('the last try', key, ({ state }) => state === 'DEAD');
    expect(record).toMatchObject({ attempts: 3, nextAttemptAt: null, parkedCount: 2 });
    const apartMs = record.lastFailedAt.getTime() - record.firstFailedAt.getTime();
    expect(apartMs).toBeGreaterThanOrEqual(600);
    const [job, ...more] = await until('the failed job', async () => {
      const failed = await queue.getFailed();
      return failed.length > 0 ? failed : undefined;
    });
    expect(more).toEqual([]);
    expect(job?.data).toEqual({ deadLetter: dead.idOf(key), partition: record.partition, delivery: record.delivery });
    expect(job?.failedReason).toBe(`HANDLER_FAILED ${record.error.fingerprint}`);
    expect(job?.stacktrace).toEqual([]);
    expect(job?.opts.attempts).toBe(3);
  });

  it('goes on in order, once, when mended code is deployed and it is retried', async () => {
    await fixture.append([fixture.count(key, 5)]);
    const worker = await startWorker(fixture);
    await untilLevel(fixture, 1_006);
    // Nobody asked: it waits, and what comes is parked.
    expect(await dead.of(key)).toMatchObject({ state: 'DEAD', parkedCount: 3 });
    await dead.release(worker, key);
    await dead.healed(key);
    const document = (await fixture.documents()).get(key);
    expect(document).toMatchObject({ total: 1 + 2 + 666 + 3 + 4 + 5, count: 6, _version: 6, _position: 1_006 });
    expect(await dead.parkedEvents.countDocuments()).toBe(0);
    await until('the failed set is empty', async () => ((await queue.getFailedCount()) === 0 ? true : undefined));
    await until('health', async () => {
      const { status } = await deliveryHealth(fixture.store, model);
      return status === 'ready' ? true : undefined;
    });
    await fixture.append([fixture.count(key, 7)]);
    await until('it flows', async () => ((await fixture.documents()).get(key)?.count === 7 ? true : undefined));
  });

  it('is healed by its next try when the trouble has passed, without anybody', async () => {
    let broken = true;
    const passing: Bug = { breaks: ({ by }) => broken && by === 13, retry: often };
    const end = await fixture.store.log.end();
    await startWorker(fixture, { bug: passing });
    await appendInOrder(fixture, [fixture.count('passing', 13), fixture.count('passing', 1)]);
    await untilLevel(fixture, end + 2);
    broken = false;
    await dead.healed('passing');
    expect((await fixture.documents()).get('passing')).toMatchObject({ total: 14, count: 2 });
    // The job that healed it ends after what it wrote.
    await until('no job is left', async () => {
      const { failed, delayed, active } = await queue.getJobCounts('failed', 'delayed', 'active');
      return (failed === 0 && delayed === 0 && active === 0) || undefined;
    });
  });

  it('fails anew at a later event with tries of its own', async () => {
    let broken = 21;
    const moving: Bug = { breaks: ({ by }) => by === broken, retry: often };
    const end = await fixture.store.log.end();
    await startWorker(fixture, { bug: moving });
    await appendInOrder(
      fixture,
      [21, 1, 22, 2].map((by) => fixture.count('moving', by)),
    );
    await untilLevel(fixture, end + 4);
    const first = await dead.until(
      'it fails at the first, again and again',
      'moving',
      ({ position, attempts }) => position === end + 1 && attempts >= 4,
    );
    broken = 22;
    const record = await dead.until('it fails at the third', 'moving', ({ position }) => position === end + 3);
    expect(record).toMatchObject({ delivery: first.delivery + 1, parkedCount: 1, state: 'RETRYING' });
    // However many they are by now: they began anew, and none came before its delay was over.
    const triedMs = record.lastFailedAt.getTime() - record.firstFailedAt.getTime();
    expect(record.firstFailedAt.getTime()).toBeGreaterThanOrEqual(first.lastFailedAt.getTime());
    expect(record.attempts).toBeLessThanOrEqual(1 + triedMs / (0.9 * often.backoff.delayMs));
    expect((await fixture.documents()).get('moving')).toMatchObject({ total: 22, count: 2 });
    expect(await dead.positions('moving')).toEqual([end + 4]);
    broken = 0;
    await dead.healed('moving');
    expect((await fixture.documents()).get('moving')).toMatchObject({ total: 46, count: 4, _version: 4 });
  });
});
