import { describe, expect, it } from 'vitest';
import { decodeViewCursor } from '../../src/engine/views/cursor.ts';
import { until } from '../setup/until.ts';
import { codeOf, filterOf, type Gateway, type ReadsFixture, readsFixture, withDocuments } from './reads-fixture.ts';
import { type Conditions, item, watching } from './watch-client.ts';

const fixture: ReadsFixture = await readsFixture();
const gateway: Gateway = await fixture.gateway();
const { watchOne, watchList, signals, message, level, reads } = watching(fixture, gateway);

describe('a subscription to a document', () => {
  it('begins with a snapshot, also of nothing, and goes on with its changes', async () => {
    const client = watchOne('doc1');
    expect(await message(client, 1)).toMatchObject({ signal: 'SNAPSHOT', id: 'doc1', node: null, origins: [] });
    await fixture.write({ doc1: item(1) }, { commandId: 'c1' });
    expect(await message(client, 2)).toMatchObject({
      signal: 'UPDATE',
      id: 'doc1',
      node: { id: 'doc1', version: 1, document: { id: 'doc1', group: 'a', rank: 1 } },
      origins: ['c1'],
    });
    await fixture.write({ doc1: null }, { commandId: 'c2' });
    expect(await message(client, 3)).toMatchObject({ signal: 'REMOVED', id: 'doc1', node: null, origins: ['c2'] });
    await fixture.write({ doc1: item(3) }, { commandId: 'c3' });
    expect(await message(client, 4)).toMatchObject({ signal: 'UPDATE', node: { version: 3 }, origins: ['c3'] });
    await client.leave();
    expect(client.problems).toEqual([]);
  });

  it('shows no field of the platform', async () => {
    await fixture.write({ doc2: item(1) });
    const client = watchOne('doc2');
    expect(Object.keys((await message(client, 1)).node?.document ?? {})).toEqual(['id', 'group', 'rank']);
    await client.leave();
  });

  it('merges what a slow reader did not take, names the commands, and holds the newest state only', async () => {
    const controller = new AbortController();
    const stream = gateway.reads.watchDocument('item', 'slow', undefined, controller.signal)[Symbol.asyncIterator]();
    expect((await stream.next()).value).toMatchObject({ signal: 'SNAPSHOT' });
    const quick = watchOne('slow');
    for (let n = 1; n <= 25; n++) await fixture.write({ slow: item(n) }, { commandId: `c${n}` });
    await until('the newest state', () => (quick.messages.at(-1)?.node?.version === 25 ? true : undefined));
    await quick.leave();
    const { value } = await stream.next();
    expect(value.node.document.rank).toBe(25);
    expect(value.origins).toHaveLength(10);
    expect(value.origins.at(-1)).toBe('c25');
    controller.abort();
  });

  it('comes in the process that wrote it without a read', async () => {
    // One that does not look by itself: it may do so before it hears of a change.
    const of = await fixture.gateway({ pollMs: 600_000 });
    const client = watchOne('local', { of });
    await message(client, 1);
    const before = await reads();
    await fixture.write({ local: item(1) }, { route: withDocuments });
    await message(client, 2);
    expect((await reads()) - before).toBe(0);
    await client.leave();
  });

  it('is refused before it begins: UNKNOWN_VIEW, BAD_INPUT', async () => {
    const { signal } = new AbortController();
    expect(await codeOf(() => gateway.reads.watchDocument('nothing', 'x', undefined, signal))).toBe('UNKNOWN_VIEW');
    for (const id of ['', 'a\u0000', 'x'.repeat(10_000), { $ne: null } as unknown as string]) {
      expect(await codeOf(() => gateway.reads.watchDocument('item', id, undefined, signal))).toBe('BAD_INPUT');
    }
  });
});

