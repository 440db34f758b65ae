import { beforeAll, describe, expect, it } from 'vitest';
import type { FilterInput, Page, PageInput, SortInput, ViewRecord } from '../../src/engine/contract/runtime.ts';
import { compareValues } from '../../src/engine/views/scalar.ts';
import { checkFilter, matches, mongoFilter } from '../../src/engine/views/view-filter.ts';
import { planList } from '../../src/engine/views/view-plan.ts';
import { compareKeys, listKey } from '../../src/engine/views/view-scan.ts';
import type { ViewDocument } from '../../src/store/documents.ts';
import {
  codeOf,
  filterOf,
  type Gateway,
  type Item,
  itemView,
  type ReadsFixture,
  readsFixture,
} from './reads-fixture.ts';

const fixture: ReadsFixture = await readsFixture();
let gateway: Gateway;

/** Numbers that are the same in every run. */
function randomFrom(seed: number) {
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const below = (count: number): number => Math.floor(next() * count);
  const of = <T>(all: readonly T[]): T => all[below(all.length)]!;
  return { next, below, of };
}
const random = randomFrom(20_251_121);
const texts = ['', 'a', 'A', 'ä', 'z', 'zz', '\uffee', '🙂', '\u0000', 'a\u0000', 'a.b', '$gt', '__proto__', '10', '9'];
const sizes = [null, undefined, -1, 0, 0.5, 1, 1e15, 3];

function randomItem(): Item {
  const [size, text] = [random.of(sizes), random.of([...texts, null, undefined])];
  return {
    group: random.of(['a', 'b', 'c']),
    rank: random.below(20),
    ...(random.below(3) === 0 ? {} : { flag: random.below(2) === 0 }),
    ...(size === undefined ? {} : { size }),
    ...(text === undefined ? {} : { text }),
  };
}

beforeAll(async () => {
  gateway = await fixture.gateway();
  const all: Record<string, Item> = {};
  for (let n = 0; n < 400; n++) all[`i${n}`] = randomItem();
  for (const odd of ['🙂', 'a/b', 'a.b', '$where', '%', 'É', '\uffee', 'x:y']) all[odd] = randomItem();
  await fixture.write(all);
  await fixture.write({ i3: null, i7: null, i399: null });
});

const living = (): ViewDocument[] => [...fixture.written.values()].filter((one) => one._deleted === undefined);

describe('a document', () => {
  it('is read by id, without the fields of the platform', async () => {
    const { _id, _version } = living()[0]!;
    const record = await gateway.reads.document('item', _id);
    expect(record).toMatchObject({ id: _id, version: _version });
    expect(Object.keys(record!.document).filter((field) => field.startsWith('_'))).toEqual([]);
  });
  it('is absent when it was removed or never was', async () => {
    expect(await gateway.reads.document('item', 'i3')).toBeUndefined();
    expect(await gateway.reads.document('item', 'nobody')).toBeUndefined();
  });
  it('shares a round trip with reads of the same moment', async () => {
    const ids = living().map(({ _id }) => _id);
    const before = await operations();
    const found = await Promise.all([...ids, ...ids].map((id) => gateway.reads.document('item', id)));
    expect((await operations()) - before).toBeLessThanOrEqual(2);
    expect(found.map((one) => one?.id)).toEqual([...ids, ...ids]);
  });
  it.each(['', 'x'.repeat(10_000), 'a\u0000', '\ud800', { $ne: null }, null, undefined, 5, ['a']])(
    'with the id %j is refused with BAD_INPUT',
    async (id) => {
      expect(await codeOf(() => gateway.reads.document('item', id as string))).toBe('BAD_INPUT');
    },
  );
  it('of an unknown view is refused with UNKNOWN_VIEW', async () => {
    for (const name of ['nothing', '__proto__', 'constructor', '']) {
      expect(await codeOf(() => gateway.reads.document(name, 'a'))).toBe('UNKNOWN_VIEW');
      expect(await codeOf(() => gateway.reads.documents(name, {}))).toBe('UNKNOWN_VIEW');
    }
  });
});

async function operations(): Promise<number> {
  const status = await fixture.connection.db.admin().serverStatus();
  const collection = fixture.collection.namespace;
  const top = await fixture.connection.client.db('admin').command({ top: 1 });
  return Number(top.totals[collection]?.queries?.count ?? status.opcounters.query);
}

