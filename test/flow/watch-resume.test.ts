import { describe, expect, it } from 'vitest';
import { partitionOf } from '../../src/define/partition.ts';
import { CURSOR_MAX_AGE_S } from '../../src/engine/subscriptions/resume.ts';
import { decodeViewCursor, documentScope, encodeViewCursor, listScope } from '../../src/engine/views/cursor.ts';
import { checkFilter } from '../../src/engine/views/view-filter.ts';
import { until } from '../setup/until.ts';
import {
  codeOf,
  filterOf,
  type Gateway,
  GENERATION,
  lost,
  type ReadsFixture,
  readsFixture,
  withDocuments,
} from './reads-fixture.ts';
import { type Client, type Conditions, item, watching } from './watch-client.ts';

/** Two gateways: a client leaves one, and goes on at the other. */
const fixture: ReadsFixture = await readsFixture();
const first: Gateway = await fixture.gateway();
const second: Gateway = await fixture.gateway();
const builtAtMs = (await fixture.views().builtAt('items', GENERATION)) ?? 0;
const { watchOne, watchList, message, level, reads } = watching(fixture, first);

const shown = ({ messages }: Client): string[] =>
  messages.map(({ signal, id, node, gap }) => [signal, id ?? gap ?? '', node?.version ?? ''].join(' ').trim());
const caughtUp = (client: Client): Promise<true> =>
  until('CAUGHT_UP', () => client.caughtUp || undefined, { seen: () => shown(client) });
const lastCursor = (client: Client): string => client.messages.at(-1)!.cursor;

/** Watches until it is caught up, leaves, and gives the last cursor. */
async function seen(open: () => Client): Promise<{ cursor: string; client: Client }> {
  const client = open();
  const began = client.isList ? caughtUp(client) : message(client, 1);
  await began;
  await client.leave();
  return { cursor: lastCursor(client), client };
}

describe('a subscription to a document goes on after a cursor, on another gateway', () => {
  it('with nothing but CAUGHT_UP when nothing happened to it, then with its changes', async () => {
    await fixture.write({ doc1: item(1) });
    const { cursor } = await seen(() => watchOne('doc1'));
    await fixture.write({ otherwise: item(1) });
    const client = watchOne('doc1', { of: second, after: cursor });
    expect(await message(client, 1)).toMatchObject({ signal: 'CAUGHT_UP', id: null, gap: null });
    await fixture.write({ doc1: item(2) });
    await message(client, 2);
    expect(shown(client)).toEqual(['CAUGHT_UP', 'UPDATE doc1 2']);
    await client.leave();
  });

  it('with the last state that it missed, and whose commands made it', async () => {
    await fixture.write({ doc2: item(1) }, { commandId: 'before' });
    const { cursor } = await seen(() => watchOne('doc2'));
    for (const n of [2, 3]) await fixture.write({ doc2: item(n) }, { commandId: `c${n}` });
    const client = watchOne('doc2', { of: second, after: cursor });
    expect(await message(client, 1)).toMatchObject({ signal: 'UPDATE', id: 'doc2', origins: ['c2', 'c3'] });
    await message(client, 2);
    expect(shown(client)).toEqual(['UPDATE doc2 3', 'CAUGHT_UP']);
    await client.leave();
  });

  it('with REMOVED when it was removed meanwhile, and with what comes after', async () => {
    await fixture.write({ doc3: item(1) });
    const { cursor } = await seen(() => watchOne('doc3'));
    await fixture.write({ doc3: null });
    const client = watchOne('doc3', { of: second, after: cursor });
    await message(client, 2);
    await fixture.write({ doc3: item(3) });
    await message(client, 3);
    expect(shown(client)).toEqual(['REMOVED doc3', 'CAUGHT_UP', 'UPDATE doc3 3']);
    await client.leave();
  });
});

