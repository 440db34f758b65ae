import { expect, test } from 'vitest';
import { restAfterLookMs } from '../../src/engine/operators/dead-letter-alerts.ts';

test('looks for dead letters take little of the time, and people hear of one within seconds all the same', () => {
  expect(restAfterLookMs(1, 2_000)).toBe(2_000);
  expect(restAfterLookMs(60, 2_000)).toBe(3_000);
  expect(restAfterLookMs(1_000, 2_000)).toBe(5_000);
});
