import { setMaxListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { delayAfterMs, mayRetry, retryPolicy } from '../../src/define/retry-policy.ts';
import { inDeadline } from '../../src/engine/concurrency/in-deadline.ts';
import { Slots } from '../../src/engine/concurrency/slots.ts';
import { type BreakerState, ObserverBreaker } from '../../src/engine/observers/observer-breaker.ts';
import { type TaskOutcome, TaskWindow, type WindowTask } from '../../src/engine/observers/task-window.ts';
import { MillraceError, NonRetryableError, RetryAfterError } from '../../src/errors.ts';
import type { LogDocument } from '../../src/store/documents.ts';

const never = new AbortController().signal;
setMaxListeners(0, never);
const taskAt = (position: number, key: string): WindowTask => {
  const document = { _id: position, id: `e${position}`, type: 'Counted' } as LogDocument;
  return { document, event: undefined, key };
};

describe('the tasks of a partition that are in hand', () => {
  const windowOf = (...keys: string[]) => {
    const window = new TaskWindow(50);
    for (const [index, key] of keys.entries()) window.add(taskAt(index + 1, key));
    return window;
  };
  const none = (): boolean => false;
  const positions = (tasks: readonly WindowTask[]) => tasks.map(({ document }) => document._id);
  const told = (outcomes: readonly TaskOutcome[]) => outcomes.map(({ kind, task }) => `${task.document._id} ${kind}`);
  const taken = (window: TaskWindow, blocked: (key: string) => boolean = none) => told(window.takeSettled(blocked));

  it('begin side by side for different keys and one after the other for one key', () => {
    const window = windowOf('a', 'a', 'b');
    const [first, third] = window.begin(none);
    expect(positions([first as never, third as never])).toEqual([1, 3]);
    expect(window.begin(none)).toEqual([]);
    window.done(first as never);
    expect(positions(window.begin(none))).toEqual([2]);
    window.done(third as never);
    expect(window.begunCount).toBe(1);
  });
  it('are written from the start on: a slow one holds back what is written, not what runs', () => {
    const window = windowOf('a', 'b', 'c');
    const [a, b, c] = window.begin(none);
    window.done(b as never);
    window.done(c as never);
    expect(taken(window)).toEqual([]);
    window.done(a as never);
    expect(taken(window)).toEqual(['1 done', '2 done', '3 done']);
    expect(window.size).toBe(0);
  });
  it('park the later ones of a key that failed, and no others', () => {
    const window = windowOf('a', 'a', 'b', 'a');
    const [a, b] = window.begin(none);
    window.failed(a as never, new Error('no'));
    expect(window.begin(none)).toEqual([]);
    window.done(b as never);
    expect(taken(window)).toEqual(['1 failed', '2 parked', '3 done', '4 parked']);
  });
  it('park those of a key that is blocked, and run them when it was let go before they were written', () => {
    const window = windowOf('b', 'a');
    const isA = (key: string): boolean => key === 'a';
    const [b] = window.begin(isA);
    expect(taken(window, isA)).toEqual([]);
    expect(positions(window.begin(none))).toEqual([2]);
    window.done(b as never);
    expect(taken(window)).toEqual(['1 done']);
  });
  it('begin again when they were not tried, and forget what comes late after they were thrown away', () => {
    const window = windowOf('a');
    const [a] = window.begin(none);
    window.again(a as never);
    expect(positions(window.begin(none))).toEqual([1]);
    window.clear();
    window.done(a as never);
    expect(taken(window)).toEqual([]);
    expect(window.begunCount).toBe(0);
  });
  it('are not done again when only what was to be written of them was lost', () => {
    const window = windowOf('a', 'a', 'b');
    const [a, b] = window.begin(none);
    window.failed(a as never, new Error('no'));
    window.restore(window.takeSettled(none));
    expect(window.begin(none)).toEqual([]);
    window.done(b as never);
    expect(taken(window)).toEqual(['1 failed', '2 parked', '3 done']);
  });
  it('are left to others where nothing has begun after them', () => {
    const window = windowOf('a', 'b', 'c', 'd');
    const [a, b] = window.begin(none);
    window.running(b as never);
    expect(window.dropTrailing()).toBe(2);
    window.again(a as never);
    expect(positions(window.begin(none))).toEqual([1]);
    window.done(a as never);
    window.done(b as never);
    expect(taken(window)).toEqual(['1 done', '2 done']);
  });
  it('tell whether others moved on: what they wrote was not ours to write', () => {
    const window = windowOf('a', 'b');
    const [a] = window.begin(none);
    window.done(a as never);
    window.restore(window.takeSettled(none));
    expect(window.dropUpTo(1)).toBe(true);
    expect(window.firstPosition).toBe(2);
    expect(window.dropUpTo(2)).toBe(false);
  });
});

describe('places for handlers', () => {
  it('are never all taken by one partition when others come', async () => {
    const slots = new Slots(8);
    const taken: number[] = [];
    const take = async (partition: number) => {
      const giveBack = await slots.take(partition, never);
      taken.push(partition);
      return giveBack;
    };
    const slow = Array.from({ length: 20 }, () => take(1));
    await Promise.all(slow.slice(0, 6));
    await take(2);
    expect(taken.filter((partition) => partition === 1)).toHaveLength(6);
    expect(taken).toContain(2);
    (await slow[0])?.();
    // One is given back, and the quarter for others is still theirs.
    await take(3);
    expect(slots.heldCount).toBe(7);
  });
  it('serve one handler at a time when there is one place', async () => {
    const slots = new Slots(1);
    const first = await slots.take(1, never);
    let second = false;
    const waiting = slots.take(1, never).then((giveBack) => {
      second = true;
      giveBack?.();
    });
    expect(second).toBe(false);
    first?.();
    await waiting;
    expect(slots.heldCount).toBe(0);
  });
  it('are left by those whose wait was ended', async () => {
    const slots = new Slots(1);
    const first = await slots.take(1, never);
    const stop = new AbortController();
    const waiting = slots.take(2, stop.signal);
    stop.abort();
    expect(await waiting).toBeUndefined();
    first?.();
    expect(slots.heldCount).toBe(0);
  });
});

describe('a deadline', () => {
  const reason = (): Error => new Error('too late');
  it('aborts the signal and leaves behind what never settles', async () => {
    let seen: unknown;
    const end = await inDeadline(
      (signal) =>
        new Promise<never>(() => {
          signal.addEventListener('abort', () => {
            seen = signal.reason;
          });
        }),
      { timeoutMs: 20, stop: never, reason },
    );
    expect(end).toEqual({ kind: 'late' });
    expect(seen).toEqual(reason());
  });
  it('is met by a handler that ends well when its signal aborts', async () => {
    const end = await inDeadline(
      (signal) => new Promise<string>((resolve) => signal.addEventListener('abort', () => resolve('in time'))),
      { timeoutMs: 20, stop: never, reason },
    );
    expect(end).toEqual({ kind: 'ok', value: 'in time' });
  });
  it('is told apart from a process that stops, also when the handler throws because of that', async () => {
    const stop = new AbortController();
    const run = (signal: AbortSignal): Promise<never> =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    const ending = inDeadline(run, { timeoutMs: 10_000, stop: stop.signal, reason });
    stop.abort();
    expect(await ending).toEqual({ kind: 'stopped' });
  });
  it.each(['text', undefined, null])('takes whatever is thrown: %s', async (thrown) => {
    const throws = (): never => {
      throw thrown;
    };
    expect(await inDeadline(throws, { timeoutMs: 1_000, stop: never, reason })).toEqual({
      kind: 'error',
      error: thrown,
    });
  });
});

describe('a breaker', () => {
  const pauseMs = 30_000;
  // Its pauses end when the test says so.
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }));
  afterEach(() => void vi.useRealTimers());
  const waitFor = (ms: number) => vi.setSystemTime(Date.now() + ms);
  const breakerOf = () => {
    const states: (BreakerState | undefined)[] = [];
    const breaker = new ObserverBreaker<boolean>({
      failures: 3,
      pauseMs,
      isFailure: (good) => !good,
      onState: (state) => states.push(state),
    });
    const call = (good: boolean) => breaker.run(async () => good);
    return { breaker, call, states };
  };

  it('opens after failures in a row, begins nothing while open, and closes when one try works', async () => {
    const { breaker, call, states } = breakerOf();
    await call(false);
    await call(false);
    await call(true);
    for (let i = 0; i < 3; i++) expect(await call(false)).toMatchObject({ kind: 'ran', probe: false });
    expect(await call(true)).toMatchObject({ kind: 'refused' });
    waitFor(pauseMs - 1);
    expect(breaker.againInMs).toBe(1);
    expect(await call(true)).toMatchObject({ kind: 'refused' });
    waitFor(1);
    expect(breaker.againInMs).toBe(0);
    expect(await call(true)).toEqual({ kind: 'ran', result: true, probe: true });
    expect(await call(true)).toEqual({ kind: 'ran', result: true, probe: false });
    expect(states.map((state) => state?.state)).toEqual(['OPEN', 'HALF_OPEN', undefined]);
    expect(states[0]).toMatchObject({ failureCount: 3 });
  });
  it('stays open when the try fails, and keeps the time since when', async () => {
    const { call, states } = breakerOf();
    for (let i = 0; i < 3; i++) await call(false);
    waitFor(pauseMs);
    expect(await call(false)).toMatchObject({ kind: 'ran', probe: true });
    expect(await call(true)).toMatchObject({ kind: 'refused' });
    expect(states.map((state) => state?.state)).toEqual(['OPEN', 'HALF_OPEN', 'OPEN']);
    expect(states[2]?.since).toEqual(states[0]?.since);
  });
});

describe('what the outside world asks for', () => {
  const policy = retryPolicy({ backoff: { delayMs: 100, jitter: 0 } }, 'x');
  it('is waited for when it is longer than the back-off, up to a day', () => {
    expect(delayAfterMs(policy, 1, new Error('no'))).toBe(100);
    expect(delayAfterMs(policy, 1, new RetryAfterError('later', 5_000))).toBe(5_000);
    expect(delayAfterMs(policy, 1, new RetryAfterError('later', 1))).toBe(100);
    expect(delayAfterMs(policy, 1, new RetryAfterError('later', 1e12))).toBe(86_400_000);
    expect(delayAfterMs(policy, 1, new RetryAfterError('later', Number.NaN))).toBe(100);
  });
  it('is nothing where the error will not go away', () => {
    expect(mayRetry(policy, new NonRetryableError('gone'))).toBe(false);
    expect(mayRetry(policy, new MillraceError('OBSERVER_TIMED_OUT', 'late'))).toBe(true);
  });
});
