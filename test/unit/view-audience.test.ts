import { describe, expect, it } from 'vitest';
import { ViewAudience } from '../../src/engine/view-audience.ts';
import { checkFilter, matches } from '../../src/engine/view-filter.ts';
import type { ViewDocument } from '../../src/store/documents.ts';

const marks = { _partition: 0, _revision: 1, _position: 1, _version: 1, _origins: [] };
const documentOf = (id: string, fields: object = {}): ViewDocument => ({ ...marks, ...fields, _id: id });
const inFilter = (field: string, values: readonly unknown[]) =>
  checkFilter(new Map([[field, new Map([['in', values]])]]));

describe('many lists that name many ids', () => {
  /** Fewest milliseconds of several tries for 100 lists to be told of 200 documents. */
  function costMs(idCount: number): number {
    const audience = new ViewAudience();
    let matchedCount = 0;
    for (let list = 0; list < 100; list++) {
      const ids = Array.from({ length: idCount }, (_, n) => `account-${list}-${n}`);
      audience.addList(inFilter('id', ids), (_document, matched) => {
        if (matched) matchedCount++;
      });
    }
    const documents = Array.from({ length: 200 }, (_, n) => documentOf(`account-${n % 100}-${idCount - 1}`));
    const tries = Array.from({ length: 4 }, () => {
      const begin = performance.now();
      for (const document of documents) audience.tell(document);
      return performance.now() - begin;
    });
    expect(matchedCount).toBe(4 * 200);
    return Math.min(...tries);
  }

  it('cost a document about what lists of few ids cost', () => {
    const few = costMs(2);
    expect(costMs(1_000)).toBeLessThan(10 * few + 5);
  });
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