describe('a subscription to a list', () => {
  it('begins with a snapshot of each document in order of id, then CAUGHT_UP, then changes', async () => {
    const ids = Array.from({ length: 450 }, (_, n) => `l${String(n).padStart(3, '0')}`);
    await fixture.write(Object.fromEntries(ids.map((id, n) => [id, item(n, 'list')])));
    const filter = { group: { eq: 'list' } };
    const client = watchList(filter);
    await until('CAUGHT_UP', () => client.caughtUp || undefined, { seen: () => client.messages.length });
    expect(client.messages.map(({ id }) => id)).toEqual([...ids, null]);
    expect(signals(client)).toEqual([...ids.map(() => 'SNAPSHOT'), 'CAUGHT_UP']);
    await fixture.write({
      l001: item(7, 'list'),
      l002: item(2, 'elsewhere'),
      l003: null,
      l999: item(1, 'list'),
      l004x: item(1, 'b'),
    });
    await level(client, filter);
    const changes = client.messages.slice(451);
    expect(new Map(changes.map(({ id, signal }) => [id, signal]))).toEqual(
      new Map([
        ['l001', 'UPDATE'],
        ['l002', 'REMOVED'],
        ['l003', 'REMOVED'],
        ['l999', 'UPDATE'],
      ]),
    );
    await fixture.write({ l002: item(2, 'list') });
    await level(client, filter);
    expect(client.messages.at(-1)).toMatchObject({ signal: 'UPDATE', id: 'l002' });
    await client.leave();
    expect(client.problems).toEqual([]);
  });

  it('never sends of the snapshot what changed before it was its turn', async () => {
    const group = 'turn';
    const ids = Array.from({ length: 15 }, (_, n) => `t${String(n).padStart(2, '0')}`);
    await fixture.write(Object.fromEntries(ids.map((id) => [id, item(1, group)])));
    const controller = new AbortController();
    const stream = gateway.reads.watchDocuments(
      'item',
      filterOf({ group: { eq: group } }),
      undefined,
      controller.signal,
    );
    const slow = stream[Symbol.asyncIterator]();
    expect((await slow.next()).value.id).toBe('t00');
    // It hears of the changes, and so has the other: its own snapshot would show them before either has.
    const quick = watchList({ group: { eq: group } });
    await until('CAUGHT_UP', () => quick.caughtUp || undefined);
    await fixture.write({ t00: null, t10: item(2, 'elsewhere'), t11: null, t12: item(2, group), t99: item(2, group) });
    await level(quick, { group: { eq: group } });
    await quick.leave();
    const messages: string[] = [];
    for (let caughtUp = false; !caughtUp || messages.length < 15; ) {
      const { value } = await slow.next();
      caughtUp ||= value.signal === 'CAUGHT_UP';
      messages.push(`${value.signal} ${value.id} ${value.node?.document.rank}`);
    }
    const rest = ids.slice(1).filter((id) => !['t10', 't11'].includes(id));
    expect(messages.slice(0, 13)).toEqual([
      ...rest.map((id) => `SNAPSHOT ${id} ${id === 't12' ? 2 : 1}`),
      'CAUGHT_UP null undefined',
    ]);
    expect(messages.slice(13).sort()).toEqual(['REMOVED t00 undefined', 'UPDATE t99 2']);
    controller.abort();
  });

  it('tells a slow reader of a document that changes all the time in its turn, and not after all others', async () => {
    const filter = { group: { eq: 'turns' } };
    await fixture.write({ hot: item(1, 'turns'), cool: item(1, 'turns') });
    const controller = new AbortController();
    const slow = gateway.reads
      .watchDocuments('item', filterOf(filter), undefined, controller.signal)
      [Symbol.asyncIterator]();
    while ((await slow.next()).value.signal !== 'CAUGHT_UP');
    const quick = watchList(filter);
    await until('CAUGHT_UP', () => quick.caughtUp || undefined);
    for (const change of [{ hot: 2 }, { cool: 2 }, { hot: 3 }]) {
      await fixture.write(Object.fromEntries(Object.entries(change).map(([id, rank]) => [id, item(rank, 'turns')])));
      await level(quick, filter);
    }
    const told = [(await slow.next()).value, (await slow.next()).value];
    expect(told.map(({ id, node }) => [id, node.document.rank])).toEqual([
      ['hot', 3],
      ['cool', 2],
    ]);
    controller.abort();
    await quick.leave();
  });

  it('gives a cursor of the beginning until it is caught up, then one that holds everything sent', async () => {
    const client = watchList({ group: { eq: 'list' } });
    await until('CAUGHT_UP', () => client.caughtUp || undefined);
    const cursors = client.messages.map(({ cursor }) => decodeViewCursor(cursor).revisions.reduce((a, b) => a + b, 0));
    expect(new Set(cursors.slice(0, -1))).toEqual(new Set([0]));
    expect(cursors.at(-1)).toBeGreaterThan(0);
    await client.leave();
  });

  it('is refused with INDEX_MISSING or BAD_INPUT like a list', async () => {
    const watch = (filter: Conditions) => () =>
      gateway.reads.watchDocuments('item', filterOf(filter), undefined, new AbortController().signal);
    expect(await codeOf(watch({ colour: { eq: 'red' } }))).toBe('INDEX_MISSING');
    expect(await codeOf(watch({ group: { eq: { $ne: 1 } } }))).toBe('BAD_INPUT');
    expect(await codeOf(watch({ group: {} }))).toBe('BAD_INPUT');
  });

  it('keeps ids only of what a slow reader leaves behind, and reads it when the reader gets there', async () => {
    const controller = new AbortController();
    const stream = gateway.reads
      .watchDocuments('item', filterOf({ group: { eq: 'many' } }), undefined, controller.signal)
      [Symbol.asyncIterator]();
    expect((await stream.next()).value.signal).toBe('CAUGHT_UP');
    const ids = Array.from({ length: 2_500 }, (_, n) => `m${n}`);
    await fixture.write(Object.fromEntries(ids.map((id) => [id, item(1, 'many')])));
    await fixture.write(Object.fromEntries(ids.map((id) => [id, item(2, 'many')])));
    const client = watchList({ group: { eq: 'many' } });
    await level(client, { group: { eq: 'many' } });
    const seen = new Map<string, number>();
    while (seen.size < ids.length || [...seen.values()].some((version) => version < 2)) {
      const { value } = await stream.next();
      expect(value.node.version).toBeGreaterThan(seen.get(value.id) ?? 0);
      seen.set(value.id, value.node.version);
    }
    controller.abort();
    await client.leave();
  });
});
