import { expect, test } from 'vitest';
import { restAfterLooksMs } from '../../src/engine/operators/dead-letter-alerts.ts';

test('looks for dead letters take little of the time, and one slow look silences nobody', () => {
  expect(restAfterLooksMs(1, 1, 2_000)).toBe(2_000);
  expect(restAfterLooksMs(60, 80, 2_000)).toBe(3_000);
  expect(restAfterLooksMs(10_000, 5, 2_000)).toBe(2_000);
  expect(restAfterLooksMs(10_000, 400, 2_000)).toBe(20_000);
  expect(restAfterLooksMs(10_000, 3_000, 2_000)).toBe(30_000);
});