describe('a subscription to a list goes on after a cursor, on another gateway', () => {
  const filter = { group: { eq: 'went on' } };
  const inside = (rank: number) => item(rank, 'went on');

  it('with what changed, came, went and stopped matching, in any partition, then CAUGHT_UP', async () => {
    const names = Array.from({ length: 60 }, (_, n) => `list${n}`);
    expect(new Set(names.map((id) => partitionOf(id, 16))).size).toBeGreaterThan(10);
    await fixture.write(Object.fromEntries(names.map((id) => [id, inside(1)])));
    const { cursor, client: before } = await seen(() => watchList(filter));
    await fixture.write({ list0: inside(2), list1: null, list2: item(1, 'elsewhere'), new1: inside(1) });
    await fixture.write({ list0: inside(3), list3: null, new2: inside(1), never: item(1, 'elsewhere') });
    await fixture.write({ list3: inside(4), new2: null });
    const client = watchList(filter, { of: second, after: cursor, documents: before.documents });
    await caughtUp(client);
    await level(client, filter);
    expect(shown(client).sort()).toEqual([
      'CAUGHT_UP',
      // It may name some that the client never had.
      'REMOVED list1',
      'REMOVED list2',
      'REMOVED never',
      'REMOVED new2',
      'UPDATE list0 3',
      'UPDATE list3 3',
      'UPDATE new1 1',
    ]);
    expect(shown(client).at(-1)).toBe('CAUGHT_UP');
    expect(client.problems).toEqual([]);
    await client.leave();
  });

  it('then with REMOVED for what it never sent here and the client has from before; with nothing for what it has not', async () => {
    const { cursor, client: before } = await seen(() => watchList(filter));
    const client = watchList(filter, { of: second, after: cursor, documents: before.documents });
    await caughtUp(client);
    await fixture.write({ list10: item(2, 'elsewhere'), list11: null });
    await until('both are gone', () => client.messages.length >= 3 || undefined, { seen: () => shown(client) });
    // By now it knows exactly what the client has: others are not named.
    await until('the feed has told all', async () => {
      const sent = client.messages.length;
      await fixture.write({ stranger: item(sent, 'elsewhere') });
      await fixture.write({ list12: inside(sent) });
      await until('an update', () => client.messages.at(-1)?.id === 'list12' || undefined);
      return client.messages.length === sent + 1 || undefined;
    });
    await level(client, filter);
    expect(shown(client)).toEqual(expect.arrayContaining(['REMOVED list10', 'REMOVED list11']));
    await client.leave();
  });

  it('with REMOVED for what leaves while it begins', async () => {
    const views = fixture.views();
    /** Between the read of the partitions and its answer. */
    let meanwhile = async (): Promise<void> => undefined;
    const third = await fixture.gateway(
      { pollMs: 600_000 },
      {
        ...views,
        partitions: async (...generation) => {
          const states = await views.partitions(...generation);
          await meanwhile();
          return states;
        },
      },
    );
    await fixture.write({ going: inside(1), staying: inside(1) });
    const keeping = watchList(filter, { of: third });
    await caughtUp(keeping);
    const before = watchList(filter, { of: third });
    await caughtUp(before);
    await before.leave();
    meanwhile = async () => {
      meanwhile = async () => undefined;
      await fixture.write({ going: item(2, 'elsewhere') }, { route: withDocuments });
    };
    const client = watchList(filter, { of: third, after: lastCursor(before), documents: before.documents });
    await caughtUp(client);
    await fixture.write({ staying: inside(2) });
    await until('what is written after it', () => client.documents.get('staying')?.document.rank === 2 || undefined);
    await level(client, filter);
    expect(shown(client)).toContain('REMOVED going');
    await Promise.all([keeping.leave(), client.leave()]);
  });

  it('of all documents with what was removed', async () => {
    const { cursor, client: before } = await seen(() => watchList());
    await fixture.write({ list20: null });
    const client = watchList({}, { of: second, after: cursor, documents: before.documents });
    await caughtUp(client);
    expect(shown(client)).toEqual(['REMOVED list20', 'CAUGHT_UP']);
    await fixture.write({ list21: null });
    await message(client, 3);
    await level(client);
    await client.leave();
  });

  it('with what another partition wrote "in the past", as a healed dead letter does', async () => {
    const [healed, ahead] = ['list30', 'list31'];
    expect(partitionOf(healed, 16)).not.toBe(partitionOf(ahead, 16));
    await fixture.write({ [ahead]: inside(1) }, { checkpoint: 5_000 });
    const { cursor } = await seen(() => watchList(filter));
    await fixture.write({ [healed]: inside(77) }, { checkpoint: 100 });
    expect(fixture.written.get(healed)!._position).toBeLessThan(fixture.written.get(ahead)!._position);
    const client = watchList(filter, { of: second, after: cursor });
    expect(await message(client, 1)).toMatchObject({ signal: 'UPDATE', id: healed, node: { document: { rank: 77 } } });
    await client.leave();
  });

  it('by pages, and cut in the middle of them from any of its cursors', async () => {
    const cuts = { group: { eq: 'cut' } };
    // Many of one partition, so that what one transaction wrote is more than a page.
    const all = Array.from({ length: 2_400 }, (_, n) => `cut${n}`);
    const names = all.filter((id) => partitionOf(id, 16) < 2).slice(0, 300);
    expect(names).toHaveLength(300);
    await fixture.write(Object.fromEntries(names.map((id) => [id, item(1, 'cut')])));
    const { cursor, client: before } = await seen(() => watchList(cuts));
    for (const rank of [2, 3]) await fixture.write(Object.fromEntries(names.map((id) => [id, item(rank, 'cut')])));
    await fixture.write({ [names[7]!]: null, [names[8]!]: item(4, 'elsewhere') });
    const whole = watchList(cuts, { of: second, after: cursor, documents: new Map(before.documents) });
    await level(whole, cuts);
    await whole.leave();
    for (const at of [0, 1, 19, 20, 21, 100, 150, 299]) {
      const documents = new Map(before.documents);
      const part = watchList(cuts, { after: cursor, documents, leaveAfter: at + 1 });
      await part.ended;
      await fixture.write({ [names[at]!]: item(100 + at, 'cut') });
      const rest = watchList(cuts, { of: second, after: lastCursor(part), documents });
      await caughtUp(rest);
      await level(rest, cuts);
      expect(rest.messages.length).toBeLessThanOrEqual(302);
      expect([part.problems, rest.problems]).toEqual([[], []]);
      await rest.leave();
    }
  });

  it('again and again while everything changes: at the end it has what the view has', async () => {
    const busy = { group: { in: ['busy', 'busier'] } };
    let writing = true;
    let n = 0;
    const writer = async (): Promise<void> => {
      while (writing) {
        n++;
        const group = ['busy', 'busier', 'idle'][n % 3]!;
        await fixture.write(
          { [`b${(n * 7) % 40}`]: n % 11 === 0 ? null : item(n, group) },
          n % 5 === 0 ? { route: lost } : {},
        );
      }
    };
    const writers = [writer(), writer()];
    const turns = Promise.all(
      Array.from({ length: 5 }, async (_, which) => {
        const documents: Client['documents'] = new Map();
        let after: string | undefined;
        for (let cut = 0; cut < 25; cut++) {
          const of = cut % 2 === 0 ? first : second;
          const part = watchList(busy, { of, after, documents, leaveAfter: 1 + ((cut * 7 + which) % 13) });
          await part.ended;
          expect(part.problems).toEqual([]);
          after = lastCursor(part);
        }
        return { documents, after };
      }),
    );
    const states = await turns.finally(async () => {
      writing = false;
      await Promise.all(writers);
    });
    for (const { documents, after } of states) {
      const last = watchList(busy, { after, documents });
      await level(last, busy);
      await last.leave();
    }
  });
});

