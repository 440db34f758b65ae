import { expect, test } from 'vitest';
import { Recent } from '../../src/engine/recent.ts';

test('the newest entries are there, older ones are let go of', () => {
  const recent = new Recent<string, number>(2);
  recent.set('a', 1);
  recent.set('b', 2);
  recent.set('a', 3);
  recent.set('c', 4);
  expect([recent.get('a'), recent.get('b'), recent.get('c')]).toEqual([3, undefined, 4]);
});
