import { beforeAll, describe, expect, it } from 'vitest';
import type { EventFilterInput, PageInput } from '../../src/engine/contract/runtime.ts';
import { encodeEventCursor } from '../../src/engine/views/cursor.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import { codeOf, type Gateway, type PlacedEvent, type ReadsFixture, readsFixture } from './reads-fixture.ts';

const fixture: ReadsFixture = await readsFixture();
const COUNT = 6_000;
const START = Date.UTC(2026, 0, 1);
let gateway: Gateway;
let log: readonly LogDocument[];

beforeAll(async () => {
  const events = Array.from({ length: COUNT }, (_, n): PlacedEvent => {
    const type = n % 100 === 7 ? 'ItemMoved' : n % 3 === 0 ? 'ItemSeen' : 'ItemPut';
    return {
      type,
      id: n % 2 === 0 ? 'long' : `i${n % 50}`,
      data: type === 'ItemMoved' ? { to: 'x' } : type === 'ItemSeen' ? {} : { group: 'g', rank: n },
      correlationId: `flow${n % 40}`,
      ...(n % 30 === 11 ? { actor: n % 60 === 11 ? 'ada' : 'bob' } : {}),
      // The clocks of the gateways differ by up to two seconds.
      at: new Date(START + n * 1_000 + ((n * 7_919) % 2_000)),
    };
  });
  log = await fixture.place(events);
  gateway = await fixture.gateway();
});

const filters: readonly [string, EventFilterInput, (event: LogDocument) => boolean][] = [
  ['no filter', {}, () => true],
  ['types', { types: ['ItemMoved'] }, ({ type }) => type === 'ItemMoved'],
  ['several types', { types: ['ItemMoved', 'ItemSeen', 'Nothing'] }, ({ type }) => type !== 'ItemPut'],
  ['no types', { types: [] }, () => false],
  ['aggregate', { aggregate: 'item' }, () => true],
  ['aggregate and type', { aggregate: 'item', types: ['ItemSeen'] }, ({ type }) => type === 'ItemSeen'],
  [
    'aggregate and types, one of another aggregate',
    { aggregate: 'item', types: ['ItemMoved', 'BoxShut'] },
    ({ type }) => type === 'ItemMoved',
  ],
  ['a long stream', { aggregate: 'item', aggregateId: 'long' }, ({ stream }) => stream.endsWith('/long')],
  ['a short stream', { aggregate: 'item', aggregateId: 'i1' }, ({ stream }) => stream.endsWith('/i1')],
  ['a stream that is not there', { aggregate: 'item', aggregateId: 'nobody' }, () => false],
  ['correlationId', { correlationId: 'flow3' }, ({ meta }) => meta.correlationId === 'flow3'],
  ['actor', { actor: 'ada' }, ({ meta }) => meta.actor === 'ada'],
  ['an actor that did nothing', { actor: 'nobody' }, () => false],
  [
    'actor within times',
    { actor: 'bob', since: new Date(START + 3_000_000) },
    ({ meta, at }) => meta.actor === 'bob' && at.getTime() >= START + 3_000_000,
  ],
  ...[
    { since: new Date(START + 2_000_000), until: new Date(START + 4_000_000) },
    { since: new Date(START + 5_990_000) },
    { until: new Date(START + 12_345) },
    { since: new Date(START + 10_000_000) },
  ].map((times): [string, EventFilterInput, (event: LogDocument) => boolean] => [
    `times ${JSON.stringify(times)}`,
    times,
    ({ at }) => at >= (times.since ?? at) && (times.until === undefined || at < times.until),
  ]),
  [
    'a stream within times',
    { aggregate: 'item', aggregateId: 'long', since: new Date(START + 3_000_000) },
    ({ stream, at }) => stream.endsWith('/long') && at.getTime() >= START + 3_000_000,
  ],
];