describe('a cursor that does not fit', () => {
  const filter = { group: { eq: 'gap' } };
  const scope = listScope(checkFilter(filterOf(filter)));
  const place = { logId: 'main', view: 'item', generation: GENERATION, builtAtMs };
  const issuedAtS = Math.floor(Date.now() / 1_000);

  it.each([
    ['OTHER_LOG', { logId: 'elsewhere' }],
    ['OTHER_VIEW', { view: 'other' }],
    ['GENERATION', { generation: GENERATION - 1 }],
    ['GENERATION', { builtAtMs: builtAtMs - 1 }],
    ['OTHER_FILTER', { scope: listScope([]) }],
    ['OTHER_FILTER', { scope: documentScope('gap1') }],
    ['INCOMPLETE', { revisions: [] }],
    ['TOO_OLD', { issuedAtS: issuedAtS - CURSOR_MAX_AGE_S - 1 }],
    ['AHEAD', { revisions: [1_000_000] }],
  ] as const)('gets GAP %s from a list, then a snapshot, CAUGHT_UP and changes', async (gap, difference) => {
    await fixture.write({ gap1: item(1, 'gap'), gap2: item(1, 'gap') });
    const after = encodeViewCursor({ ...place, issuedAtS, revisions: [0], scope, ...difference });
    const client = watchList(filter, { after });
    await caughtUp(client);
    await level(client, filter);
    expect(client.messages.map(({ signal, id, gap: why }) => `${signal} ${why ?? id}`)).toEqual([
      `GAP ${gap}`,
      'SNAPSHOT gap1',
      'SNAPSHOT gap2',
      'CAUGHT_UP null',
    ]);
    await fixture.write({ gap2: item(2, 'gap') });
    expect(await message(client, 5)).toMatchObject({ signal: 'UPDATE', id: 'gap2' });
    await client.leave();
    const again = watchList(filter, { of: second, after: lastCursor(client) });
    await caughtUp(again);
    expect(shown(again)).toEqual(['CAUGHT_UP']);
    await again.leave();
  });

  it('gets GAP from a document, its snapshot and CAUGHT_UP', async () => {
    await fixture.write({ gap3: item(1, 'gap') });
    const cases = {
      OTHER_DOCUMENT: documentScope('gap1'),
      AHEAD: documentScope('gap3'),
    };
    for (const [gap, own] of Object.entries(cases)) {
      const after = encodeViewCursor({ ...place, issuedAtS, revisions: [1_000_000], scope: own });
      const client = watchOne('gap3', { after });
      await message(client, 3);
      expect(shown(client)).toEqual([`GAP ${gap}`, expect.stringMatching('^SNAPSHOT gap3'), 'CAUGHT_UP']);
      await client.leave();
    }
  });

  it('is not TOO_OLD while nothing has changed', async () => {
    const { cursor } = await seen(() => watchList(filter));
    const old = encodeViewCursor({ ...decodeViewCursor(cursor), issuedAtS: 1 });
    const client = watchList(filter, { of: second, after: old });
    await caughtUp(client);
    expect(shown(client)).toEqual(['CAUGHT_UP']);
    await client.leave();
  });

  it('is INCOMPLETE when the snapshot was cut: a document removed since does not stay', async () => {
    const documents: Client['documents'] = new Map();
    const cut = watchList(filter, { documents, leaveAfter: 1 });
    await cut.ended;
    const [gone] = [...documents.keys()];
    await fixture.write({ [gone!]: null });
    const client = watchList(filter, { of: second, after: lastCursor(cut), documents });
    await level(client, filter);
    expect(client.messages[0]).toMatchObject({ signal: 'GAP', gap: 'INCOMPLETE' });
    await client.leave();
  });

  it('is BAD_CURSOR when it is forged, cut or of something else, thrown by the call', async () => {
    const { signal } = new AbortController();
    const good = encodeViewCursor({ ...place, issuedAtS, revisions: [0], scope });
    for (const after of ['x', good.slice(0, -1), good.slice(1), `${good}A`, good.split('.')[0]!]) {
      expect(await codeOf(() => first.reads.watchDocument('item', 'x', after, signal))).toBe('BAD_CURSOR');
      expect(await codeOf(() => first.reads.watchDocuments('item', undefined, after, signal))).toBe('BAD_CURSOR');
    }
  });
});

