import { describe, expect, it, test } from 'vitest';
import { ViewAudience } from '../../src/engine/subscriptions/view-audience.ts';
import { checkFilter, matches } from '../../src/engine/views/view-filter.ts';
import type { ViewDocument } from '../../src/store/documents.ts';

const marks = { _partition: 0, _revision: 1, _position: 1, _version: 1, _origins: [] };
const documentOf = (id: string, fields: object = {}): ViewDocument => ({ ...marks, ...fields, _id: id });
const inFilter = (field: string, values: readonly unknown[]) =>
  checkFilter(new Map([[field, new Map([['in', values]])]]));

test('each of many lists that name many ids is told of its own documents only', () => {
  const audience = new ViewAudience();
  const told = new Map<number, string[]>();
  for (let list = 0; list < 100; list++) {
    const ids = Array.from({ length: 1_000 }, (_, n) => `account-${list}-${n}`);
    audience.addList(inFilter('id', ids), ({ _id }, matched) => {
      if (matched) told.set(list, [...(told.get(list) ?? []), _id]);
    });
  }
  for (let n = 0; n < 200; n++) audience.tell(documentOf(`account-${n % 100}-999`));
  expect([...told]).toEqual(
    Array.from({ length: 100 }, (_, list) => [list, [`account-${list}-999`, `account-${list}-999`]]),
  );
});

describe('`in`', () => {
  const day = new Date('2026-01-01');
  const values = [1, 0, 'a', '2', true, null, day];
  it.each([
    [1, true],
    [-0, true],
    ['1', false],
    [2, false],
    ['2', true],
    ['a', true],
    [false, false],
    [true, true],
    [null, true],
    [undefined, true],
    [new Date(day), true],
    [day.getTime(), false],
    [new Date(0), false],
    [Number.NaN, false],
    [{}, false],
    [['b', 'a'], true],
    [['b'], false],
    [[], false],
    [[['a']], false],
  ])('has %j: %j', (value, expected) => {
    expect(matches(inFilter('field', values), documentOf('x', { field: value }))).toBe(expected);
  });
});
