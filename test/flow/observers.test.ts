import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { module, type ObserveContext, observer } from '../../src/index.ts';
import type { ConsumerDocument, DeadLetterDocument, PartitionDocument } from '../../src/store/documents.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { counter } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** What an observer does with the log: order, failures, deadlines, replays, breaker, rate, stop. */
interface Seen {
  readonly id: string;
  readonly by: number;
  readonly ctx: ObserveContext;
}
type Options = Partial<Parameters<typeof observer<readonly [typeof counter]>>[0]>;
type Handle = (seen: Seen) => unknown;

const fast = { backoff: { delayMs: 50, jitter: 0 } } as const;
/** The counters and an observer of them that starts at the start, unless it says otherwise. */
function watching(handle: Handle, options: Options = {}) {
  const notify = observer({
    name: 'notify',
    from: [counter],
    startFrom: 'start',
    ...fast,
    ...options,
    on: { Counted: async ({ stream, data }, ctx) => void (await handle({ id: stream.id, by: data.by, ctx })) },
  });
  return [module({ name: 'watched', parts: [counter, notify] })];
}

const partitionsOf = (fixture: DeliveryFixture) => fixture.connection.db.collection<PartitionDocument>('partitions');
const lettersOf = async (fixture: DeliveryFixture) =>
  fixture.connection.db.collection<DeadLetterDocument>('dead_letters').find().toArray();
const consumerOf = async (fixture: DeliveryFixture) =>
  fixture.connection.db.collection<ConsumerDocument>('consumers').findOne({ _id: 'main/notify/1' });

/** Every partition has passed the end of the log. */
async function level(fixture: DeliveryFixture, end: number, timeoutMs = 60_000): Promise<void> {
  let seen: unknown;
  await until(
    `the observer is level with ${end}`,
    async () => {
      const found = await partitionsOf(fixture).find().toArray();
      seen = found.map(({ checkpoint }) => checkpoint);
      return found.length === 16 && found.every(({ checkpoint }) => checkpoint >= end) ? true : undefined;
    },
    { timeoutMs, seen: () => seen },
  );
}

