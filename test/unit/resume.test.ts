import { describe, expect, it } from 'vitest';
import { CURSOR_MAX_AGE_S, isAhead, isTooOld, misfit, movedSince } from '../../src/engine/subscriptions/resume.ts';
import { documentScope, listScope, type ViewCursor } from '../../src/engine/views/cursor.ts';
import { TOMBSTONE_TTL_S } from '../../src/store/view-indexes.ts';

const scope = documentScope('a');
const here = { logId: 'main', view: 'account', generation: 2, builtAtMs: 5, scope };
const cursor: ViewCursor = { ...here, issuedAtS: 1_000, revisions: [3, 0, 7] };

describe('a cursor is gone on from', () => {
  it('only by the same log, view, generation and document or filter, the first difference named', () => {
    expect(misfit(cursor, here)).toBeUndefined();
    expect(misfit(cursor, { ...here, logId: 'other', view: 'other' })).toBe('OTHER_LOG');
    expect(misfit(cursor, { ...here, view: 'other', generation: 3 })).toBe('OTHER_VIEW');
    expect(misfit(cursor, { ...here, generation: 3, scope: documentScope('b') })).toBe('GENERATION');
    expect(misfit(cursor, { ...here, builtAtMs: 6 })).toBe('GENERATION');
    expect(misfit(cursor, { ...here, scope: documentScope('b') })).toBe('OTHER_DOCUMENT');
    expect(misfit(cursor, { ...here, scope: listScope([]) })).toBe('OTHER_FILTER');
    const ofList = { ...cursor, scope: listScope([]) };
    expect(misfit(ofList, { ...here, scope: listScope([{ field: 'owner', eq: 'Ada' }]) })).toBe('OTHER_FILTER');
    expect(misfit(ofList, { ...here, scope: listScope([]) })).toBeUndefined();
  });

  it('not when its snapshot was cut off', () => {
    expect(misfit({ ...cursor, revisions: [] }, here)).toBe('INCOMPLETE');
  });

  it('not when it holds more than is stored, in any partition', () => {
    expect(isAhead(cursor.revisions, [3, 0, 7])).toBe(false);
    expect(isAhead(cursor.revisions, [9, 9, 9, 9])).toBe(false);
    expect(isAhead(cursor.revisions, [9, 9, 6])).toBe(true);
    expect(isAhead(cursor.revisions, [9, 9])).toBe(true);
  });

  it('not when removals since may be forgotten, unless nothing has changed', () => {
    expect(CURSOR_MAX_AGE_S).toBeLessThan(TOMBSTONE_TTL_S);
    const [young, old] = [1_000 + CURSOR_MAX_AGE_S, 1_001 + CURSOR_MAX_AGE_S];
    expect(isTooOld(cursor, [3, 1, 7], young)).toBe(false);
    expect(isTooOld(cursor, [3, 1, 7], old)).toBe(true);
    expect(isTooOld(cursor, [3, 0, 7], old)).toBe(false);
    expect(isTooOld(cursor, [3, 0, 7], 0)).toBe(false);
  });

  it('by reading the partitions that moved, those that came later too', () => {
    expect(movedSince(cursor.revisions, [3, 0, 7])).toEqual([]);
    expect(movedSince(cursor.revisions, [4, 0, 7, 0, 1])).toEqual([0, 4]);
  });
});
