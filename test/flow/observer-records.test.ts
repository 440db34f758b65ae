import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { mayRetry, retryPolicy } from '../../src/define/retry-policy.ts';
import { JOURNAL_TTL_MS, onceOf } from '../../src/engine/concurrency/once.ts';
import type { DeadGroup } from '../../src/store/alerts.ts';
import type { DeadLetterDocument } from '../../src/store/documents.ts';
import type { JournalStore } from '../../src/store/observer-journal.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { until } from '../setup/until.ts';

/** What observers and alerts keep in MongoDB. */
let fixture: DeliveryFixture;
beforeAll(async () => {
  fixture = await deliveryFixture();
});

describe('once', () => {
  /** A corner of the journal that no other test uses. */
  const scoped = (): JournalStore => {
    const corner = randomUUID();
    const { journal } = fixture.store;
    return {
      find: (id) => journal.find(`${corner}/${id}`),
      record: (id, json, ttlMs) => journal.record(`${corner}/${id}`, json, ttlMs),
    };
  };
  it('runs an effect once over the tries of an event, and hands later ones its result as JSON has it', async () => {
    const store = scoped();
    let runs = 0;
    const send = () => ({ number: ++runs, at: new Date(0) });
    const expected = { number: 1, at: '1970-01-01T00:00:00.000Z' };
    expect(await onceOf(store, 'main/notify/e1')('mail', send)).toEqual(expected);
    expect(await onceOf(store, 'main/notify/e1')('mail', send)).toEqual(expected);
    expect(await onceOf(store, 'main/notify/e2')('mail', send)).toMatchObject({ number: 2 });
  });
  it('remembers an effect without a result', async () => {
    const store = scoped();
    let runs = 0;
    const effect = async (): Promise<void> => {
      runs++;
    };
    expect(await onceOf(store, 's')('a', effect)).toBeUndefined();
    expect(await onceOf(store, 's')('a', effect)).toBeUndefined();
    expect(runs).toBe(1);
  });
  it('runs it once when one try asks twice at the same time', async () => {
    const once = onceOf(scoped(), 's');
    let runs = 0;
    await Promise.all([1, 2].map(() => once('a', async () => ++runs)));
    expect(runs).toBe(1);
  });
  it('runs it again when it failed', async () => {
    const once = onceOf(scoped(), 's');
    await expect(once('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await once('a', () => 'yes')).toBe('yes');
  });
  it.each([
    ['too long', 'x'.repeat(70_000)],
    ['no JSON', 1n],
    ['a function', () => undefined],
  ])('refuses a result that is %s, for good', async (_, result) => {
    const store = scoped();
    const error = await onceOf(store, 's')('a', () => result).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'ONCE_RESULT_INVALID' });
    expect(mayRetry(retryPolicy({}, 'x'), error)).toBe(false);
    expect(await store.find('s/a')).toBeUndefined();
  });
  it('keeps the result of the first where two processes ran it at the same time', async () => {
    const store = scoped();
    const results = await Promise.all([1, 2, 3].map((number) => onceOf(store, 's')('a', async () => number)));
    expect(new Set(results).size).toBe(1);
  });
  it('forgets after its time', async () => {
    await fixture.store.journal.record('short', '1', JOURNAL_TTL_MS);
    const found = await fixture.connection.db.collection('observer_journal').findOne({ _id: 'short' as never });
    expect(found?.expiresAt.getTime() - found?.at.getTime()).toBe(JOURNAL_TTL_MS);
    const indexes = await fixture.connection.db.collection('observer_journal').indexes();
    expect(indexes.find(({ name }) => name === 'expiry')).toMatchObject({ expireAfterSeconds: 0 });
  });
});