describe.concurrent('an observer', () => {
  it('gets the events of a key one after the other, and those of different keys side by side', async () => {
    const fixture = await deliveryFixture();
    const order = new Map<string, number[]>();
    const running = new Set<string>();
    let most = 0;
    const modules = watching(async ({ id, by }) => {
      expect(running.has(id)).toBe(false);
      running.add(id);
      most = Math.max(most, running.size);
      await wait(Math.random() * 5);
      running.delete(id);
      order.set(id, [...(order.get(id) ?? []), by]);
    });
    const numbers = Array.from({ length: 200 }, (_, index) => index);
    for (let from = 0; from < 200; from += 8) {
      await fixture.append(numbers.slice(from, from + 8).map((by) => fixture.count(`k${by % 8}`, by)));
    }
    await fixture.startWorker({ modules });
    await level(fixture, 200);
    for (const [key, seen] of order) expect(seen).toEqual(numbers.filter((by) => `k${by % 8}` === key));
    expect([...order.values()].flat()).toHaveLength(200);
    expect(most).toBeGreaterThan(3);
  });

  it('starts at the end of the log unless asked: nobody gets mail of a year ago', async () => {
    const fixture = await deliveryFixture();
    const seen: number[] = [];
    await fixture.append(Array.from({ length: 100 }, (_, index) => fixture.count(`k${index}`, index)));
    const first = await fixture.startWorker({ modules: [module({ name: 'none', parts: [counter] })] });
    await until('all are placed', async () => ((await fixture.store.log.end()) === 100 ? true : undefined));
    await first.stop();
    await fixture.startWorker({ modules: watching(({ by }) => seen.push(by), { startFrom: 'now' }) });
    await until('its generation', () => consumerOf(fixture).then((found) => found ?? undefined));
    await fixture.append([fixture.count('new', 1_000)]);
    await level(fixture, 101);
    expect(seen).toEqual([1_000]);
  });

  it('does not wait for a key whose handler hangs, not even in the same partition', async () => {
    const fixture = await deliveryFixture();
    const seen = new Set<string>();
    let aborted = false;
    const modules = watching(({ id, ctx }) => {
      seen.add(id);
      if (id !== 'k0') return undefined;
      ctx.signal.addEventListener('abort', () => {
        aborted = true;
      });
      return new Promise(() => undefined);
    });
    await fixture.append([fixture.count('k0')]);
    await fixture.append(Array.from({ length: 300 }, (_, index) => fixture.count(`k${index + 1}`)));
    const worker = await fixture.startWorker({ modules });
    await until('all keys but one', () => (seen.size === 301 ? true : undefined), { seen: () => seen.size });
    await until('all partitions but one', async () =>
      (await partitionsOf(fixture).countDocuments({ checkpoint: 0 })) === 1 ? true : undefined,
    );
    await worker.stop();
    expect(aborted).toBe(true);
    expect(await lettersOf(fixture)).toEqual([]);
  });

  it('is tried again by its back-off, with the number of the attempt and the same key; what comes later waits', async () => {
    const fixture = await deliveryFixture();
    const tries: string[] = [];
    const keys = new Set<string>();
    const modules = watching(({ id, by, ctx }) => {
      tries.push(`${id} ${by} ${ctx.attempt}`);
      if (by !== 666) return;
      keys.add(ctx.idempotencyKey);
      if (ctx.attempt < 3) throw new Error('no');
    });
    for (const by of [1, 666, 3, 4]) await fixture.append([fixture.count('bad', by)]);
    await fixture.append([fixture.count('good', 1)]);
    await fixture.startWorker({ modules });
    await until('the last of the failing key', () => (tries.includes('bad 4 1') ? true : undefined), {
      seen: () => tries,
    });
    await level(fixture, 5);
    await until('no dead letters', async () => ((await lettersOf(fixture)).length === 0 ? true : undefined));
    const ofBad = tries.filter((one) => one.startsWith('bad'));
    expect(ofBad).toEqual(['bad 1 1', 'bad 666 1', 'bad 666 2', 'bad 666 3', 'bad 3 1', 'bad 4 1']);
    expect(tries.filter((one) => one === 'good 1 1')).toHaveLength(1);
    expect([...keys]).toEqual([expect.stringMatching(/^main\/notify\/[0-9a-f-]{36}$/)]);
    expect(tries.indexOf('good 1 1')).toBeLessThan(tries.indexOf('bad 666 3'));
  });

  it('is dead when its attempts are used up, and its key is parked', async () => {
    const fixture = await deliveryFixture();
    const modules = watching(
      ({ id }) => {
        if (id === 'bad') throw new Error('never');
      },
      { attempts: 2 },
    );
    await fixture.append([fixture.count('bad', 1)]);
    await fixture.append([fixture.count('bad', 2)]);
    await fixture.append([fixture.count('good', 1)]);
    await fixture.startWorker({ modules });
    const letter = await until('a dead one', async () =>
      (await lettersOf(fixture)).find(({ state }) => state === 'DEAD'),
    );
    await level(fixture, 3);
    expect(letter).toMatchObject({
      consumer: 'notify',
      consumerKind: 'observer',
      key: 'bad',
      position: 1,
      attempts: 2,
    });
    await until('its parked event', async () => ((await lettersOf(fixture))[0]?.parkedCount === 1 ? true : undefined));
  });

  it('that keeps no order holds back nothing but the event that fails', async () => {
    const fixture = await deliveryFixture();
    const seen: number[] = [];
    const modules = watching(
      ({ by }) => {
        if (by === 1) throw new Error('never');
        seen.push(by);
      },
      { attempts: 1, ordered: false },
    );
    for (const by of [1, 2, 3]) await fixture.append([fixture.count('one', by)]);
    await fixture.startWorker({ modules });
    await level(fixture, 3);
    expect(seen.sort()).toEqual([2, 3]);
    expect(await lettersOf(fixture)).toEqual([expect.objectContaining({ state: 'DEAD', position: 1, parkedCount: 0 })]);
  });

  it('that never settles is aborted at its deadline, left behind, and dead in the end', async () => {
    const fixture = await deliveryFixture();
    const reasons: unknown[] = [];
    const seen: string[] = [];
    const modules = watching(
      ({ id, ctx }) => {
        seen.push(id);
        if (id !== 'stuck') return undefined;
        ctx.signal.addEventListener('abort', () => reasons.push(ctx.signal.reason));
        return new Promise(() => undefined);
      },
      { attempts: 2, timeoutMs: 100 },
    );
    await fixture.append([fixture.count('stuck')]);
    await fixture.append([fixture.count('other')]);
    await fixture.startWorker({ modules });
    const letter = await until('a dead one', async () =>
      (await lettersOf(fixture)).find(({ state }) => state === 'DEAD'),
    );
    expect(letter.error.code).toBe('OBSERVER_TIMED_OUT');
    expect(letter.attempts).toBe(2);
    expect(reasons).toEqual(Array(2).fill(expect.objectContaining({ code: 'OBSERVER_TIMED_OUT' })));
    await level(fixture, 2);
    expect(seen).toContain('other');
  });

  it('runs what it runs once only once, over its tries', async () => {
    const fixture = await deliveryFixture();
    let sent = 0;
    const results: unknown[] = [];
    const modules = watching(async ({ ctx }) => {
      results.push(await ctx.once('mail', () => ({ number: ++sent })));
      if (ctx.attempt < 3) throw new Error('after the mail');
    });
    await fixture.append([fixture.count('a')]);
    await fixture.startWorker({ modules });
    await until('three tries', () => (results.length === 3 ? true : undefined));
    expect(sent).toBe(1);
    expect(results).toEqual(Array(3).fill({ number: 1 }));
  });

  it('is aborted when its process stops, and the event comes again with the same key, as the same attempt', async () => {
    const fixture = await deliveryFixture();
    const tries: { readonly key: string; readonly attempt: number }[] = [];
    const hangs = watching(({ ctx }) => {
      tries.push({ key: ctx.idempotencyKey, attempt: ctx.attempt });
      return new Promise((_, reject) => ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason)));
    });
    await fixture.append([fixture.count('a')]);
    const worker = await fixture.startWorker({ modules: hangs });
    await until('the first try', () => tries[0]);
    await worker.stop();
    expect(await lettersOf(fixture)).toEqual([]);
    await fixture.startWorker({
      modules: watching(({ ctx }) => void tries.push({ key: ctx.idempotencyKey, attempt: ctx.attempt })),
    });
    await level(fixture, 1);
    expect(tries).toHaveLength(2);
    expect(tries[1]).toEqual({ key: tries[0]?.key, attempt: 1 });
  });
});

