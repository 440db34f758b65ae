import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { type PullSource, pullStream } from '../../src/engine/concurrency/pull-stream.ts';

/** A source that gives what was pushed into it, and says what happened to it. */
function pushable() {
  const items: (number | Error)[] = [];
  const seen = { started: 0, taken: 0, stopped: 0 };
  let wake = (): void => undefined;
  const start = (rouse: () => void): PullSource<number> => {
    seen.started++;
    wake = rouse;
    return {
      async take() {
        seen.taken++;
        const item = items.shift();
        if (item instanceof Error) throw item;
        return item;
      },
      stop() {
        seen.stopped++;
      },
    };
  };
  const push = (...more: (number | Error)[]): void => {
    items.push(...more);
    wake();
  };
  return { start, push, seen, items };
}

describe('a pull stream', () => {
  it('starts at the first next and takes nothing that nobody waits for', async () => {
    const source = pushable();
    const stream = pullStream(new AbortController().signal, source.start);
    expect(source.seen.started).toBe(0);
    source.items.push(1, 2, 3);
    expect(await stream.next()).toEqual({ done: false, value: 1 });
    expect(source.items).toEqual([2, 3]);
    await stream.return?.();
    expect(source.seen).toMatchObject({ started: 1, stopped: 1 });
  });

  it('ends at once when it is returned while it waits, and stops its source', async () => {
    const source = pushable();
    const stream = pullStream(new AbortController().signal, source.start);
    const waiting = [stream.next(), stream.next()];
    await stream.return?.();
    expect(await Promise.all(waiting)).toEqual([
      { done: true, value: undefined },
      { done: true, value: undefined },
    ]);
    expect(source.seen.stopped).toBe(1);
    source.push(1);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });

  it('ends when its source says so, and leaves nothing at the signal', async () => {
    const { signal } = new AbortController();
    let stopped = 0;
    const left = [1, 2];
    const stream = pullStream<number>(signal, (_wake, end) => ({
      take() {
        if (left.length === 0) end();
        return left.shift();
      },
      stop: () => void stopped++,
    }));
    const seen: number[] = [];
    for await (const one of stream) seen.push(one);
    expect([seen, stopped, getEventListeners(signal, 'abort').length]).toEqual([[1, 2], 1, 0]);
  });

  it('ends at once when it is returned while the source works', async () => {
    let stopped = 0;
    const stream = pullStream<number>(new AbortController().signal, () => ({
      take: () => new Promise(() => undefined),
      stop: () => void stopped++,
    }));
    const waiting = stream.next();
    await stream.return?.();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(stopped).toBe(1);
  });

  it('ends with its signal, and before it begins when that is aborted already', async () => {
    const source = pushable();
    const controller = new AbortController();
    const stream = pullStream(controller.signal, source.start);
    const waiting = stream.next();
    controller.abort();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(source.seen.stopped).toBe(1);
    const late = pullStream(controller.signal, source.start);
    expect(await late.next()).toEqual({ done: true, value: undefined });
    expect(source.seen.started).toBe(1);
  });

  it('wakes for what comes while it waits, and for what came while it took', async () => {
    const source = pushable();
    const stream = pullStream(new AbortController().signal, source.start);
    const waiting = stream.next();
    source.push(7);
    expect(await waiting).toEqual({ done: false, value: 7 });
    const both = [stream.next(), stream.next()];
    source.push(8);
    source.push(9);
    expect(await Promise.all(both)).toEqual([
      { done: false, value: 8 },
      { done: false, value: 9 },
    ]);
    await stream.return?.();
  });

  it('throws an error of its source once, and ends', async () => {
    const source = pushable();
    source.items.push(new Error('broken'));
    const stream = pullStream(new AbortController().signal, source.start);
    await expect(stream.next()).rejects.toThrow('broken');
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(source.seen.stopped).toBe(1);
  });

  it('leaves no listener on the signal of a long-lived socket', async () => {
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    for (let round = 0; round < 100; round++) {
      const stream = pullStream(signal, pushable().start);
      const waiting = stream.next();
      await stream.return?.();
      await waiting;
    }
    expect(listeners).toBe(0);
  });
});
