import { expect, test } from 'vitest';
import { rebuildPaces } from '../../src/engine/rebuild/rebuild-pace.ts';

const began = { position: 1_000, atMs: 0 };

test('a rebuild is as fast as in the last seconds; where nobody looked before, as since it began, where it began', () => {
  const paces = rebuildPaces();
  const look = (position: number, atMs: number) =>
    paces.look('a', { position, end: 100_000, atMs }, began).eventsPerSecond;
  expect(look(3_000, 10_000)).toBe(200);
  expect(look(4_000, 11_000)).toBe(1_000);
  expect(look(4_000, 30_000)).toBe(100);
  paces.forget('a');
  expect(look(1_000, 31_000)).toBe(0);
});

test('it is level with the end that was seen a moment ago, also while events come', () => {
  const paces = rebuildPaces();
  const look = (position: number, end: number, atMs: number) => paces.look('a', { position, end, atMs }, began).isLevel;
  expect(look(1_500, 2_000, 1_000)).toBe(false);
  expect(look(1_999, 2_500, 2_000)).toBe(false);
  expect(look(2_400, 2_900, 3_000)).toBe(true);
  // That was long ago.
  expect(look(2_950, 9_000, 60_000)).toBe(false);
  expect(paces.look('b', { position: 7, end: 7, atMs: 0 }, began).isLevel).toBe(true);
});
