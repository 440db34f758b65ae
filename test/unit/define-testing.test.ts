import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { aggregate, event, isMillraceError, projector, view } from '../../src/index.ts';
import { spec } from '../../src/testing/index.ts';

const list = aggregate({
  name: 'list',
  events: {
    Added: event(z.object({ item: z.string(), tags: z.array(z.string()) }), {
      version: 2,
      upcast: { 1: (old) => ({ item: old.name, tags: [] }) },
    }),
    Stamped: z.object({ id: z.string(), at: z.string(), commandId: z.string(), version: z.int() }),
    Ended: z.object({}),
  },
  commands: {
    Add: z.object({ item: z.string().trim().min(1), tags: z.array(z.string()).default([]) }),
    Stamp: z.object({}),
    Spoil: z.object({ what: z.enum(['state', 'data']), tags: z.array(z.string()) }),
    Fail: z.object({}),
    End: z.object({}),
  },
  closes: ['Ended'],
  rejections: ['FULL'],
  initial: () => ({ items: [] as string[] }),
  evolve: {
    Added: (s, { item }) => ({ items: [...s.items, item] }),
    Stamped: (s) => s,
    Ended: (s) => s,
  },
  decide: {
    Add: (s, data, { reject }) =>
      s.items.length < 3 ? { type: 'Added', data } : reject('FULL', `${s.items.length} are enough`),
    Stamp: (_s, _data, { id, newId, now, commandId, version }) =>
      [1, 2].map(() => ({
        type: 'Stamped',
        data: { id: `${id} ${newId()}`, at: now.toISOString(), commandId, version },
      })),
    Spoil: (s, data) => {
      if (data.what === 'state') s.items.push('spoilt');
      else data.tags.push('spoilt');
      return [];
    },
    Fail: () => {
      throw new Error('the disk is on fire');
    },
    End: () => ({ type: 'Ended', data: {} }),
  },
});
const added = (item: string) => ({ type: 'Added', data: { item, tags: [] } }) as const;

describe('spec of an aggregate', () => {
  test('a command is parsed by its schema, as the platform does', () => {
    const given = spec(list).given(added('a'));
    expect(given.when({ type: 'Add', data: { item: ' b ' } })).toEqual({
      events: [added('b')],
      rejected: undefined,
      state: { items: ['a', 'b'] },
    });
    expect(given.when({ type: 'Add', data: { item: ' ' } })).toEqual({
      events: [],
      rejected: undefined,
      invalid: [{ path: ['item'], message: expect.any(String) }],
      state: { items: ['a'] },
    });
  });
  test('a refusal leaves the state and tells its reason', () => {
    const result = spec(list)
      .given(added('a'), added('b'), added('c'))
      .when({ type: 'Add', data: { item: 'd' } });
    expect(result).toEqual({
      events: [],
      rejected: 'FULL',
      reason: '3 are enough',
      state: { items: ['a', 'b', 'c'] },
    });
  });
  test('ids and times are the same in every run, and can be set', () => {
    const stamp = { type: 'Stamp', data: {} } as const;
    expect(spec(list).given(added('a')).when(stamp).events).toEqual([
      {
        type: 'Stamped',
        data: {
          id: '1 00000000-0000-7000-8000-000000000001',
          at: '2000-01-01T00:00:00.000Z',
          commandId: 'command-1',
          version: 1,
        },
      },
      { type: 'Stamped', data: expect.objectContaining({ id: '1 00000000-0000-7000-8000-000000000002' }) },
    ]);
    const options = { id: 'me', now: new Date(0), commandId: 'mine', newId: (count: number) => `n${count}` };
    expect(spec(list, options).given().when(stamp).events[1]?.data).toEqual({
      id: 'me n2',
      at: '1970-01-01T00:00:00.000Z',
      commandId: 'mine',
      version: 0,
    });
  });
  test('changing the state or the data in place throws', () => {
    const given = spec(list).given(added('a'));
    for (const what of ['state', 'data'] as const) {
      expect(() => given.when({ type: 'Spoil', data: { what, tags: [] } })).toThrow(TypeError);
    }
  });
  test('what the caller handed in is left alone', () => {
    const past = { type: 'Added', data: { item: 'a', tags: ['x'] } } as const;
    const tags = ['y'];
    spec(list)
      .given(past)
      .when({ type: 'Add', data: { item: 'b', tags } });
    tags.push('z');
    expect(Object.isFrozen(past.data.tags)).toBe(false);
  });
  test('older events are upcast', () => {
    const { state } = spec(list)
      .given({ type: 'Added', schemaVersion: 1, data: { name: 'old' } })
      .when({ type: 'Add', data: { item: 'new' } });
    expect(state).toEqual({ items: ['old', 'new'] });
  });
  test('what was given must be right', () => {
    const wrong = { type: 'Added', data: { item: 1 } } as never;
    expect(() => spec(list).given(wrong)).toThrow(/Event "Added" .* does not parse/);
    expect(() => spec(list).given({ type: 'Add' } as never)).toThrow(/aggregate "list" knows no event "Add"/);
    expect(() =>
      spec(list)
        .given()
        .when({ type: 'Added' } as never),
    ).toThrow(/has no command "Added"/);
    expect(() => spec(list, { id: '' })).toThrow(/the id must not be empty/);
  });
  test('what decide throws passes', () => {
    expect(() => spec(list).given().when({ type: 'Fail', data: {} })).toThrow('the disk is on fire');
  });
  test('a stream that has ended refuses every command', () => {
    const ended = { type: 'Ended', data: {} } as const;
    expect(spec(list).given(ended).when({ type: 'Stamp', data: {} })).toMatchObject({
      rejected: 'CLOSED',
      reason: 'list "1": it is closed for ever',
    });
  });
  test('a definition that would be refused at start is refused here', () => {
    try {
      spec(aggregate({ ...list, events: { X: z.object({ at: z.iso.date() }) }, evolve: {}, decide: {} } as never));
      expect.unreachable();
    } catch (error) {
      expect(isMillraceError(error, 'DEFINITION_INVALID')).toBe(true);
    }
  });
});

