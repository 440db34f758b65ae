import { expect, test } from 'vitest';
import { servedGeneration } from '../../src/engine/views/served-views.ts';

const swapped = (...generations: readonly number[]) => generations.map((generation) => ({ generation }));

test('a process reads its own version once it was swapped in, until then the highest below it', () => {
  expect(servedGeneration({ generation: 2 }, swapped(1))).toBe(1);
  expect(servedGeneration({ generation: 2 }, swapped(1, 2, 3))).toBe(2);
  expect(servedGeneration({ generation: 3 }, swapped(1, 2))).toBe(2);
  expect(servedGeneration({ generation: 1 }, swapped(2))).toBe(1);
  expect(servedGeneration({ generation: 2 })).toBe(2);
});

test('one that names `previous` does not read a version in between, which was given up', () => {
  const fixed = { generation: 3, previous: { generation: 1 } };
  expect(servedGeneration(fixed, swapped(1, 2))).toBe(1);
  expect(servedGeneration(fixed, swapped(1, 2, 3))).toBe(3);
  // Retired meanwhile: anything is better than nothing.
  expect(servedGeneration(fixed, swapped(2))).toBe(2);
});
