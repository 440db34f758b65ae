import { expect, test } from 'vitest';
import { SendWindow } from '../../src/gateway/send-window.ts';

/** A window whose clock stands still, and the marks that it sent. */
function windowOf() {
  const marks: string[] = [];
  const clock = { ms: 0 };
  const window = new SendWindow(
    (mark) => marks.push(mark),
    12_000,
    () => clock.ms,
  );
  return {
    window,
    marks,
    /** The client reads everything, so long after each mark. */
    answer(tookMs: number) {
      do {
        window.mark();
        clock.ms += tookMs;
        window.read(marks.at(-1) ?? '');
      } while (window.underWayCount > 0);
    },
    /** Sends messages of 1,000 until there is no room. */
    fill(): number {
      let count = 0;
      for (; window.room() === undefined; count++) window.sent(1_000);
      return count;
    },
  };
}

test('a client that answers nothing is sent little', () => {
  const { fill, marks, window } = windowOf();
  expect(fill()).toBe(5);
  window.sent(1_000);
  window.mark();
  expect(marks).toEqual(['1']);
});

/** How much a client is sent that reads everything so late, time after time. */
const roundsOf = ({ fill, answer }: ReturnType<typeof windowOf>, tookMs: number) =>
  Array.from({ length: 20 }, () => {
    const count = fill();
    answer(tookMs);
    return count;
  });

test('the window grows with a quick client, up to 256 KiB, and shrinks with a slow one', () => {
  const one = windowOf();
  const quick = roundsOf(one, 10);
  expect([quick[0], quick.at(-1)]).toEqual([5, 263]);
  expect(quick).toEqual([...quick].sort((a, b) => a - b));
  // Neither quick nor slow: it stays as it is.
  expect(new Set(roundsOf(one, 2_000))).toEqual(new Set([263]));
  const slow = roundsOf(one, 5_000);
  expect([slow[0], slow.at(-1)]).toEqual([263, 5]);
  expect(slow).toEqual([...slow].sort((a, b) => b - a));
});

test('it does not grow with a client that is sent next to nothing', () => {
  const one = windowOf();
  for (let i = 0; i < 50; i++) {
    one.window.sent(100);
    one.answer(1);
  }
  expect(one.fill()).toBe(5);
});

test('who waits goes on when enough was read, and at the end', async () => {
  const { window, fill, answer, marks } = windowOf();
  fill();
  const went: string[] = [];
  void window.room()?.then(() => went.push('first'));
  // Not what was sent last, or no mark at all.
  for (const mark of ['', '0', '2', 'x']) window.read(mark);
  await Promise.resolve();
  expect([went, marks]).toEqual([[], ['1']]);
  answer(0);
  await Promise.resolve();
  expect(went).toEqual(['first']);
  fill();
  void window.room()?.then(() => went.push('second'));
  window.end();
  await Promise.resolve();
  expect(went).toEqual(['first', 'second']);
  expect(window.room()).toBeUndefined();
});

test('a client that is idle is asked again at a heartbeat', () => {
  const { window, marks, answer } = windowOf();
  window.mark();
  answer(3);
  window.mark();
  window.mark();
  expect(marks).toEqual(['1', '2']);
  expect(window.underWayCount).toBe(0);
});
