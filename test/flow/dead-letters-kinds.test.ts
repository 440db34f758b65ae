import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { aggregate, event, type Module, module, NonRetryableError, projector, view } from '../../src/index.ts';
import type { DeadLetterDocument } from '../../src/store/documents.ts';
import { deadLettersOf, retryQueue } from '../setup/dead-letters.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import type { Bug, TestWorker } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

const workers: TestWorker[] = [];
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});
async function startWorker(fixture: DeliveryFixture, ...args: Parameters<DeliveryFixture['startWorker']>) {
  const worker = await fixture.startWorker(...args);
  workers.push(worker);
  return worker;
}
const soon = { attempts: 4, backoff: { type: 'exponential', delayMs: 100, maxDelayMs: 300, jitter: 0 } } as const;

const cycle: Record<string, unknown> = { code: 'E' };
cycle.self = cycle;
const cyclicError = Object.assign(new Error('cycle'), { cause: cycle, cycle });
const hostile = new Proxy(new Error('hidden'), {
  get(target, name) {
    if (name === 'message' || name === 'stack' || name === 'name') throw new Error('do not look');
    return Reflect.get(target, name);
  },
});

describe('whatever a handler throws', async () => {
  const fixture = await deliveryFixture();
  const dead = deadLettersOf(fixture);
  const thrown = [
    { what: 'a string', value: 'a word', type: 'string', message: 'a word' },
    { what: 'undefined', value: undefined, type: 'undefined', message: 'undefined' },
    { what: 'null', value: null, type: 'null', message: 'null' },
    { what: 'a symbol', value: Symbol('s'), type: 'symbol', message: 'Symbol(s)' },
    { what: 'an object with a cycle', value: cycle, type: 'object', message: 'an object that cannot be shown' },
    { what: 'an error with a cycle', value: cyclicError, type: 'Error', message: 'cycle' },
    { what: 'an error of 10 MB', value: new Error('x'.repeat(10_000_000)), type: 'Error', message: /^x{1999}…$/ },
    { what: 'an error that does not let itself be looked at', value: hostile, type: 'Error', message: '' },
    {
      what: 'half of a character',
      value: new RangeError(`\ud800${'y'.repeat(5)}`),
      type: 'RangeError',
      message: '\ufffdyyyyy',
    },
  ];

  it('becomes a record of bounded size, and the other keys go on', async () => {
    const bug: Bug = { breaks: ({ by }) => by >= 100, throws: (by) => thrown[by - 100]?.value, retry: { attempts: 1 } };
    await startWorker(fixture, { bug });
    await fixture.append(thrown.map((_, i) => fixture.count(`t${i}`, 100 + i)));
    await fixture.append([fixture.count('fine', 1)]);
    for (const [i, { what, type, message }] of thrown.entries()) {
      const { error, ...record } = await dead.until(what, `t${i}`, ({ state }) => state === 'DEAD');
      expect(record, what).toMatchObject({ attempts: 1, maxAttempts: 1 });
      expect(error, what).toMatchObject({
        type,
        code: 'HANDLER_FAILED',
        fingerprint: expect.stringMatching(/^[0-9a-f]{16}$/),
      });
      expect(error.message, what).toEqual(typeof message === 'string' ? message : expect.stringMatching(message));
      expect(error.stack?.length ?? 0, what).toBeLessThanOrEqual(4_000);
    }
    await until('the other key', async () => ((await fixture.documents()).has('fine') ? true : undefined));
  });
});