interface ListCase {
  readonly filter: FilterInput;
  readonly sort: readonly SortInput[];
}
const group = (): Record<string, unknown> =>
  random.of([{ eq: random.of(['a', 'b']) }, { in: ['a', 'c', 'nope'] }, { in: [] }]);
const rank = (): Record<string, unknown> =>
  random.of([{ gt: random.below(20) }, { gte: random.below(20), lt: random.below(20) }, { lte: random.below(20) }]);
const text = (): Record<string, unknown> =>
  random.of([{ gt: random.of(texts) }, { gte: random.of(texts), lte: random.of(texts) }, { lt: random.of(texts) }]);
const way = (): 1 | -1 => random.of([1, -1]);

/** Lists that the indexes of the view serve. */
const shapes: readonly (() => { filter?: Record<string, Record<string, unknown>>; sort?: SortInput[] })[] = [
  () => ({}),
  () => ({ sort: [{ field: 'id', direction: way() }] }),
  () => ({ filter: { id: random.of([{ gt: 'i2' }, { lte: 'i300', gt: 'i15' }, { gte: 'i5', lt: 'x' }]) } }),
  () => ({ filter: { id: { in: ['i1', 'i2', 'i3', '🙂', 'nope'] } }, sort: [{ field: 'rank', direction: way() }] }),
  () => ({ filter: { group: group() } }),
  () => ({ filter: { group: group(), id: { gt: 'i2' } } }),
  () => ({ filter: { group: group() }, sort: [{ field: 'rank', direction: way() }] }),
  () => ({ filter: { group: group(), rank: rank() }, sort: [{ field: 'rank', direction: way() }] }),
  () => ({
    filter: { group: group() },
    sort: [
      { field: 'group', direction: way() },
      { field: 'rank', direction: way() },
    ],
  }),
  () => ({ filter: { group: { eq: 'a' }, rank: rank() } }),
  () => ({ filter: { rank: rank() }, sort: [{ field: 'rank', direction: way() }] }),
  () => ({ filter: { rank: { eq: random.below(20) } } }),
  () => {
    const direction = way();
    return {
      sort: [
        { field: 'size', direction },
        { field: 'rank', direction: direction === 1 ? -1 : 1 },
      ],
    };
  },
  () => ({ filter: { size: random.of([{ gt: 0 }, { lte: 1 }, { eq: null }, { in: [null, 0, 3] }]) } }),
  () => ({ filter: { text: text() }, sort: [{ field: 'text', direction: way() }] }),
  () => ({ filter: { text: random.of([{ eq: null }, { eq: random.of(texts) }]) } }),
  () => ({ sort: [{ field: 'text', direction: way() }] }),
  () => ({
    filter: { flag: random.of([{ eq: true }, { in: [true, false, null] }]), text: text() },
    sort: [{ field: 'text', direction: way() }],
  }),
  () => ({ filter: { flag: random.of([{ eq: null }, { gt: false }, { lte: true }]) } }),
];
const cases: readonly ListCase[] = Array.from({ length: 76 }, (_, n) => {
  const { filter = {}, sort = [] } = shapes[n % shapes.length]!();
  return { filter: filterOf(filter), sort };
});

/** The whole list as memory has it, in the order that the plan says. */
function expected({ filter, sort }: ListCase): string[] {
  const checked = checkFilter(filter);
  const { order } = planList(itemView, checked, sort);
  return living()
    .filter((document) => matches(checked, document))
    .sort((a, b) => compareKeys(order, listKey(order, a), listKey(order, b)))
    .map(({ _id }) => _id);
}
const idsOf = (page: Page<ViewRecord>): string[] => page.edges.map(({ node }) => node.id);

