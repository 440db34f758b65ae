import { describe, expect, test } from 'vitest';
import { closeSpread, drainTimes } from '../../src/gateway/drain.ts';

/** The most of them within `stretchMs`. */
const mostWithin = (timesMs: readonly number[], stretchMs: number): number =>
  Math.max(...timesMs.map((from) => timesMs.filter((at) => at >= from && at < from + stretchMs).length));

describe('times of a drain', () => {
  test.each([
    ['the least random', () => 0],
    ['the most random', () => 0.999],
    ['any', Math.random],
  ])('in no second more than their share and two are closed: %s', (_what, random) => {
    const timesMs = drainTimes(2_000, 4_000, random);
    expect(timesMs).toHaveLength(2_000);
    expect(mostWithin(timesMs, 1_000)).toBeLessThanOrEqual(502);
    expect(timesMs.every((at, index) => at >= 0 && at < 4_000 && at >= (timesMs[index - 1] ?? 0))).toBe(true);
  });

  test('also when random numbers alternate as badly as they can', () => {
    let turn = 0;
    expect(
      mostWithin(
        drainTimes(2_000, 4_000, () => (turn++ % 2 === 0 ? 0.999 : 0)),
        1_000,
      ),
    ).toBeLessThanOrEqual(502);
  });
});

const connection = () => {
  let leave = (): void => undefined;
  const gone = new Promise<void>((resolve) => {
    leave = resolve;
  });
  return {
    told: 0,
    gone,
    leave,
    close() {
      this.told += 1;
    },
  };
};

test('each is closed once', async () => {
  const open = Array.from({ length: 50 }, connection);
  await closeSpread(open, 20);
  expect(open.map(({ told }) => told)).toEqual(open.map(() => 1));
  await closeSpread([], 1_000_000);
});

test('when all have left by themselves nothing is waited for', async () => {
  const open = Array.from({ length: 3 }, connection);
  const closing = closeSpread(open, 1_000_000);
  for (const { leave } of open) leave();
  await closing;
});