describe('how often it is tried', async () => {
  const fixture = await deliveryFixture();
  const dead = deadLettersOf(fixture);
  const queue = retryQueue(fixture);

  it('once for a NonRetryableError, and once for what the predicate refuses', async () => {
    const bug: Bug = {
      breaks: ({ by }) => by === 1 || by === 2,
      throws: (by) => (by === 1 ? new NonRetryableError('never') : new RangeError('no use')),
      retry: { ...soon, retryable: (error) => !(error instanceof RangeError) },
    };
    await startWorker(fixture, { bug });
    await fixture.append([fixture.count('never', 1), fixture.count('refused', 2)]);
    expect(await dead.until('the end', 'never', ({ state }) => state === 'DEAD')).toMatchObject({ attempts: 1 });
    expect(await dead.until('the end', 'refused', ({ state }) => state === 'DEAD')).toMatchObject({ attempts: 1 });
    await until('both rest in BullMQ', async () => ((await queue.getFailedCount()) === 2 ? true : undefined));
  });

  it('never by a handler for an event that does not parse: dead at once, with the issues of its schema', async () => {
    await startWorker(fixture);
    await fixture.append([fixture.commit('bad', [{ type: 'Counted', data: { by: 'many' } }])]);
    const record = await dead.until('the end', 'bad', () => true);
    expect(record).toMatchObject({ state: 'DEAD', attempts: 0, error: { code: 'EVENT_INVALID' }, nextAttemptAt: null });
  });

  it('with delays that double up to their cap', async () => {
    const changes = dead.letters.watch([{ $match: { 'documentKey._id': dead.idOf('later') } }]);
    // The stream is open when it was asked.
    await changes.tryNext();
    await startWorker(fixture, { bug: { breaks: ({ by }) => by === 3, retry: soon } });
    await fixture.append([fixture.count('later', 3)]);
    const tries: DeadLetterDocument[] = [];
    // A record is written as a whole, after each try.
    await until(
      'the last try',
      async () => {
        const change = await changes.tryNext();
        if (change !== null && 'fullDocument' in change && change.fullDocument) tries.push(change.fullDocument);
        return tries.at(-1)?.state === 'DEAD' || undefined;
      },
      { seen: () => tries.map(({ attempts, state }) => `${attempts} ${state}`) },
    );
    await changes.close();
    expect(tries.map(({ attempts }) => attempts)).toEqual([1, 2, 3, 4]);
    const delays = tries.map((one) => one.nextAttemptAt && one.nextAttemptAt.getTime() - one.lastFailedAt.getTime());
    expect(delays).toEqual([100, 200, 300, null]);
    for (const [i, { lastFailedAt }] of tries.slice(1).entries())
      expect(lastFailedAt.getTime()).toBeGreaterThanOrEqual((tries[i]?.nextAttemptAt?.getTime() ?? Infinity) - 60);
  });

  it('again and again with attempts: forever', async () => {
    let broken = true;
    const forever = { attempts: 'forever', backoff: { type: 'fixed', delayMs: 50 } } as const;
    await startWorker(fixture, { bug: { breaks: ({ by }) => broken && by === 4, retry: forever } });
    await fixture.append([fixture.count('stubborn', 4)]);
    const record = await dead.until('many tries', 'stubborn', ({ attempts }) => attempts > 8);
    expect(record).toMatchObject({ state: 'RETRYING', maxAttempts: null });
    broken = false;
    await dead.healed('stubborn');
    expect((await fixture.documents()).get('stubborn')).toMatchObject({ total: 4, count: 1 });
  });
});

/** The same module before and after an upcaster was written. */
function versions(second: boolean): Module {
  const Counted = second
    ? event(z.object({ by: z.int(), unit: z.string() }), {
        version: 2,
        upcast: { 1: (old) => ({ ...old, unit: 'piece' }) },
      })
    : event(z.object({ by: z.int(), unit: z.string() }), { version: 1 });
  const stock = aggregate({
    name: 'counter',
    events: { Counted },
    commands: { Count: z.object({ by: z.int() }) },
    initial: () => null,
    evolve: { Counted: () => null },
    decide: { Count: (_state, { by }) => ({ type: 'Counted', data: { by, unit: 'piece' } }) },
  });
  const stockView = view('counter', z.object({ id: z.string(), units: z.array(z.string()) }));
  const counters = projector({
    name: 'counters',
    version: 1,
    from: [stock],
    into: stockView,
    on: { Counted: (doc, { stream, data }) => ({ id: stream.id, units: [...(doc?.units ?? []), data.unit] }) },
  });
  return module({ name: 'stock', parts: [stock, stockView, counters] });
}

describe('a dead letter of an old event', async () => {
  const fixture = await deliveryFixture();
  const dead = deadLettersOf(fixture);

  it('is healed by deploying an upcaster, not by touching data', async () => {
    const old = await startWorker(fixture, { modules: [versions(false)] });
    await fixture.append([fixture.commit('k', [{ type: 'Counted', data: { by: 1 } }])]);
    const record = await dead.until('it does not parse', 'k', ({ state }) => state === 'DEAD');
    expect(record).toMatchObject({ attempts: 0, error: { code: 'EVENT_INVALID' } });
    await old.stop();
    const worker = await startWorker(fixture, { modules: [versions(true)] });
    await dead.release(worker, 'k');
    await dead.healed('k');
    expect((await fixture.documents()).get('k')).toMatchObject({ units: ['piece'], _version: 1 });
  });

  it('of a type or version that only newer code knows is tried for ever, and at once by a process that knows it', async () => {
    const old = await startWorker(fixture, { modules: [versions(false)] });
    const newer = fixture.commit('n', [{ type: 'Counted', data: { by: 1, unit: 'box' } }]);
    await fixture.append([{ ...newer, events: newer.events.map((one) => ({ ...one, schemaVersion: 2 })) }]);
    const record = await dead.until('it is not known', 'n', () => true);
    expect(record).toMatchObject({ state: 'RETRYING', maxAttempts: null, error: { code: 'UNKNOWN_EVENT' } });
    await fixture.append([fixture.commit('other', [{ type: 'Counted', data: { by: 1, unit: 'bag' } }])]);
    await until('other keys go on', async () => ((await fixture.documents()).has('other') ? true : undefined));
    await old.stop();
    await startWorker(fixture, { modules: [versions(true)] });
    await dead.healed('n');
    expect((await fixture.documents()).get('n')).toMatchObject({ units: ['box'] });
  });
});
