import { describe, expect, it } from 'vitest';
import type { EventDelivery, EventFilterInput } from '../../src/engine/contract/runtime.ts';
import { createHintBus } from '../../src/engine/log/hint-bus.ts';
import { createLogReader } from '../../src/engine/log/log-reader.ts';
import { decodeEventCursor, encodeEventCursor } from '../../src/engine/views/cursor.ts';
import { until } from '../setup/until.ts';
import { codeOf, type Gateway, type PlacedEvent, type ReadsFixture, readsFixture } from './reads-fixture.ts';

const fixture: ReadsFixture = await readsFixture();
const gateway: Gateway = await fixture.gateway();

class Client {
  readonly messages: EventDelivery[] = [];
  readonly #controller = new AbortController();
  readonly ended: Promise<string>;

  constructor(filter: EventFilterInput, after?: string) {
    const stream = gateway.reads.watchEvents(filter, after, this.#controller.signal);
    this.ended = codeOf(async () => {
      for await (const message of stream) this.messages.push(message);
    });
  }
  get positions(): number[] {
    return this.messages.flatMap(({ event }) => (event === null ? [] : [event.position]));
  }
  get caughtUp(): number {
    return this.messages.filter(({ signal }) => signal === 'CAUGHT_UP').length;
  }
  leave(): Promise<string> {
    this.#controller.abort();
    return this.ended;
  }
}
const put = (id: string): PlacedEvent => ({ type: 'ItemPut', id });
const seen = (id: string): PlacedEvent => ({ type: 'ItemSeen', id });
const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, n) => from + n);
const positions = (client: Client, expected: readonly number[]): Promise<true> =>
  until('the positions', () => (String(client.positions) === String(expected) ? true : undefined), {
    seen: () => ({ count: client.positions.length, of: expected.length, last: client.messages.at(-1) }),
  });

