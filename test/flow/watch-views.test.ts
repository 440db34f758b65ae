import { describe, expect, it } from 'vitest';
import type { ViewChange } from '../../src/engine/contract.ts';
import { decodeViewCursor } from '../../src/engine/cursor.ts';
import type { ViewHint } from '../../src/engine/hint-bus.ts';
import { checkFilter, matches } from '../../src/engine/view-filter.ts';
import { toRecord } from '../../src/engine/view-handles.ts';
import { until } from '../setup/until.ts';
import {
  bare,
  codeOf,
  filterOf,
  type Gateway,
  type Item,
  lost,
  type ReadsFixture,
  type Route,
  readsFixture,
  withDocuments,
} from './reads-fixture.ts';

const fixture: ReadsFixture = await readsFixture();
const gateway: Gateway = await fixture.gateway();

const item = (rank: number, group = 'a'): Item => ({ group, rank });
/** What a client has after each message; checks on the way that versions only rise and cursors never go back. */
class Client {
  readonly messages: ViewChange[] = [];
  readonly documents = new Map<string, ViewChange['node']>();
  readonly problems: string[] = [];
  readonly #controller = new AbortController();
  readonly #versions = new Map<string, number>();
  readonly ended: Promise<void>;
  #revisions: readonly number[] = [];
  caughtUp = false;

  constructor(open: (signal: AbortSignal) => AsyncIterable<ViewChange>) {
    this.ended = this.#run(open(this.#controller.signal));
  }
  leave(): Promise<void> {
    this.#controller.abort();
    return this.ended;
  }
  async #run(stream: AsyncIterable<ViewChange>): Promise<void> {
    for await (const message of stream) this.#take(message);
  }
  #take(message: ViewChange): void {
    this.messages.push(message);
    const { signal, id, node, cursor } = message;
    const { revisions } = decodeViewCursor(cursor, 'main');
    if (this.#revisions.some((revision, partition) => (revisions[partition] ?? 0) < revision)) {
      this.problems.push(`the cursor went back: ${this.#revisions.join()} to ${revisions.join()}`);
    }
    this.#revisions = revisions;
    if (signal === 'CAUGHT_UP') this.caughtUp = true;
    if (id === null) return;
    const version = node?.version;
    if (version !== undefined && version <= (this.#versions.get(id) ?? 0)) {
      this.problems.push(`${id} went from version ${this.#versions.get(id)} to ${version}`);
    }
    if (signal === 'SNAPSHOT' && this.caughtUp) this.problems.push(`SNAPSHOT of ${id} after CAUGHT_UP`);
    if (version !== undefined) this.#versions.set(id, version);
    if (signal === 'REMOVED' || node === null) this.documents.delete(id);
    else this.documents.set(id, node);
  }
}
const watchOne = (id: string, of: Gateway = gateway): Client =>
  new Client((signal) => of.reads.watchDocument('item', id, signal));
const watchList = (filter?: Parameters<typeof filterOf>[0], of: Gateway = gateway): Client =>
  new Client((signal) => of.reads.watchDocuments('item', filter && filterOf(filter), signal));
const signals = ({ messages }: Client): string[] => messages.map(({ signal }) => signal);
const message = (client: Client, count: number): Promise<ViewChange> =>
  until(`${count} messages`, () => client.messages[count - 1], { seen: () => client.messages });

/** Documents that exist and match, as a client should have them. */
function living(filter: Parameters<typeof filterOf>[0] = {}): Map<string, ViewChange['node']> {
  const checked = checkFilter(filterOf(filter));
  const documents = [...fixture.written.values()].filter((one) => one._deleted === undefined && matches(checked, one));
  return new Map(documents.map((one) => [one._id, toRecord(one)]));
}
const versionsOf = (documents: ReadonlyMap<string, ViewChange['node']>): string[] =>
  [...documents].map(([id, node]) => `${id} v${node?.version}`).sort();
