import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { view } from '../../src/define/view.ts';
import type { FilterInput, SortInput } from '../../src/engine/contract/runtime.ts';
import { checkFilter } from '../../src/engine/views/view-filter.ts';
import { planList } from '../../src/engine/views/view-plan.ts';
import { isMillraceError } from '../../src/errors.ts';

const items = view('item', z.object({ id: z.string(), group: z.string(), rank: z.number(), size: z.number() }), {
  indexes: [{ group: 1 }, { group: 1, rank: -1 }, { rank: 1 }, { size: -1, rank: 1 }],
});
type Conditions = Record<string, Record<string, unknown>>;
const filterOf = (conditions: Conditions): FilterInput =>
  new Map(Object.entries(conditions).map(([field, one]) => [field, new Map(Object.entries(one))])) as FilterInput;
const plan = (conditions: Conditions = {}, sort: readonly SortInput[] = []) =>
  planList(items, checkFilter(filterOf(conditions)), sort);
const refusal = (conditions: Conditions, sort: readonly SortInput[] = []) => {
  try {
    plan(conditions, sort);
  } catch (error) {
    if (isMillraceError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  return undefined;
};
const up = (field: string): SortInput => ({ field, direction: 1 });
const down = (field: string): SortInput => ({ field, direction: -1 });

describe('a list without a sort', () => {
  it('is by id', () => {
    expect(plan()).toMatchObject({ index: [['_id', 1]], order: [{ field: '_id', direction: 1 }] });
    expect(plan({ group: { eq: 'a' } })).toMatchObject({
      index: [
        ['group', 1],
        ['_id', 1],
      ],
      order: [{ field: '_id', direction: 1 }],
    });
  });
  it('with a range is in the order of its index', () => {
    expect(plan({ size: { gt: 1 } })).toMatchObject({
      order: [
        { field: 'size', direction: -1 },
        { field: 'rank', direction: 1 },
        { field: '_id', direction: 1 },
      ],
    });
  });
  it('with named ids needs no index, whatever else it asks', () => {
    expect(plan({ id: { in: ['a', 'b'] }, size: { lt: 3 } }, [up('size')])).toMatchObject({
      kind: 'ids',
      ids: ['a', 'b'],
    });
  });
});

describe('an index serves', () => {
  it('a sort in its direction and turned round, with the id as tie-breaker', () => {
    expect(plan({}, [up('rank')])).toMatchObject({ backward: false, order: [up('rank'), up('_id')] });
    expect(plan({}, [down('rank')])).toMatchObject({ backward: true, order: [down('rank'), down('_id')] });
    expect(plan({}, [up('size'), down('rank')])).toMatchObject({ backward: true });
  });
  it('equality first, then sort, then a range on the first field of the sort', () => {
    expect(plan({ group: { eq: 'a' }, rank: { gte: 2 } }, [up('rank')])).toMatchObject({
      index: [
        ['group', 1],
        ['rank', -1],
        ['_id', 1],
      ],
      backward: true,
    });
    expect(plan({ group: { in: ['a', 'b'] } }, [down('rank')])).toMatchObject({ parts: [['a'], ['b']] });
  });
  it('nothing else: INDEX_MISSING names the index to add', () => {
    expect(refusal({}, [up('group'), up('rank')])).toMatchObject({
      code: 'INDEX_MISSING',
      message: expect.stringContaining('{ group: 1, rank: 1 }'),
    });
    expect(refusal({ rank: { eq: 1 }, group: { gt: 'a' } })).toMatchObject({
      code: 'INDEX_MISSING',
      message: expect.stringContaining('{ rank: 1, group: 1 }'),
    });
    expect(refusal({ colour: { eq: 'red' } })).toMatchObject({
      code: 'INDEX_MISSING',
      message: expect.stringContaining('{ colour: 1 }'),
    });
    expect(refusal({ rank: { gt: 1 }, size: { gt: 1 } })?.code).toBe('INDEX_MISSING');
    expect(refusal({ rank: { gt: 1 } }, [up('size')])?.code).toBe('INDEX_MISSING');
  });
});

describe('a filter or sort is refused with BAD_INPUT', () => {
  it.each<[string, Conditions]>([
    ['an operator of MongoDB', { group: { $ne: null } }],
    ['an operator that is none', { group: { regex: '.*' } }],
    ['an object as value', { group: { eq: { $gt: '' } } }],
    ['a list as value', { group: { eq: ['a'] } }],
    ['an object in a list', { group: { in: ['a', { $gt: '' }] } }],
    ['no list for `in`', { group: { in: 'a' } }],
    ['a list that is too long', { group: { in: Array.from({ length: 1_001 }, (_, n) => `${n}`) } }],
    ['a function', { group: { eq: () => true } }],
    ['undefined', { group: { eq: undefined } }],
    ['no operator', { group: {} }],
    ['no operator beside a field that has one', { id: { eq: 'a' }, rank: {} }],
    ['NaN', { rank: { gt: Number.NaN } }],
    ['Infinity', { rank: { gt: Number.POSITIVE_INFINITY } }],
    ['null in a comparison', { rank: { gt: null } }],
    ['a range of two types', { rank: { gt: 1, lt: 'a' } }],
    ['a huge string', { group: { eq: 'x'.repeat(10_000) } }],
    ['a lone surrogate', { group: { eq: '\ud800' } }],
    ['a field of the platform', { _revision: { eq: 1 } }],
    ['an operator as field', { $where: { eq: '1' } }],
    ['a path as field', { 'a.b': { eq: '1' } }],
    ['a NUL in a field', { 'a\u0000': { eq: '1' } }],
    ['a prototype as field', Object.fromEntries([['__proto__', { eq: 1 }]])],
    ['too many combinations', { group: { in: Array.from({ length: 101 }, (_, n) => `${n}`) } }],
  ])('%s', (_name, conditions) => {
    expect(refusal(conditions)?.code).toBe('BAD_INPUT');
  });
  it('a field twice, a direction that is none', () => {
    expect(refusal({}, [up('rank'), down('rank')])?.code).toBe('BAD_INPUT');
    expect(refusal({}, [{ field: 'rank', direction: 2 } as unknown as SortInput])?.code).toBe('BAD_INPUT');
    expect(refusal({}, [up('$natural')])?.code).toBe('BAD_INPUT');
  });
});