describe('a subscription to events', () => {
  it('begins now: CAUGHT_UP, then each event as it is placed', async () => {
    await fixture.place([put('a'), put('b')]);
    const client = new Client({});
    await until('CAUGHT_UP', () => client.caughtUp || undefined);
    expect(client.messages).toEqual([{ signal: 'CAUGHT_UP', cursor: encodeEventCursor('main', 2), event: null }]);
    await fixture.place([put('a'), seen('b')]);
    await positions(client, [3, 4]);
    expect(client.messages[1]).toMatchObject({
      signal: 'UPDATE',
      event: { type: 'ItemPut', data: { group: 'g' }, stream: { aggregate: 'item', id: 'a', version: 2 } },
    });
    expect(await client.leave()).toBe('no error');
  });

  it('begins at the time of the call, however late it is read', async () => {
    const controller = new AbortController();
    const stream = gateway.reads.watchEvents({}, undefined, controller.signal);
    // Sent after the read that says what "now" is.
    for (let page = 0; page < 3; page++) await gateway.reads.events({}, { last: 1 });
    const [placed] = await fixture.place([put('late')]);
    const first = await stream[Symbol.asyncIterator]().next();
    expect(first.value).toMatchObject({ signal: 'UPDATE', event: { position: placed!._id } });
    controller.abort();
  });

  it('goes on after a cursor with every event once, whatever happens in between', async () => {
    const start = fixture.end;
    const writing = (async () => {
      for (let n = 0; n < 60; n++)
        await fixture.place(
          Array.from({ length: 1 + (n % 40) }, (_, k) => put(`k${k}`)),
          n % 3 !== 0,
        );
    })();
    const all: number[] = [];
    let cursor = encodeEventCursor('main', start);
    for (let session = 0; session < 15; session++) {
      const client = new Client({}, cursor);
      await until('a few events', () => (client.positions.length > 20 || client.caughtUp > 0 ? true : undefined));
      await client.leave();
      all.push(...client.positions);
      cursor = client.messages.at(-1)?.cursor ?? cursor;
      expect(decodeEventCursor(cursor, 'main')).toBe(all.at(-1) ?? start);
    }
    await writing;
    const last = new Client({}, cursor);
    await until('the end', () =>
      last.positions.at(-1) === fixture.end || all.at(-1) === fixture.end ? true : undefined,
    );
    await last.leave();
    expect([...all, ...last.positions]).toEqual(numbers(start + 1, fixture.end));
  });

  it('says CAUGHT_UP again when it had fallen behind', async () => {
    const controller = new AbortController();
    const stream = gateway.reads.watchEvents({}, undefined, controller.signal)[Symbol.asyncIterator]();
    expect((await stream.next()).value.signal).toBe('CAUGHT_UP');
    await fixture.place(Array.from({ length: 500 }, (_, n) => put(`s${n}`)));
    const signals: string[] = [];
    for (let n = 0; n < 501; n++) signals.push((await stream.next()).value.signal);
    expect(signals.at(-1)).toBe('CAUGHT_UP');
    expect(signals.filter((signal) => signal === 'UPDATE')).toHaveLength(500);
    controller.abort();
  });

  it('filters, near the end and far behind it', async () => {
    const start = fixture.end;
    const placed = await fixture.place(
      Array.from(
        { length: 5_000 },
        (_, n): PlacedEvent => ({
          ...(n % 500 === 3 ? seen(`f${n % 7}`) : put(`f${n % 7}`)),
          correlationId: `c${n % 900}`,
          ...(n % 250 === 8 ? { actor: 'ada' } : {}),
        }),
      ),
    );
    const filters: readonly [EventFilterInput, (event: (typeof placed)[number]) => boolean][] = [
      [{ types: ['ItemSeen'] }, ({ type }) => type === 'ItemSeen'],
      [{ aggregate: 'item', aggregateId: 'f3' }, ({ stream }) => stream.endsWith('/f3')],
      [{ aggregateId: 'f3', types: ['ItemSeen'] }, ({ stream, type }) => stream.endsWith('/f3') && type === 'ItemSeen'],
      [
        { aggregate: 'item', aggregateId: 'f3', types: ['ItemSeen'] },
        ({ stream, type }) => stream.endsWith('/f3') && type === 'ItemSeen',
      ],
      [{ correlationId: 'c44' }, ({ meta }) => meta.correlationId === 'c44'],
      [{ actor: 'ada' }, ({ meta }) => meta.actor === 'ada'],
      [{ actor: 'ada', aggregateId: 'f3' }, ({ stream, meta }) => meta.actor === 'ada' && stream.endsWith('/f3')],
      [{ types: [] }, () => false],
      [{ aggregate: 'item' }, () => true],
    ];
    const after = encodeEventCursor('main', start);
    const clients = filters.map(([filter]) => new Client(filter, after));
    const expected = filters.map(([, holds]) => placed.filter(holds).map(({ _id }) => _id));
    for (const [n, client] of clients.entries()) {
      await positions(client, expected[n]!);
      await until('CAUGHT_UP', () => client.caughtUp || undefined);
      expect(decodeEventCursor(client.messages.at(-1)!.cursor, 'main')).toBe(fixture.end);
    }
    const more = await fixture.place([seen('f3'), put('f3'), { ...put('other'), correlationId: 'c44', actor: 'ada' }]);
    for (const [n, client] of clients.entries()) {
      await positions(client, [...expected[n]!, ...more.filter(filters[n]![1]).map(({ _id }) => _id)]);
      await client.leave();
    }
  });

  it('reads on when an end of the log that it was told of can be read only later', async () => {
    const { log } = fixture.delivery;
    let blind = false;
    // As a new primary: it knows of no event after the end that it has for a majority.
    const lagging = { ...log, read: async (...page: Parameters<typeof log.read>) => (blind ? [] : log.read(...page)) };
    const own = await createLogReader(lagging, createHintBus(), { pollMs: 50 });
    const read: number[] = [];
    let position = own.end;
    const tail = async (): Promise<void> => {
      for (const event of await own.read(position, 100)) {
        position = event._id;
        read.push(event._id);
      }
      // Who got nothing waits for news.
      blind = false;
    };
    own.onAdvance(() => void tail());
    blind = true;
    const placed = await fixture.place([put('late')], false);
    own.advance(fixture.end);
    await until('the event', () => read.length > 0 || undefined);
    expect(read).toEqual(placed.map(({ _id }) => _id));
    own.close();
  });

  it('begins at `since` when there is no cursor', async () => {
    const at = new Date(Date.now() + 3_600_000);
    const placed = await fixture.place([put('s'), { ...put('s'), at }, { ...put('s'), at }]);
    const client = new Client({ since: at });
    await positions(
      client,
      placed.slice(1).map(({ _id }) => _id),
    );
    await client.leave();
  });

  it('ends with UNKNOWN_EVENT at an event that this process does not know, also where it was looked up', async () => {
    const start = fixture.end;
    await fixture.place([put('u'), { type: 'ItemInvented', id: 'u' }, put('u')]);
    const near = new Client({}, encodeEventCursor('main', start));
    expect(await near.ended).toBe('UNKNOWN_EVENT');
    expect(near.positions).toEqual([start + 1]);
    await fixture.place(Array.from({ length: 3_000 }, () => put('v')));
    const far = new Client({ aggregate: 'item' }, encodeEventCursor('main', start));
    expect(await far.ended).toBe('UNKNOWN_EVENT');
    expect(far.positions).toEqual([start + 1]);
  });

  it('is refused with BAD_CURSOR or BAD_INPUT', async () => {
    const { signal } = new AbortController();
    const watch = (filter: unknown, after?: unknown) =>
      codeOf(() => gateway.reads.watchEvents(filter as EventFilterInput, after as string, signal));
    for (const cursor of ['', 'x', { $gt: '' }, 5, encodeEventCursor('other', 1)])
      expect(await watch({}, cursor)).toBe('BAD_CURSOR');
    expect(await watch({ types: [{ $ne: null }] })).toBe('BAD_INPUT');
    expect(await watch({ aggregate: 'nothing' })).toBe('UNKNOWN_AGGREGATE');
    expect(await new Client({}, encodeEventCursor('main', 1e12)).ended).toBe('BAD_CURSOR');
  });
});