describe('a partition that is reset', () => {
  it('tells of every document that is gone, and so does a cursor from before', async () => {
    const filter = { group: { eq: 'reset' } };
    const ids = ['reset1', 'reset2', 'reset3'];
    await fixture.write(Object.fromEntries(ids.map((id) => [id, item(1, 'reset')])));
    const client = watchList(filter);
    await caughtUp(client);
    const { cursor, client: before } = await seen(() => watchList(filter, { of: second }));
    const [gone = ''] = ids;
    const ref = { consumer: 'items', generation: GENERATION, partition: partitionOf(gone, 16) };
    const done = await fixture.reset(ref.partition);
    for (const { bus } of fixture.gateways) {
      bus.publish({ kind: 'view', view: 'item', generation: GENERATION, ...done, ids: [] });
    }
    await until('it is removed', () => shown(client).includes(`REMOVED ${gone}`) || undefined, {
      seen: () => shown(client),
    });
    const later = watchList(filter, { of: second, after: cursor, documents: before.documents });
    await caughtUp(later);
    expect(later.documents.has(gone)).toBe(false);
    for (const one of [client, later]) await level(one, filter);
    await Promise.all([client.leave(), later.leave()]);
  });
});

describe('a view that is served from another build', () => {
  it('tells every open subscription GAP, a snapshot and CAUGHT_UP, and they go on', async () => {
    const filter = { group: { eq: 'swap' } };
    await fixture.write({ swap1: item(1, 'swap') });
    const list = watchList(filter);
    const one = watchOne('swap1');
    await Promise.all([caughtUp(list), message(one, 1)]);
    first.reads.restartWatches('item', 'GENERATION');
    await Promise.all([message(list, 5), message(one, 4)]);
    expect(shown(list).slice(2)).toEqual(['GAP GENERATION', 'SNAPSHOT swap1 1', 'CAUGHT_UP']);
    expect(shown(one).slice(1)).toEqual(['GAP GENERATION', 'SNAPSHOT swap1 1', 'CAUGHT_UP']);
    await fixture.write({ swap1: item(2, 'swap') });
    expect(await message(list, 6)).toMatchObject({ signal: 'UPDATE', node: { version: 2 } });
    expect(await message(one, 5)).toMatchObject({ signal: 'UPDATE', node: { version: 2 } });
    await Promise.all([list.leave(), one.leave()]);
    await until('nothing is left', () => first.reads.state.streamCount === 0 || undefined);
  });
});

