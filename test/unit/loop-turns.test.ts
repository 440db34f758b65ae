import { expect, test } from 'vitest';
import { loopTurns } from '../../src/gateway/loop-turns.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('so many requests begin in a turn, the others in the next ones, in order', async () => {
  const turns = loopTurns(2);
  const begun: number[] = [];
  for (let n = 0; n < 5; n++) turns({ destroyed: false }, () => begun.push(n));
  expect(begun).toEqual([0, 1]);
  await turn();
  expect(begun).toEqual([0, 1, 2, 3]);
  turns({ destroyed: false }, () => begun.push(5));
  expect(begun).toEqual([0, 1, 2, 3]);
  await turn();
  expect(begun).toEqual([0, 1, 2, 3, 4, 5]);
});

test('a request whose client left while it waited is not begun, and takes nobody’s place', async () => {
  const turns = loopTurns(1);
  const begun: string[] = [];
  const leaving = { destroyed: false };
  turns({ destroyed: false }, () => begun.push('first'));
  turns(leaving, () => begun.push('left'));
  turns({ destroyed: false }, () => begun.push('last'));
  leaving.destroyed = true;
  await turn();
  expect(begun).toEqual(['first', 'last']);
});
