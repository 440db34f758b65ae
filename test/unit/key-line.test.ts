import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { KeyLine } from '../../src/engine/commands/key-line.ts';
import type { ExclusiveKeys } from '../../src/store/exclusive-keys.ts';
import { logger } from '../setup/test-worker.ts';

/** Keys in memory, of which another process has some; counts what it is asked. */
function keysOf(others: Set<string>) {
  const seen = { atOnce: 0, most: 0, asked: 0 };
  const keys: ExclusiveKeys = {
    async acquire(ids) {
      seen.asked += ids.length;
      seen.atOnce++;
      seen.most = Math.max(seen.most, seen.atOnce);
      await pause(2);
      seen.atOnce--;
      return new Set(ids.filter((id) => !others.has(id)));
    },
    renew: async () => [],
    release: async () => undefined,
  };
  return { keys, seen };
}

test('a thousand keys that another process has are asked for a few at a time, and each comes when it is free', async () => {
  const names = Array.from({ length: 1_000 }, (_, n) => `key-${n}`);
  const others = new Set(names);
  const { keys, seen } = keysOf(others);
  const line = new KeyLine(keys, 'here', logger);
  const stop = new AbortController();
  const ran: string[] = [];
  const running = names.map((name) => line.run(name, stop.signal, async () => ran.push(name)));
  while (seen.asked < names.length) await pause(10);
  const [asked, begunMs] = [seen.asked, performance.now()];
  await pause(500);
  // Every 100 ms each would be 5,000 in this time.
  expect((seen.asked - asked) / (performance.now() - begunMs)).toBeLessThan(0.4);
  expect(seen.most).toBeLessThanOrEqual(2);
  expect(ran).toEqual([]);
  stop.abort();
  expect(await Promise.all(running)).toEqual(names.map(() => undefined));
  await line.stop();
});

test('keys that nobody has are taken at once, one after the other for each', async () => {
  const { keys } = keysOf(new Set());
  const line = new KeyLine(keys, 'here', logger);
  const { signal } = new AbortController();
  const order: string[] = [];
  const run = (key: string, n: number) => line.run(key, signal, async () => order.push(`${key}${n}`));
  await Promise.all([run('a', 1), run('a', 2), run('b', 1), run('a', 3)]);
  expect(order.filter((name) => name.startsWith('a'))).toEqual(['a1', 'a2', 'a3']);
  expect(order).toContain('b1');
  await line.stop();
});