describe('a list', () => {
  it('holds exactly what matches, in its order, over pages of any size, forward and backward', async () => {
    for (const one of cases) {
      const all = expected(one);
      const size = 4 + random.below(60);
      expect(await walk(one, size, 'forward')).toEqual(all);
      expect(await walk(one, size, 'backward')).toEqual(all);
      expect(await gateway.reads.countDocuments('item', one)).toBe(all.length);
    }
  });

  async function walk(one: ListCase, size: number, way: 'forward' | 'backward'): Promise<string[]> {
    const ids: string[] = [];
    let cursor: string | null = null;
    for (;;) {
      const input: PageInput = way === 'forward' ? { first: size, after: cursor } : { last: size, before: cursor };
      const page: Page<ViewRecord> = await gateway.reads.documents('item', { ...one, ...input });
      const { hasNextPage, hasPreviousPage, startCursor, endCursor } = page.pageInfo;
      if (way === 'forward') ids.push(...idsOf(page));
      else ids.unshift(...idsOf(page));
      expect(way === 'forward' ? hasPreviousPage : hasNextPage).toBe(cursor !== null);
      expect(startCursor).toBe(page.edges[0]?.cursor ?? null);
      cursor = way === 'forward' ? endCursor : startCursor;
      if (!(way === 'forward' ? hasNextPage : hasPreviousPage)) return ids;
      expect(page.edges).toHaveLength(size);
    }
  }

  it('between two cursors holds what lies between them', async () => {
    const all = await gateway.reads.documents('item', { first: 1_000 });
    const [after, before] = [all.edges[10]!.cursor, all.edges[20]!.cursor];
    const inner = await gateway.reads.documents('item', { first: 5, after, before });
    expect(idsOf(inner)).toEqual(idsOf(all).slice(11, 16));
    expect(inner.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: true });
    const whole = await gateway.reads.documents('item', { last: 9, after, before });
    expect(idsOf(whole)).toEqual(idsOf(all).slice(11, 20));
    expect(whole.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: true });
  });

  it('reads no more than it gives, however deep the page lies', async () => {
    const { db } = fixture.connection;
    const sorts: ListCase[] = [
      { filter: filterOf({}), sort: [{ field: 'rank', direction: 1 }] },
      { filter: filterOf({ group: { eq: 'a' } }), sort: [{ field: 'rank', direction: 1 }] },
      { filter: filterOf({ group: { eq: 'b' }, rank: { gte: 3 } }), sort: [{ field: 'rank', direction: -1 }] },
      { filter: filterOf({}), sort: [] },
    ];
    for (const one of sorts) {
      const all = await gateway.reads.documents('item', { ...one, first: 1_000 });
      const deep = all.edges.at(-20)!.cursor;
      await db.command({ profile: 2 });
      await gateway.reads.documents('item', { ...one, first: 10, after: deep });
      await db.command({ profile: 0 });
      const profile = await db
        .collection('system.profile')
        .find({ op: 'query', ns: fixture.collection.namespace })
        .toArray();
      await db.collection('system.profile').drop();
      expect(profile).toHaveLength(2);
      for (const { planSummary, keysExamined, docsExamined, hasSortStage } of profile) {
        expect(planSummary).toMatch(/^(CLUSTERED_)?IXSCAN/);
        expect(hasSortStage).toBeUndefined();
        // One more to know whether there is a next page; the rest are tombstones.
        expect(keysExamined ?? 0).toBeLessThanOrEqual(14);
        expect(docsExamined).toBeLessThanOrEqual(14);
      }
    }
  });

  it.each<[string, PageInput]>([
    ['a negative size', { first: -1 }],
    ['a huge size', { first: 1_000_000_000 }],
    ['one more than the most', { last: 1_001 }],
    ['half an item', { first: 0.5 }],
    ['NaN items', { first: Number.NaN }],
    ['a size that is no number', { first: '10' as unknown as number }],
    ['a size from both ends', { first: 1, last: 1 }],
  ])('is refused with BAD_INPUT for %s', async (_name, page) => {
    expect(await codeOf(() => gateway.reads.documents('item', page))).toBe('BAD_INPUT');
  });
  it('of nothing asks for nothing', async () => {
    const page = await gateway.reads.documents('item', { first: 0 });
    expect(page).toMatchObject({ edges: [], pageInfo: { hasNextPage: true, startCursor: null } });
  });
  it('has 50 documents when nobody says how many', async () => {
    expect((await gateway.reads.documents('item', {})).edges).toHaveLength(50);
  });
  it('is refused with BAD_CURSOR for a cursor of another sort, another view or nothing at all', async () => {
    const { endCursor } = (await gateway.reads.documents('item', { first: 1 })).pageInfo;
    const byRank = { sort: [{ field: 'rank', direction: 1 }], after: endCursor } as const;
    expect(await codeOf(() => gateway.reads.documents('item', byRank))).toBe('BAD_CURSOR');
    expect(await codeOf(() => gateway.reads.documents('other', { after: endCursor }))).toBe('BAD_CURSOR');
    expect(await codeOf(() => gateway.reads.documents('item', { before: 'x' }))).toBe('BAD_CURSOR');
    expect(await codeOf(() => gateway.reads.documents('item', { after: { $gt: '' } as unknown as string }))).toBe(
      'BAD_CURSOR',
    );
  });
  it('shares its reads with equal lists of the same moment', async () => {
    const before = await operations();
    const pages = await Promise.all(
      Array.from({ length: 50 }, () => gateway.reads.documents('item', { filter: filterOf({ group: { eq: 'a' } }) })),
    );
    expect((await operations()) - before).toBe(1);
    expect(new Set(pages.map((page) => String(idsOf(page)))).size).toBe(1);
  });
  it('is refused with INDEX_MISSING when a declared index is not in MongoDB', async () => {
    await fixture.collection.dropIndex('text_1__id_1');
    const list = () => gateway.reads.documents('item', { sort: [{ field: 'text', direction: 1 }] });
    expect(await codeOf(list)).toBe('INDEX_MISSING');
    await fixture.startWorker();
    await list();
  });
  it('is refused with INDEX_MISSING when no index serves it', async () => {
    expect(
      await codeOf(() => gateway.reads.documents('item', { filter: filterOf({ rank: { gt: 1 }, size: { gt: 1 } }) })),
    ).toBe('INDEX_MISSING');
  });
});