describe('a rate', () => {
  it('lets so many begin at once, and the others when the first are over for so long', async () => {
    const id = randomUUID();
    const rate = { count: 3, perMs: 600_000 };
    const take = () => fixture.store.rateLimits.take(id, rate, 3_600_000);
    const places = await Promise.all(Array.from({ length: 7 }, take));
    const waits = places.map(({ waitMs }) => waitMs).sort((a, b) => a - b);
    // Calls that come together are stamped in another order than they are written.
    for (const waitMs of waits.slice(0, 3)) expect(waitMs).toBeLessThan(300_000);
    for (const waitMs of waits.slice(3, 6)) expect(waitMs).toBeGreaterThan(300_000);
    for (const waitMs of waits.slice(3, 6)) expect(waitMs).toBeLessThanOrEqual(600_000);
    expect(waits[6]).toBeGreaterThan(900_000);
  });
  it('takes no place that is further away than asked for', async () => {
    const id = randomUUID();
    const rate = { count: 1, perMs: 600_000 };
    expect(await fixture.store.rateLimits.take(id, rate, 0)).toEqual({ taken: true, waitMs: 0 });
    expect(await fixture.store.rateLimits.take(id, rate, 1_000)).toMatchObject({ taken: false });
    expect(await fixture.store.rateLimits.take(id, rate, 1_000)).toMatchObject({ taken: false });
    expect((await fixture.store.rateLimits.take(id, rate, 3_600_000)).waitMs).toBeLessThanOrEqual(600_000);
  });
});

describe('records of alerts', () => {
  const letters = () => fixture.connection.db.collection<DeadLetterDocument>('dead_letters');
  const dead = (key: string, fingerprint: string, at: Date): DeadLetterDocument => ({
    _id: key,
    logId: 'main',
    consumer: 'notify',
    consumerKind: 'observer',
    generation: 1,
    version: 1,
    partition: 0,
    key,
    state: 'DEAD',
    input: 'event',
    position: 7,
    eventId: 'e',
    inputType: 'Counted',
    correlationId: null,
    attempts: 5,
    maxAttempts: 5,
    delivery: 0,
    error: { code: 'HANDLER_FAILED', type: 'Error', message: 'no', stack: null, fingerprint },
    parkedCount: 2,
    firstFailedAt: at,
    lastFailedAt: at,
    nextAttemptAt: null,
  });
  const only = async (fingerprint: string): Promise<DeadGroup> => {
    const group = (await fixture.store.alerts.groups()).find((one) => one.fingerprint === fingerprint);
    if (group === undefined) throw new Error(`no group ${fingerprint}`);
    return group;
  };

  it('are one for each consumer and cause', async () => {
    const at = new Date();
    await letters().insertMany([dead('g1', 'fa', at), dead('g2', 'fa', at), dead('g3', 'fb', at)]);
    await letters().insertOne({ ...dead('g4', 'fc', at), state: 'RETRYING' });
    const groups = await fixture.store.alerts.groups();
    expect(groups.map(({ fingerprint, count, parkedCount }) => [fingerprint, count, parkedCount]).sort()).toEqual([
      ['fa', 2, 4],
      ['fb', 1, 2],
    ]);
  });
  it('are claimed by one, stay silent for the window, and are told again after it only when there are more', async () => {
    const { alerts } = fixture.store;
    await letters().insertOne(dead('w1', 'fw', new Date(1_000)));
    const id = randomUUID();
    const first = await only('fw');
    const claims = await Promise.all([1, 2, 3].map(() => alerts.claim(id, first, 30_000)));
    expect(claims.filter(Boolean)).toHaveLength(1);
    await alerts.told(id, first, 1);
    expect(await alerts.claim(id, first, 30_000)).toBe(false);
    await letters().insertOne(dead('w2', 'fw', new Date(2_000)));
    const second = await only('fw');
    await until('it may be told again', async () => (await alerts.claim(id, second, 30_000)) || undefined);
    await alerts.told(id, second, 60_000);
    await letters().insertOne(dead('w3', 'fw', new Date(3_000)));
    expect(await alerts.claim(id, await only('fw'), 30_000)).toBe(false);
  });
  it('are claimed anew when the message was not taken', async () => {
    const { alerts } = fixture.store;
    await letters().insertOne(dead('n1', 'fn', new Date(1_000)));
    const id = randomUUID();
    const group = await only('fn');
    expect(await alerts.claim(id, group, 30_000)).toBe(true);
    expect(await alerts.claim(id, group, 30_000)).toBe(false);
    await alerts.failed(id, 0);
    await until('it may be claimed', async () => (await alerts.claim(id, group, 30_000)) || undefined);
  });
});