const level = (client: Client, filter?: Parameters<typeof filterOf>[0]): Promise<true> =>
  until(
    'the client has what the view has',
    () => (String(versionsOf(client.documents)) === String(versionsOf(living(filter))) ? true : undefined),
    { timeoutMs: 15_000, seen: () => difference(client, living(filter)) },
  );
const difference = (client: Client, expected: Map<string, ViewChange['node']>): unknown => {
  const [mine, theirs] = [new Set(versionsOf(client.documents)), new Set(versionsOf(expected))];
  return {
    onlyClient: [...mine].filter((one) => !theirs.has(one)),
    onlyView: [...theirs].filter((one) => !mine.has(one)),
  };
};

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
    const stream = gateway.reads.watchDocument('item', 'slow', controller.signal)[Symbol.asyncIterator]();
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
    const client = watchOne('local');
    await message(client, 1);
    const before = await reads();
    await fixture.write({ local: item(1) }, { route: withDocuments });
    await message(client, 2);
    expect((await reads()) - before).toBe(0);
    await client.leave();
  });

  it('is refused before it begins: UNKNOWN_VIEW, BAD_INPUT', async () => {
    const { signal } = new AbortController();
    expect(await codeOf(() => gateway.reads.watchDocument('nothing', 'x', signal))).toBe('UNKNOWN_VIEW');
    for (const id of ['', 'a\u0000', 'x'.repeat(10_000), { $ne: null } as unknown as string]) {
      expect(await codeOf(() => gateway.reads.watchDocument('item', id, signal))).toBe('BAD_INPUT');
    }
  });
});

