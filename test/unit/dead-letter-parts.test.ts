import { describe, expect, it } from 'vitest';
import { shapeOf, storedError } from '../../src/engine/log/error-record.ts';
import { deadLetterOf } from '../../src/engine/partitions/dead-letter.ts';
import { MillraceError } from '../../src/errors.ts';
import { buildModel, NonRetryableError } from '../../src/index.ts';
import { deadLetterId, parkedEventId } from '../../src/store/dead-letters.ts';
import { SideWrites } from '../../src/store/side-writes.ts';
import { cpuMs } from '../setup/cpu-time.ts';
import { counterModule } from '../setup/test-worker.ts';

const failAt = (message: string): Error => new Error(message);

describe('the fingerprint of an error', () => {
  it('is the same whatever numbers, ids and quoted texts the message holds', () => {
    const same = [
      'order 17 of "Ada" is unknown',
      'order 4711 of "Grace Hopper" is unknown',
      'order 3.5 of "" is unknown',
    ].map((message) => storedError(failAt(message)).fingerprint);
    expect(new Set(same).size).toBe(1);
    expect(shapeOf('user 6f9619ff-8b86-d011-b42d-00cf4fc964ff at 2026-11-21T10:00:00.000Z')).toBe('user # at #');
  });

  it('differs by type, by message and by the place in the code', () => {
    const other = (): Error => new Error('a message');
    const prints = [
      storedError(failAt('a message')),
      storedError(failAt('another message')),
      storedError(other()),
      storedError(Object.assign(failAt('a message'), { name: 'OrderError' })),
      storedError('a message'),
    ].map(({ fingerprint }) => fingerprint);
    expect(new Set(prints).size).toBe(prints.length);
  });

  it('is found in a moment in a message of many megabytes', () => {
    const startedAt = cpuMs();
    const { message } = storedError(new Error('"'.repeat(20_000_000)));
    expect(message).toHaveLength(2_000);
    expect(cpuMs() - startedAt).toBeLessThan(10_000);
  });

  it('keeps the issues of a schema', () => {
    const issues = [{ path: ['data', 0], message: 'must be a number' }];
    const error = new MillraceError('EVENT_INVALID', 'does not parse', { details: { issues } });
    expect(storedError(error)).toMatchObject({ code: 'EVENT_INVALID', type: 'MillraceError', issues });
  });
});

describe('the record of a try that failed', () => {
  const retry = { attempts: 3, backoff: { type: 'exponential', delayMs: 1_000, jitter: 0 } } as const;
  const consumer = buildModel([counterModule({ breaks: () => false, retry })]).consumers[0]!;
  const place = { logId: 'main', consumer, partition: 3, key: 'k' };
  const failed = (error: unknown) => ({
    ...({ input: 'event', position: 7, eventId: 'e', inputType: 'Counted', correlationId: 'c', error } as const),
  });
  const delayOf = ({ nextAttemptAt, lastFailedAt }: ReturnType<typeof deadLetterOf>): number =>
    (nextAttemptAt?.getTime() ?? Number.NaN) - lastFailedAt.getTime();

  it('counts tries up to the last one', () => {
    const first = deadLetterOf(place, failed(new Error('x')));
    expect(first).toMatchObject({ state: 'RETRYING', attempts: 1, parkedCount: 0, maxAttempts: 3 });
    expect(delayOf(first)).toBe(1_000);
    const second = deadLetterOf(place, failed(new Error('x')), { ...first, parkedCount: 5 });
    expect(second).toMatchObject({
      _id: first._id,
      state: 'RETRYING',
      attempts: 2,
      parkedCount: 5,
      delivery: first.delivery,
    });
    expect(second.firstFailedAt).toEqual(first.firstFailedAt);
    expect(delayOf(second)).toBe(2_000);
    expect(deadLetterOf(place, failed(new Error('x')), second)).toMatchObject({
      state: 'DEAD',
      attempts: 3,
      nextAttemptAt: null,
    });
  });

  it.each([
    { what: 'NonRetryableError', error: new NonRetryableError('x'), attempts: 1 },
    { what: 'an event that does not parse', error: new MillraceError('EVENT_INVALID', 'x'), attempts: 0 },
    { what: 'a handler that kills processes', error: new MillraceError('CRASHED', 'x'), attempts: 1 },
  ])('is dead at once for $what', ({ error, attempts }) => {
    expect(deadLetterOf(place, failed(error))).toMatchObject({ state: 'DEAD', attempts });
  });

  it('is tried for ever, and slowly, while nobody knows the event', () => {
    const before = { attempts: 100, delivery: 0, parkedCount: 0, firstFailedAt: new Date(0) };
    const record = deadLetterOf(place, failed(new MillraceError('UNKNOWN_EVENT', 'x')), before);
    expect(record).toMatchObject({ state: 'RETRYING', attempts: 101, maxAttempts: null });
    expect(delayOf(record)).toBe(30_000);
  });

  it('has an id that says nothing of the key and is the same everywhere; parked events sort by position', () => {
    const id = deadLetterId('main', { consumer: 'c', generation: 1 }, 'ada@example.org');
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect(deadLetterId('main', { consumer: 'c', generation: 2 }, 'ada@example.org')).not.toBe(id);
    expect([10, 9, 1_000].map((position) => parkedEventId(id, position)).sort()).toEqual(
      [9, 10, 1_000].map((position) => parkedEventId(id, position)),
    );
  });
});

describe('writes of a transaction beside documents', () => {
  const only = (side: SideWrites) => side.of('timers', 't');

  it('are one operation a document: later ones are merged into it', () => {
    const side = new SideWrites();
    side.put('timers', { _id: 't', ...{ a: 1 } });
    side.set('timers', 't', { b: 2 });
    expect(only(side)).toEqual({ kind: 'put', document: { _id: 't', a: 1, b: 2 } });
    side.remove('timers', 't');
    side.set('timers', 't', { c: 3 });
    expect(only(side)).toEqual({ kind: 'remove' });
    side.add('timers', { _id: 't' });
    expect(only(side)).toEqual({ kind: 'put', document: { _id: 't' } });
  });

  it('of several authors come together in order, with counters summed', () => {
    const [first, second] = [new SideWrites(), new SideWrites()];
    const counted = { _id: 'c', logId: 'l' };
    first.set('timers', 't', { a: 1, b: 1 });
    first.count('operation_parts', counted, { n: 1 });
    second.set('timers', 't', { b: undefined });
    second.count('operation_parts', counted, { n: 2 });
    first.merge(second);
    expect(only(first)).toEqual({ kind: 'set', fields: { a: 1, b: undefined } });
    expect(first.of('operation_parts', 'c')).toEqual({ kind: 'count', document: counted, increase: { n: 3 } });
    expect(new SideWrites().isEmpty).toBe(true);
  });
});