describe('spec of a projector', () => {
  const tagView = view('tag', z.object({ id: z.string(), items: z.array(z.string()), last: z.string() }));
  const tags = projector({
    name: 'tags',
    version: 1,
    from: [list],
    into: tagView,
    key: ({ data }) => ('tags' in data ? data.tags : []),
    on: {
      Added: (doc, { data, stream, at, position }, id) =>
        data.item === 'forget'
          ? null
          : data.item === 'nothing'
            ? undefined
            : {
                id,
                items: [...(doc?.items ?? []), `${stream.id}.${stream.version}: ${data.item}`],
                last: `${position} ${at.toISOString()}`,
              },
    },
  });

  test('an event reaches every document of its key, once', () => {
    const { documents } = spec(tags).given(
      { type: 'Added', id: 'a', data: { item: 'one', tags: ['x', 'y', 'x'] } },
      { type: 'Stamped', id: 'b', data: { id: '', at: '', commandId: '', version: 0 } },
      { type: 'Added', id: 'b', data: { item: 'two', tags: ['y'] }, at: new Date(0) },
      { type: 'Added', data: { item: 'nowhere', tags: [] } },
    );
    expect(Object.fromEntries(documents)).toEqual({
      x: { id: 'x', items: ['a.1: one'], last: '1 2000-01-01T00:00:00.000Z' },
      y: { id: 'y', items: ['a.1: one', 'b.2: two'], last: '3 1970-01-01T00:00:00.000Z' },
    });
  });
  test('null removes a document, undefined leaves it', () => {
    const one = { type: 'Added', data: { item: 'one', tags: ['x', 'y'] } } as const;
    const { documents } = spec(tags).given(
      one,
      { type: 'Added', data: { item: 'forget', tags: ['x', 'z'] } },
      { type: 'Added', data: { item: 'nothing', tags: ['y', 'z'] } },
    );
    expect([...documents.keys()]).toEqual(['y']);
    expect(documents.get('y')?.items).toEqual(['1.1: one']);
  });
  test('older events are upcast', () => {
    const counted = projector({
      name: 'counted',
      version: 1,
      from: [list],
      into: tagView,
      key: () => 'all',
      on: { Added: (_d, { data }, id) => ({ id, items: data.tags, last: data.item }) },
    });
    const { documents } = spec(counted).given({ type: 'Added', schemaVersion: 1, data: { name: 'old' } });
    expect(documents.get('all')).toEqual({ id: 'all', items: [], last: 'old' });
  });
  test('a document must fit its view, and its id its key', () => {
    const bad = (document: unknown, key: unknown = 'k') =>
      projector({
        name: 'bad',
        version: 1,
        from: [list],
        into: tagView,
        key: () => key as string,
        on: { Added: () => document as never },
      });
    const run = (document: unknown, key?: unknown) => () => spec(bad(document, key)).given(added('a'));
    expect(run({ id: 'k', items: 'none', last: '' })).toThrow(/document "k" does not fit view "tag": items: /);
    expect(run({ id: 'other', items: [], last: '' })).toThrow(/document "k" has the id "other"/);
    expect(run(null, '')).toThrow(/`key` names an id that must not be empty/);
    expect(run(null, [7])).toThrow(/`key` names an id that must be a string/);
    expect(run(null, 'x'.repeat(1025))).toThrow(/must not be longer than 1024 characters/);
  });
  test('changing a document or an event in place throws', () => {
    const push = projector({
      name: 'push',
      version: 1,
      from: [list],
      into: tagView,
      key: () => 'k',
      on: {
        Added: (doc, { data }, id) => {
          (doc?.items ?? data.tags).push('spoilt');
          return { id, items: [], last: '' };
        },
      },
    });
    expect(() => spec(push).given(added('a'))).toThrow(TypeError);
  });
});