/** Reads of the view's documents so far. */
async function reads(): Promise<number> {
  const { totals } = await fixture.connection.client.db('admin').command({ top: 1 });
  return Number(totals[fixture.collection.namespace]?.queries?.count ?? 0);
}

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
    const ids = Array.from({ length: 30 }, (_, n) => `t${String(n).padStart(2, '0')}`);
    await fixture.write(Object.fromEntries(ids.map((id) => [id, item(1, group)])));
    const controller = new AbortController();
    const stream = gateway.reads.watchDocuments('item', filterOf({ group: { eq: group } }), controller.signal);
    const slow = stream[Symbol.asyncIterator]();
    expect((await slow.next()).value.id).toBe('t00');
    const quick = watchList({ group: { eq: group } });
    await fixture.write({ t00: null, t10: item(2, 'elsewhere'), t11: null, t12: item(2, group), t99: item(2, group) });
    await level(quick, { group: { eq: group } });
    await quick.leave();
    const messages: string[] = [];
    for (let caughtUp = false; !caughtUp || messages.length < 30; ) {
      const { value } = await slow.next();
      caughtUp ||= value.signal === 'CAUGHT_UP';
      messages.push(`${value.signal} ${value.id} ${value.node?.document.rank}`);
    }
    const rest = ids.slice(1).filter((id) => !['t10', 't11'].includes(id));
    expect(messages.slice(0, 28)).toEqual([
      ...rest.map((id) => `SNAPSHOT ${id} ${id === 't12' ? 2 : 1}`),
      'CAUGHT_UP null undefined',
    ]);
    expect(messages.slice(28).sort()).toEqual(['REMOVED t00 undefined', 'UPDATE t99 2']);
    controller.abort();
  });

  it('gives a cursor of the beginning until it is caught up, then one that holds everything sent', async () => {
    const client = watchList({ group: { eq: 'list' } });
    await until('CAUGHT_UP', () => client.caughtUp || undefined);
    const cursors = client.messages.map(({ cursor }) =>
      decodeViewCursor(cursor, 'main').revisions.reduce((a, b) => a + b, 0),
    );
    expect(new Set(cursors.slice(0, -1))).toEqual(new Set([0]));
    expect(cursors.at(-1)).toBeGreaterThan(0);
    await client.leave();
  });

  it('is refused with INDEX_MISSING or BAD_INPUT like a list', async () => {
    const watch = (filter: Parameters<typeof filterOf>[0]) => () =>
      gateway.reads.watchDocuments('item', filterOf(filter), new AbortController().signal);
    expect(await codeOf(watch({ colour: { eq: 'red' } }))).toBe('INDEX_MISSING');
    expect(await codeOf(watch({ group: { eq: { $ne: 1 } } }))).toBe('BAD_INPUT');
  });

  it('keeps ids only of what a slow reader leaves behind, and reads it when the reader gets there', async () => {
    const controller = new AbortController();
    const stream = gateway.reads
      .watchDocuments('item', filterOf({ group: { eq: 'many' } }), controller.signal)
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

describe('hints', () => {
  it('that are lost, late, twice or out of order cost time only', async () => {
    const filter = { group: { eq: 'chaos' } };
    const held: (() => void)[] = [];
    let seed = 1;
    const chance = (): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return seed / 2 ** 32;
    };
    const chaos: Route = (hint: ViewHint, gateways) => {
      const send = (): void => (chance() < 0.5 ? bare : withDocuments)(hint, gateways);
      const fate = chance();
      if (fate < 0.2) return;
      if (fate < 0.5) held.push(send);
      else send();
      if (fate > 0.9) send();
      while (held.length > 5) held.splice(Math.floor(chance() * held.length), 1)[0]?.();
    };
    const clients = [watchList(filter), watchList(), ...Array.from({ length: 5 }, (_, n) => watchOne(`x${n}`))];
    await Promise.all(clients.map((client) => message(client, 1)));
    for (let n = 0; n < 400; n++) {
      const id = `x${Math.floor(chance() * 20)}`;
      const next = chance() < 0.15 ? null : item(n, chance() < 0.7 ? 'chaos' : 'calm');
      await fixture.write({ [id]: next }, { route: chaos });
    }
    // The last hints of all are lost: the partitions are asked once in a while.
    await fixture.write({ x1: item(1_000, 'chaos'), x2: item(1_000, 'chaos') }, { route: lost });
    for (const send of held) send();
    await level(clients[0]!, filter);
    await level(clients[1]!);
    for (const [n, client] of clients.slice(2).entries()) {
      const expected = [...living()].filter(([id]) => id === `x${n}`);
      await until(
        `x${n}`,
        () => (String(versionsOf(client.documents)) === String(versionsOf(new Map(expected))) ? true : undefined),
        {
          seen: () => client.messages.at(-1),
        },
      );
    }
    for (const client of clients) expect(client.problems).toEqual([]);
    await Promise.all(clients.map((client) => client.leave()));
  }, 60_000);
});

describe('200 subscriptions opened while everything changes', () => {
  it('all end with what the view holds, versions only rising', async () => {
    const filters = [{ group: { eq: 'a' } }, { group: { in: ['a', 'b'] } }, { rank: { gte: 50 } }, {}];
    const names = Array.from({ length: 60 }, (_, n) => `h${n}`);
    let writing = true;
    let n = 0;
    const routes = [bare, withDocuments, bare, lost];
    const writer = async (): Promise<void> => {
      while (writing) {
        n++;
        const next = (): Item | null => (n % 7 === 0 ? null : item((n * 31) % 100, ['a', 'b', 'c'][n % 3]));
        const [one, two] = [names[(n * 17) % 60]!, names[(n * 29) % 60]!];
        await fixture.write({ [one]: next(), [two]: item(n % 100, 'b') }, { route: routes[n % 4]! });
      }
    };
    const writers = [writer(), writer(), writer(), writer()];
    const clients: { client: Client; id?: string; filter?: Parameters<typeof filterOf>[0] }[] = [];
    for (let opened = 0; opened < 200; opened++) {
      const id = names[opened % 60]!;
      const filter = filters[opened % 4]!;
      clients.push(opened % 2 === 0 ? { client: watchOne(id), id } : { client: watchList(filter), filter });
      await new Promise((resolve) => setImmediate(resolve));
      if (opened % 20 === 19)
        await until(
          'more writes',
          seenMore(() => n),
        );
    }
    await until(
      'more writes',
      seenMore(() => n),
    );
    writing = false;
    await Promise.all(writers);
    for (const { client, id, filter } of clients) {
      if (filter !== undefined) await level(client, filter);
      else {
        const expected = new Map([...living()].filter(([one]) => one === id));
        await until(
          `the last state of ${id}`,
          () => (String(versionsOf(client.documents)) === String(versionsOf(expected)) ? true : undefined),
          {
            seen: () => ({ expected: versionsOf(expected), last: client.messages.at(-1) }),
          },
        );
      }
    }
    expect(clients.flatMap(({ client }) => client.problems)).toEqual([]);
    await Promise.all(clients.map(({ client }) => client.leave()));
  }, 90_000);

  const seenMore = (count: () => number): (() => true | undefined) => {
    const before = count();
    return () => (count() > before + 10 ? true : undefined);
  };
});

describe('1,000 listeners', () => {
  it('of one document cost one read a change', async () => {
    await fixture.write({ star: item(0) });
    const clients = Array.from({ length: 1_000 }, () => watchOne('star'));
    await Promise.all(clients.map((client) => message(client, 1)));
    const before = await reads();
    for (let rank = 1; rank <= 5; rank++) {
      await fixture.write({ star: item(rank) });
      const { _version } = fixture.written.get('star')!;
      for (const client of clients) {
        await until('the newest version', () =>
          client.messages.at(-1)?.node?.version === _version ? true : undefined,
        );
      }
    }
    expect((await reads()) - before).toBeLessThanOrEqual(5);
    expect(clients.flatMap(({ problems }) => problems)).toEqual([]);
    await Promise.all(clients.map((client) => client.leave()));
  }, 60_000);
});

describe('a subscription that ends', () => {
  it('leaves nothing behind: returned while it waits, aborted, or never begun', async () => {
    await until('no listeners of earlier tests', () => (gateway.reads.state.streamCount === 0 ? true : undefined));
    for (let round = 0; round < 100; round++) {
      const controller = new AbortController();
      const open = [
        gateway.reads.watchDocument('item', 'gone', controller.signal),
        gateway.reads.watchDocuments('item', undefined, controller.signal),
        gateway.reads.watchDocuments('item', filterOf({ group: { eq: 'nobody' } }), controller.signal),
        gateway.reads.watchEvents({}, undefined, controller.signal),
      ].map((stream) => stream[Symbol.asyncIterator]());
      // At different stages: not begun, opening, parked on its next message.
      const pending = open.flatMap((stream) => (round % 4 === 0 ? [] : [stream.next()]));
      if (round % 4 > 1) await Promise.all(pending);
      const parked = round % 4 === 3 ? open.map((stream) => stream.next()) : [];
      if (round % 2 === 0) controller.abort();
      else await Promise.all(open.map((stream) => stream.return?.()));
      await Promise.all([...pending, ...parked]);
      expect(await Promise.all(open.map((stream) => stream.next()))).toEqual(
        open.map(() => ({ done: true, value: undefined })),
      );
    }
    await until(
      'streams, listeners and feeds are gone',
      () => {
        const { streamCount, feeds } = gateway.reads.state;
        return streamCount === 0 && feeds.every(({ running, listenerCount }) => !running && listenerCount === 0)
          ? true
          : undefined;
      },
      { seen: () => gateway.reads.state },
    );
  });

  it('ends with the process, and none begins after', async () => {
    const stopping = await fixture.gateway();
    const client = watchList({ group: { eq: 'nobody' } }, stopping);
    await message(client, 1);
    stopping.reads.close();
    await client.ended;
    await watchOne('x', stopping).ended;
    expect(stopping.reads.state.streamCount).toBe(0);
  });
});
