import { BSON } from 'mongodb';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { AnyRecorded } from '../../src/define/event.ts';
import type { ProjectorModel } from '../../src/define/model.ts';
import type { Projector } from '../../src/define/projector.ts';
import { backoffMs } from '../../src/engine/concurrency/backoff.ts';
import { Careful } from '../../src/engine/partitions/careful.ts';
import { ABSENT, changed, DocumentCache, documentOf, stateOf } from '../../src/engine/partitions/document-cache.ts';
import { type Handler, projectorHandler } from '../../src/engine/partitions/handler.ts';
import { failureOf, standStillMs } from '../../src/engine/partitions/partition-failure.ts';
import { PartitionHead } from '../../src/engine/partitions/partition-head.ts';
import { RecentIds } from '../../src/engine/sequencing/recent-ids.ts';
import { RecentStreams } from '../../src/engine/sequencing/recent-streams.ts';
import { MillraceError } from '../../src/errors.ts';
import { buildModel, customProjector, module, projector, view } from '../../src/index.ts';
import { commitIdOf } from '../../src/store/commit-feed.ts';
import { ORIGINS_CAP } from '../../src/store/documents.ts';
import type { PartitionReading } from '../../src/store/partitions.ts';
import { counter } from '../setup/counter.ts';

describe('a view document in memory', () => {
  const change = (position: number, commandId = `c${position}`) => ({ position, revision: position, commandId });

  it('keeps the last commands, newest last, and counts every change', () => {
    let state = ABSENT;
    for (let position = 1; position <= ORIGINS_CAP + 3; position++)
      state = changed(state, { position }, change(position));
    expect(state.version).toBe(ORIGINS_CAP + 3);
    expect(state.origins).toHaveLength(ORIGINS_CAP);
    expect(state.origins.at(0)).toEqual({ commandId: 'c4', revision: 4 });
    expect(state.origins.at(-1)).toEqual({ commandId: `c${ORIGINS_CAP + 3}`, revision: ORIGINS_CAP + 3 });
  });

  it('names a command once for all its events of one transaction', () => {
    const once = changed(ABSENT, { n: 1 }, { position: 1, revision: 7, commandId: 'one' });
    const twice = changed(once, { n: 2 }, { position: 2, revision: 7, commandId: 'one' });
    expect(twice.origins).toEqual([{ commandId: 'one', revision: 7 }]);
  });

  it("survives the way through the database, tombstones without the author's fields", () => {
    const state = changed(ABSENT, { id: 'k', n: 1 }, change(3));
    expect(stateOf(documentOf('k', 5, state))).toEqual({ ...state, bytes: expect.any(Number) });
    const removed = documentOf('k', 5, changed(state, undefined, change(4)));
    expect(removed).toEqual({
      ...{ _id: 'k', _partition: 5, _revision: 4, _position: 4, _version: 2, _deleted: expect.any(Date) },
      _origins: [
        { commandId: 'c3', revision: 3 },
        { commandId: 'c4', revision: 4 },
      ],
    });
    expect(stateOf(removed).author).toBeUndefined();
  });

  it('is never forgotten while it is newer than the database', () => {
    const cache = new DocumentCache(1_000);
    for (let i = 1; i <= 20; i++) cache.set(`k${i}`, changed(ABSENT, { text: 'x'.repeat(50) }, change(i)));
    cache.shrink(0);
    expect(cache.get('k1')).toBeDefined();
    cache.shrink(18);
    expect(cache.get('k2')).toBeUndefined();
    expect(cache.get('k19')).toBeDefined();
    expect(cache.get('k20')).toBeDefined();
  });
});

describe('a handler that changes the document it was given', () => {
  const sums = view('sum', z.object({ id: z.string(), n: z.int(), by: z.array(z.int()) }));
  const stored = { _id: 'all', _partition: 0, _revision: 1, _position: 1, _version: 1, _origins: [] };
  const event = (position: number) =>
    ({
      type: 'Counted',
      position,
      data: { by: 1 },
      stream: { aggregate: 'counter', id: 'c' },
    }) as unknown as AnyRecorded;
  const spoil = (doc: unknown): void => void (doc as { by: number[] }).by.push(1);
  const handlerOf = (part: Projector): Handler => {
    const model = buildModel([module({ name: 'm', parts: [counter, sums, part] })]);
    return projectorHandler(model.consumers.find(({ kind }) => kind === 'projector') as ProjectorModel);
  };
  const own = { name: 'p', version: 1, from: [counter], into: sums } as const;

  it('fails, and leaves it as it was: else the change would stay without its event', () => {
    const state = stateOf({ ...stored, id: 'all', n: 1, by: [1] });
    const handler = handlerOf(
      projector({
        ...own,
        on: {
          Counted: (doc, _event, id) => {
            if (doc !== undefined) spoil(doc);
            return { id, n: 1, by: [1] };
          },
        },
      }),
    );
    const input = { key: 'all', partition: 0 };
    expect(() => handler.handle(event(2), { ...input, state })).toThrow(TypeError);
    const first = handler.handle(event(1), { ...input, state: ABSENT })?.next;
    const made = changed(ABSENT, first ?? undefined, { position: 1, revision: 1, commandId: 'c' });
    expect(() => handler.handle(event(2), { ...input, state: made })).toThrow(TypeError);
    expect([state.author, made.author]).toEqual([
      { id: 'all', n: 1, by: [1] },
      { id: 'all', n: 1, by: [1] },
    ]);
  });

  it('fails also where it runs again for a document that was not in memory', () => {
    const state = stateOf({ ...stored, id: 'all', n: 1, by: [1] });
    const handler = handlerOf(
      customProjector({
        ...own,
        on: {
          Counted: (_event, documents) => {
            spoil(documents.get('all'));
            documents.get('other');
          },
        },
      }),
    );
    const read = (id: string) => (id === 'all' ? state : undefined);
    const input = { key: 'c', partition: 0, state: ABSENT, read };
    expect(() => handler.handle(event(2), input)).toThrow(TypeError);
    expect(state.author).toEqual({ id: 'all', n: 1, by: [1] });
  });
});