describe('what is read', () => {
  it('is one read a change and gateway for 100 equal and 100 different subscriptions together', async () => {
    await fixture.write({ star: item(0, 'star') });
    const filterOfN = (n: number): Conditions => (n < 100 ? { group: { eq: 'star' } } : { rank: { gte: n - 300 } });
    const clients = Array.from({ length: 200 }, (_, n) =>
      watchList(filterOfN(n), { of: n % 2 === 0 ? first : second }),
    );
    await Promise.all(clients.map(caughtUp));
    const before = await reads();
    for (let rank = 1; rank <= 5; rank++) {
      await fixture.write({ star: item(rank, 'star') });
      const version = fixture.written.get('star')!._version;
      for (const client of clients) {
        await until('the change', () => client.messages.at(-1)?.node?.version === version || undefined);
      }
      // Equal subscribers get the same message: what is made of it is made once.
      const equal = clients.filter((_, n) => n < 100 && n % 2 === 0).map(({ messages }) => messages.at(-1));
      expect(new Set(equal).size).toBe(1);
    }
    // Two gateways.
    expect((await reads()) - before).toBeLessThanOrEqual(10);
    await Promise.all(clients.map((client) => client.leave()));
  });

  it('for the snapshots of 100 equal lists that begin together is what one of them costs; so for what they missed', async () => {
    const filter = { group: { eq: 'shared' } };
    await fixture.write(Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`sh${n}`, item(1, 'shared')])));
    const costs = async (count: number, after?: string): Promise<number> => {
      const before = await reads();
      const clients = Array.from({ length: count }, () => watchList(filter, { after }));
      await Promise.all(clients.map(caughtUp));
      const cost = (await reads()) - before;
      await Promise.all(clients.map((client) => client.leave()));
      return cost;
    };
    const alone = await costs(1);
    expect(alone).toBeGreaterThan(2);
    expect(await costs(100)).toBeLessThanOrEqual(2 * alone);
    const { cursor } = await seen(() => watchList(filter));
    await fixture.write(Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`sh${n}`, item(2, 'shared')])));
    const missed = await costs(1, cursor);
    expect(missed).toBeGreaterThan(2);
    // Pages of all partitions together, and the ids that match; it was one read a partition at least.
    expect(missed).toBeLessThanOrEqual(6);
    expect(await costs(100, cursor)).toBeLessThanOrEqual(2 * missed);
  });
});