describe.concurrent('a replay', () => {
  const COUNT = 2_000;
  /** As an operator's reset to the start leaves it, while nothing runs. */
  async function reset(fixture: DeliveryFixture): Promise<void> {
    await partitionsOf(fixture).updateMany({}, { $set: { checkpoint: 0 }, $inc: { revision: 1 } });
    const consumers = fixture.connection.db.collection<ConsumerDocument>('consumers');
    await consumers.updateOne({ _id: 'main/notify/1' }, { $set: { replayUntil: COUNT } });
  }
  async function replayed(options: Options) {
    const fixture = await deliveryFixture();
    const keys: string[] = [];
    const modules = watching(({ ctx }) => keys.push(ctx.idempotencyKey), { concurrency: 100, ...options });
    await fixture.append(Array.from({ length: COUNT }, (_, index) => fixture.count(`k${index % 100}`, index)));
    const first = await fixture.startWorker({ modules });
    await level(fixture, COUNT);
    await first.stop();
    const before = keys.splice(0);
    await reset(fixture);
    await fixture.startWorker({ modules });
    await level(fixture, COUNT);
    await fixture.append([fixture.count('new', 1)]);
    await level(fixture, COUNT + 1);
    return { before, after: keys };
  }

  it('sends nothing a second time, and goes on with what is new', async () => {
    const { before, after } = await replayed({});
    expect(new Set(before).size).toBe(COUNT);
    expect(before).toHaveLength(COUNT);
    expect(after).toHaveLength(1);
  });
  it('runs everything again where the observer says so, with the keys of the first time', async () => {
    const { before, after } = await replayed({ replays: true });
    expect(after).toHaveLength(COUNT + 1);
    expect(new Set([...before, ...after]).size).toBe(COUNT + 1);
  });
});