describe('a filter in memory', () => {
  it('decides as MongoDB does, for every type of value and every operator', async () => {
    const values = [
      ...texts,
      null,
      undefined,
      true,
      false,
      0,
      -1,
      0.5,
      1e300,
      new Date(0),
      new Date(5),
      ['a', 5],
      [],
      [null],
      [['a']],
      { a: 1 },
      {},
    ];
    const scratch = fixture.connection.db.collection<ViewDocument>('scratch');
    const documents = values.map((value, n) => {
      const marks = { _id: `v${n}`, _partition: 0, _revision: 1, _position: 1, _version: 1, _origins: [] };
      return value === undefined ? marks : { ...marks, value };
    });
    await scratch.insertMany(documents as ViewDocument[]);
    const operands = [...texts, null, true, false, 0, -1, 0.5, 1e300, new Date(0), new Date(5)];
    for (const operator of ['eq', 'gt', 'gte', 'lt', 'lte', 'in'] as const) {
      for (const operand of operands) {
        if (operand === null && operator !== 'eq' && operator !== 'in') continue;
        const condition = operator === 'in' ? [operand, 'a', 0] : operand;
        const filter = checkFilter(filterOf({ value: { [operator]: condition } }));
        const found = await scratch.find(mongoFilter(filter)).sort({ _id: 1 }).toArray();
        const inMemory = documents.filter((one) => matches(filter, one as ViewDocument)).map(({ _id }) => _id);
        expect([operator, condition, inMemory.sort()]).toEqual([operator, condition, found.map(({ _id }) => _id)]);
      }
    }
    const sorted = await scratch
      .find({ value: { $not: { $type: ['array', 'object'] } } })
      .sort({ value: 1, _id: 1 })
      .toArray();
    const order = (one: ViewDocument): unknown => one.value;
    const mine = [...sorted].sort((a, b) => compareValues(order(a), order(b)) || compareValues(a._id, b._id));
    expect(mine.map(({ _id }) => _id)).toEqual(sorted.map(({ _id }) => _id));
  });
});

describe('a query', () => {
  it('reads views and answers by its output schema', async () => {
    const inGroup = living().filter(({ group: of }) => of === 'a');
    const best = inGroup.sort((a, b) => Number(b.rank) - Number(a.rank) || (a._id < b._id ? -1 : 1)).slice(0, 3);
    expect(await gateway.reads.ask('top', { group: 'a', limit: 3 })).toEqual(
      best.map(({ _id: id, rank: own }) => ({ id, rank: own })),
    );
  });
  it('is refused with BAD_INPUT and its issues, UNKNOWN_QUERY, QUERY_OUTPUT_INVALID', async () => {
    const bad = gateway.reads.ask('top', { group: { $ne: null }, limit: 1.5 });
    await expect(bad).rejects.toMatchObject({
      code: 'BAD_INPUT',
      details: { issues: [{ path: ['group'] }, { path: ['limit'] }] },
    });
    expect(await codeOf(() => gateway.reads.ask('careless', {}))).toBe('BAD_INPUT');
    expect(await codeOf(() => gateway.reads.ask('constructor', {}))).toBe('UNKNOWN_QUERY');
    expect(await codeOf(() => gateway.reads.ask('broken', {}))).toBe('QUERY_OUTPUT_INVALID');
  });
});