describe('a page of events', () => {
  it.each(filters)('by %s holds exactly what matches, forward and backward', async (_name, filter, holds) => {
    const expected = log.filter(holds).map(({ _id }) => _id);
    for (const way of ['forward', 'backward'] as const) {
      const positions: number[] = [];
      for (let cursor: string | null = null; ; ) {
        const input: PageInput = way === 'forward' ? { first: 700, after: cursor } : { last: 700, before: cursor };
        const { edges, pageInfo } = await gateway.reads.events(filter, input);
        const found = edges.map(({ node }) => node.position);
        if (way === 'forward') positions.push(...found);
        else positions.unshift(...found);
        cursor = way === 'forward' ? pageInfo.endCursor : pageInfo.startCursor;
        if (!(way === 'forward' ? pageInfo.hasNextPage : pageInfo.hasPreviousPage)) break;
      }
      expect(positions).toEqual(expected);
    }
  });

  it('goes on in a filter from a cursor that another filter gave', async () => {
    const after = encodeEventCursor('main', 3_001);
    for (const [, filter, holds] of filters) {
      const expected = log.filter((event) => event._id > 3_001 && holds(event)).map(({ _id }) => _id);
      const { edges, pageInfo } = await gateway.reads.events(filter, { first: 5, after });
      expect(edges.map(({ node }) => node.position)).toEqual(expected.slice(0, 5));
      expect(pageInfo.hasNextPage).toBe(expected.length > 5);
    }
  });

  it('costs the same at the start and at the end of the log', async () => {
    const { db } = fixture.connection;
    const costs = new Map<string, number[]>();
    for (const [name, filter] of filters.filter(([, one]) => one.since === undefined && one.until === undefined)) {
      for (const page of [
        { first: 20 },
        { first: 20, after: encodeEventCursor('main', COUNT - 1_000) },
        { last: 20 },
      ]) {
        await db.command({ profile: 2 });
        await gateway.reads.events(filter, page);
        await db.command({ profile: 0 });
        const profile = await db
          .collection('system.profile')
          .find({ ns: `${db.databaseName}.events` })
          .toArray();
        await db.collection('system.profile').drop();
        for (const { planSummary, hasSortStage, docsExamined } of profile) {
          // The log reader looks at the last event now and then; of the clustered log that is a scan of one, by name.
          if (docsExamined > 1) expect([name, planSummary]).toEqual([name, expect.not.stringMatching(/COLLSCAN/)]);
          expect(hasSortStage).toBeUndefined();
        }
        const examined = profile.reduce(
          (sum, one) => sum + Math.max(Number(one.keysExamined ?? 0), Number(one.docsExamined ?? 0)),
          0,
        );
        costs.set(name, [...(costs.get(name) ?? []), examined]);
      }
    }
    // 21 events, what tells whether there are more before and after, and finding the cursor's version in its stream.
    for (const [name, examined] of costs) expect([name, Math.max(...examined) <= 60]).toEqual([name, true]);
  });

  it('by actor costs nothing where there is none: its index holds only the events that have one', async () => {
    const { keysPerIndex } = await fixture.connection.db.command({ validate: 'events' });
    const count = log.filter(({ meta }) => meta.actor !== null).length;
    expect(keysPerIndex).toMatchObject({ actor_position: count, correlation_position: COUNT });
  });

  it('has data of today, whatever version was stored', async () => {
    const old = await fixture.place([{ type: 'ItemPut', id: 'old', schemaVersion: 1, data: { rank: 1 } }]);
    const { edges } = await gateway.reads.events({ aggregate: 'item', aggregateId: 'old' }, {});
    expect(edges[0]?.node).toMatchObject({
      position: old[0]!._id,
      schemaVersion: 2,
      data: { rank: 1, group: 'from version 1' },
      stream: { tenant: 'default', aggregate: 'item', id: 'old', version: 1 },
    });
  });

  it('never leaves out an event that this process does not know: UNKNOWN_EVENT', async () => {
    await fixture.place([{ type: 'ItemInvented', id: 'x' }]);
    expect(await codeOf(() => gateway.reads.events({}, { last: 1 }))).toBe('UNKNOWN_EVENT');
    expect(await codeOf(() => gateway.reads.events({ aggregate: 'item' }, { last: 1 }))).toBe('UNKNOWN_EVENT');
    await gateway.reads.events({ types: ['ItemPut'] }, { last: 1 });
  });

  it('of an aggregate and a type of another one is empty, and reads nothing to find that out', async () => {
    await fixture.place(Array.from({ length: 2_000 }, () => ({ type: 'BoxShut', id: 'b', aggregate: 'box' })));
    const { db } = fixture.connection;
    await db.command({ profile: 2 });
    const page = await gateway.reads.events({ aggregate: 'item', types: ['BoxShut'] }, { last: 5 });
    await db.command({ profile: 0 });
    const profile = await db
      .collection('system.profile')
      .find({ ns: `${db.databaseName}.events`, 'command.filter.type': { $exists: true } })
      .toArray();
    await db.collection('system.profile').drop();
    expect(page.edges).toEqual([]);
    expect(profile.map(({ docsExamined }) => docsExamined)).toEqual([]);
    expect((await gateway.reads.events({ aggregate: 'box', types: ['BoxShut'] }, { last: 5 })).edges).toHaveLength(5);
    // A type that only newer code knows may be one of this aggregate.
    const invented = gateway.reads.events({ aggregate: 'item', types: ['BoxShut', 'ItemInvented'] }, {});
    expect(await codeOf(() => invented)).toBe('UNKNOWN_EVENT');
  });

  it.each<[string, EventFilterInput]>([
    ['an id without its aggregate', { aggregateId: 'long' }],
    ['types in a stream', { aggregate: 'item', aggregateId: 'long', types: ['ItemPut'] }],
    ['a correlation with types', { correlationId: 'flow1', types: ['ItemPut'] }],
    ['a correlation in a stream', { correlationId: 'flow1', aggregate: 'item', aggregateId: 'long' }],
    ['an actor with types', { actor: 'ada', types: ['ItemPut'] }],
    ['an actor with an aggregate', { actor: 'ada', aggregate: 'item' }],
    ['an actor in a stream', { actor: 'ada', aggregate: 'item', aggregateId: 'long' }],
    ['an actor with a correlation', { actor: 'ada', correlationId: 'flow1' }],
  ])('is refused with INDEX_MISSING for %s', async (_name, filter) => {
    expect(await codeOf(() => gateway.reads.events(filter, {}))).toBe('INDEX_MISSING');
  });

  it('is refused with a code for bad input', async () => {
    const bad = (filter: unknown, page: PageInput = {}) =>
      codeOf(() => gateway.reads.events(filter as EventFilterInput, page));
    expect(await bad({ aggregate: 'nothing' })).toBe('UNKNOWN_AGGREGATE');
    expect(await bad({ aggregate: 'constructor' })).toBe('UNKNOWN_AGGREGATE');
    for (const value of [{ $ne: null }, '', 5, ['a'], 'x'.repeat(10_000), 'a\u0000']) {
      expect(await bad({ aggregate: value })).toBe('BAD_INPUT');
      expect(await bad({ correlationId: value })).toBe('BAD_INPUT');
      expect(await bad({ actor: value })).toBe('BAD_INPUT');
      expect(await bad({ types: [value] })).toBe('BAD_INPUT');
      expect(await bad({ since: value })).toBe('BAD_INPUT');
    }
    expect(await bad({ types: 'ItemPut' })).toBe('BAD_INPUT');
    expect(await bad({ types: Array.from({ length: 101 }, (_, n) => `t${n}`) })).toBe('BAD_INPUT');
    expect(await bad({ until: new Date(Number.NaN) })).toBe('BAD_INPUT');
    expect(await bad({}, { first: -1 })).toBe('BAD_INPUT');
    expect(await bad({}, { first: 1e9 })).toBe('BAD_INPUT');
    expect(await bad({}, { after: 'x' })).toBe('BAD_CURSOR');
    expect(await bad({}, { after: encodeEventCursor('other', 1) })).toBe('BAD_CURSOR');
  });
});
