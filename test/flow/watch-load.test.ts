import { describe, expect, it } from 'vitest';
import type { ViewHint } from '../../src/engine/log/hint-bus.ts';
import { until } from '../setup/until.ts';
import {
  bare,
  filterOf,
  type Gateway,
  type Item,
  lost,
  type ReadsFixture,
  type Route,
  readsFixture,
  withDocuments,
} from './reads-fixture.ts';
import { type Client, type Conditions, item, watching } from './watch-client.ts';

const fixture: ReadsFixture = await readsFixture();
const gateway: Gateway = await fixture.gateway();
const { watchOne, watchList, message, living, versionsOf, level, reads } = watching(fixture, gateway);

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
  });
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
    const clients: { client: Client; id?: string; filter?: Conditions }[] = [];
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
  });

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
  });
});

describe('a subscription that ends', () => {
  it('leaves nothing behind: returned while it waits, aborted, or never begun', async () => {
    await until('no listeners of earlier tests', () => (gateway.reads.state.streamCount === 0 ? true : undefined));
    for (let round = 0; round < 100; round++) {
      const controller = new AbortController();
      const open = [
        gateway.reads.watchDocument('item', 'gone', undefined, controller.signal),
        gateway.reads.watchDocuments('item', undefined, undefined, controller.signal),
        gateway.reads.watchDocuments('item', filterOf({ group: { eq: 'nobody' } }), undefined, controller.signal),
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
    const client = watchList({ group: { eq: 'nobody' } }, { of: stopping });
    await message(client, 1);
    stopping.reads.close();
    await client.ended;
    await watchOne('x', { of: stopping }).ended;
    expect(stopping.reads.state.streamCount).toBe(0);
  });
});
