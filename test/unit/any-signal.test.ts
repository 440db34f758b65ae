import { setMaxListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { anySignal } from '../../src/engine/concurrency/any-signal.ts';

test('it aborts with the first of its signals, and with none after its end', () => {
  const [first, second, third] = [new AbortController(), new AbortController(), new AbortController()];
  const any = anySignal([first.signal, second.signal]);
  any.add(third.signal);
  third.abort('third');
  second.abort('second');
  expect(any.signal.reason).toBe('third');
  expect(anySignal([first.signal, second.signal]).signal.reason).toBe('second');
  const ended = anySignal([first.signal]);
  ended.end();
  first.abort();
  expect(ended.signal.aborted).toBe(false);
});

test('what has ended is not kept by a signal that lives on, though somebody listens', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const process = new AbortController();
  setMaxListeners(0, process.signal);
  const made: WeakRef<AbortSignal>[] = [];
  for (let count = 0; count < 100; count++) {
    const any = anySignal([process.signal, new AbortController().signal]);
    any.signal.addEventListener('abort', () => undefined);
    made.push(new WeakRef(any.signal));
    any.end();
  }
  for (let turn = 0; turn < 5; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
  expect(made.filter((one) => one.deref() !== undefined).length).toBeLessThan(5);
  expect(process.signal.aborted).toBe(false);
});