describe('a breaker', () => {
  it('stops the tries while the other side is down, shows it, and closes by itself when it is back', async () => {
    const fixture = await deliveryFixture();
    let down = true;
    let tries = 0;
    const delivered = new Set<string>();
    const modules = watching(
      ({ ctx }) => {
        tries++;
        if (down) throw new Error('503');
        delivered.add(ctx.idempotencyKey);
      },
      { attempts: 3, breaker: { failures: 5, pauseMs: 300 } },
    );
    await fixture.append(Array.from({ length: 60 }, (_, index) => fixture.count(`k${index}`)));
    await fixture.startWorker({ modules });
    const record = await until(
      'an open breaker',
      async () => Object.values((await consumerOf(fixture))?.breakers ?? {})[0],
    );
    expect(record).toMatchObject({ state: expect.stringMatching(/OPEN/), message: '503' });
    expect(record.failureCount).toBeGreaterThanOrEqual(5);
    await until('three more pauses', async () => {
      const [now] = Object.values((await consumerOf(fixture))?.breakers ?? {});
      return now !== undefined && now.until.getTime() > record.until.getTime() + 900 ? true : undefined;
    });
    // One try each 300 ms, and those that were under way when it opened.
    const openMs = Date.now() - record.since.getTime();
    expect(tries).toBeLessThanOrEqual(5 + 10 + Math.ceil(openMs / 300) + 1);
    expect((await lettersOf(fixture)).filter(({ state }) => state === 'DEAD')).toEqual([]);
    down = false;
    await until('all are delivered', () => (delivered.size === 60 ? true : undefined), { seen: () => delivered.size });
    await until('it is closed', async () =>
      Object.keys((await consumerOf(fixture))?.breakers ?? {}).length === 0 ? true : undefined,
    );
    await until('no dead letters', async () => ((await lettersOf(fixture)).length === 0 ? true : undefined));
  });
});

describe('a rate limit', () => {
  it('holds over all processes', async () => {
    const fixture = await deliveryFixture();
    const starts: number[] = [];
    const keys = new Set<string>();
    const handle: Handle = ({ ctx }) => {
      starts.push(performance.now());
      keys.add(ctx.idempotencyKey);
    };
    const modules = watching(handle, {
      ordered: false,
      rateLimit: { count: 5, perMs: 500 },
    });
    await Promise.all([fixture.startWorker({ modules }), fixture.startWorker({ modules })]);
    const begunMs = performance.now();
    await fixture.append(Array.from({ length: 30 }, (_, index) => fixture.count(`k${index}`)));
    await until('all', () => (keys.size === 30 ? true : undefined), { seen: () => keys.size });
    starts.sort((a, b) => a - b);
    // A start may be later than its place in line, never earlier; the first place is not before the first event.
    for (const [index, start] of starts.entries()) {
      expect(start - begunMs).toBeGreaterThan(Math.floor(index / 5) * 500 - 20);
    }
    await level(fixture, 30);
  });
});