describe('a failure on record', () => {
  const cause = { position: 4, key: 'k', eventType: 'Happened', error: new Error('no\nsecond line') };

  it('counts attempts of the same event and keeps its beginning', () => {
    const first = failureOf(cause, undefined);
    const second = failureOf(cause, first);
    expect(second).toEqual({ ...first, attempts: 2 });
    expect(failureOf({ ...cause, position: 5 }, second).attempts).toBe(1);
  });

  it("says one short line and the code of the platform's own errors", () => {
    expect(failureOf(cause, undefined)).toMatchObject({ code: 'HANDLER_FAILED', message: 'Error: no' });
    expect(failureOf({ ...cause, error: new Error('x'.repeat(9_999)) }, undefined).message.length).toBeLessThan(310);
    expect(failureOf({ ...cause, error: { secret: 1 } }, undefined).message).toBe('thrown: object');
    const unknown = new MillraceError('UNKNOWN_EVENT', 'what is it');
    expect(failureOf({ ...cause, error: unknown }, undefined).code).toBe('UNKNOWN_EVENT');
  });

  it('is tried again after 1, 2, 4 … at most 30 seconds', () => {
    expect([1, 2, 3, 6, 50].map(standStillMs)).toEqual([1_000, 2_000, 4_000, 30_000, 30_000]);
  });
});

describe('small parts', () => {
  it('back-off grows, with jitter, up to its cap', () => {
    for (let failures = 1; failures < 40; failures++) {
      const most = Math.min(1_000, 10 * 2 ** (failures - 1));
      const ms = backoffMs(failures, { firstMs: 10, maxMs: 1_000 });
      expect(ms).toBeGreaterThanOrEqual(most / 2);
      expect(ms).toBeLessThanOrEqual(most);
    }
  });

  it('recent ids: the last ones are known, old ones are forgotten', () => {
    const ids = new RecentIds(10);
    for (let i = 0; i < 100; i++) ids.add(`${i}`);
    for (let i = 90; i < 100; i++) expect(ids.has(`${i}`)).toBe(true);
    expect(ids.has('50')).toBe(false);
  });

  it('recent streams: versions only rise, the longest unused go', () => {
    const streams = new RecentStreams(2);
    streams.raise('a', 3);
    streams.raise('a', 2);
    expect(streams.get('a')).toBe(3);
    streams.raise('b', 1);
    streams.raise('a', 4);
    streams.raise('c', 1);
    expect([streams.get('a'), streams.get('b'), streams.get('c')]).toEqual([4, undefined, 1]);
  });

  it('the id of a commit is read from a change without decoding it', () => {
    const change = { _id: { _data: '82AB', more: 1 }, fullDocument: { _id: 'commit-ü', stream: 's' } };
    expect(commitIdOf(Buffer.from(BSON.serialize(change)))).toBe('commit-ü');
    const others = [
      { _id: 1 },
      { _id: {}, other: {} },
      { _id: {}, fullDocument: {} },
      { _id: {}, fullDocument: { _id: 5 } },
      {},
    ];
    for (const other of others) expect(commitIdOf(Buffer.from(BSON.serialize(other)))).toBeUndefined();
  });
});

describe('events that are handled with care after crashes', () => {
  const reading = (checkpoint: number, idleMs: number): PartitionReading => ({
    ...{ consumer: 'c', generation: 1, partition: 3, checkpoint, revision: 1, failure: undefined },
    ...{ blockedCount: 0, mark: undefined, paused: false, idleMs },
  });
  const watched = (crashCount: number, one: PartitionReading, end: number): number => {
    const careful = new Careful({ mark: () => Promise.resolve() }, () => ({ crashCount, lastCrashAgeMs: 5_000 }));
    const head = new PartitionHead({ consumer: 'c', generation: 1, partition: 3 }, 1_000);
    careful.watch(head, one, end);
    return head.watchedUntil;
  };

  it('are those that a partition had before it when processes died, and no later ones', () => {
    expect(watched(2, reading(100, 6_000), 130)).toBe(130);
    expect(watched(2, reading(100, 6_000), 1_000_000)).toBe(2_100);
  });

  it('are none after one crash, in a partition that has moved since, or that is level', () => {
    expect(watched(1, reading(100, 6_000), 130)).toBe(0);
    expect(watched(2, reading(100, 4_000), 130)).toBe(0);
    expect(watched(2, reading(130, 6_000), 130)).toBe(0);
  });
});
