import { afterAll, describe, expect, it } from 'vitest';
import { verifyLog } from '../../src/engine/log/verify.ts';
import { Placement } from '../../src/engine/sequencing/placement.ts';
import { sequencerLease } from '../../src/engine/sequencing/sequencer.ts';
import { connect } from '../../src/store/connect.ts';
import { createDeliveryStore } from '../../src/store/delivery-store.ts';
import type { CommitDocument, LogDocument } from '../../src/store/documents.ts';
import { deliveryFixture } from '../setup/delivery.ts';
import { clean, startSequencer, untilEnd } from '../setup/sequencers.ts';
import { LOG_ID, logger } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

describe('several sequencers at once', async () => {
  const fixture = await deliveryFixture();

  it('four that race without a lease leave no gap and no order violation', async () => {
    const commits: CommitDocument[] = [];
    for (let i = 0; i < 2_000; i++) {
      const id = `racing-${i % 50}`;
      const events = Array.from({ length: 1 + (i % 3) }, (_, k) => ({ type: 'Counted', data: { by: k } }));
      commits.push(fixture.commit(id, events));
    }
    await fixture.append(commits);
    const racers = await Promise.all(
      Array.from({ length: 4 }, async (_, racer) => {
        const { mongoUrl, database } = fixture.servers;
        const { client, db } = await connect({ url: mongoUrl, database, appName: `racer-${racer}` });
        afterAll(() => client.close());
        const own = {
          placedCount: 0,
          size: 7 + racer * 13,
          place: (_: readonly CommitDocument[]) => Promise.resolve(),
        };
        const onPlaced = (events: readonly LogDocument[]) => {
          own.placedCount += events.length;
        };
        const placement = new Placement({ ...createDeliveryStore(client, db, LOG_ID), logger, onPlaced });
        own.place = (some) => placement.place(some);
        return own;
      }),
    );
    // All four start each batch together, each with a cut of its own; otherwise the first one is far ahead for good.
    for (let at = 0; at < commits.length; at += 20) {
      await Promise.all(racers.map(({ place, size }) => place(commits.slice(Math.max(0, at - size), at + size))));
    }
    const eventCount = commits.reduce((count, { events }) => count + events.length, 0);
    expect(racers.reduce((sum, { placedCount }) => sum + placedCount, 0)).toBe(eventCount);
    expect(racers.filter(({ placedCount }) => placedCount > 0).length).toBeGreaterThan(1);
    expect(await verifyLog(fixture.store)).toMatchObject({ ...clean, end: eventCount, eventCount });
  });

  it('a second one waits for the lease and goes on when the first stops', async () => {
    const start = await fixture.store.log.end();
    const first = startSequencer(fixture.store);
    await until('the first leads', () => first.leads || undefined);
    const second = startSequencer(fixture.store);
    await fixture.append(Array.from({ length: 10 }, () => fixture.count('handed-over')));
    await untilEnd(fixture, start + 10);
    // Whoever stands still for seconds loses the lease to the other.
    await until('one of them leads', () => first.leads !== second.leads || undefined);

    await first.stop();
    await until('the second leads', () => second.leads || undefined);
    await fixture.append(Array.from({ length: 10 }, () => fixture.count('handed-over')));
    await untilEnd(fixture, start + 20);
    expect(await verifyLog(fixture.store)).toMatchObject(clean);
  });

  it('an offered commit and its echo in the change stream are placed once', async () => {
    const start = await fixture.store.log.end();
    const placed: string[] = [];
    const sequencer = startSequencer(fixture.store, (events) => placed.push(...events.map(({ id }) => id)));
    await until('it leads', () => sequencer.leads || undefined);
    const commits = Array.from({ length: 300 }, (_, i) => fixture.count(`offered-${i % 9}`));
    for (let i = 0; i < commits.length; i += 20) {
      await fixture.append(commits.slice(i, i + 20));
      sequencer.offer(commits.slice(i, i + 20));
    }
    await untilEnd(fixture, start + 300);
    // One more by the change stream alone: everything before it has come by then.
    await fixture.append([fixture.count('after-the-echoes')]);
    await untilEnd(fixture, start + 301);
    // The log shows an event a moment before the callback tells of it.
    await until('all placements are told', () => placed.length >= 301 || undefined);
    expect(placed.length).toBe(301);
    expect(new Set(placed).size).toBe(301);
    expect(await verifyLog(fixture.store)).toMatchObject(clean);
  });
});

describe('a predecessor that is not in the log', async () => {
  const fixture = await deliveryFixture();

  it('is brought from `commits` and placed first', async () => {
    const commits = Array.from({ length: 120 }, () => fixture.count('late'));
    await fixture.append(commits);
    const placement = new Placement({ ...fixture.store, logger, onPlaced: () => undefined });
    await placement.place(commits.slice(-1));
    expect(await verifyLog(fixture.store)).toMatchObject({ ...clean, end: 120 });
  });

  it('holds its stream and not the log when it exists nowhere, and lets it go on when it is there', async () => {
    const start = await fixture.store.log.end();
    const sequencer = startSequencer(fixture.store);
    await until('it leads', () => sequencer.leads || undefined);
    const [first, missing, third, fourth] = Array.from({ length: 4 }, () => fixture.count('torn'));
    if (!first || !missing || !third || !fourth) throw new Error('no commits');
    await fixture.append([first, third, fourth]);
    await fixture.append([fixture.count('whole')]);
    await untilEnd(fixture, start + 2);
    const held = await until('the hold is on record', async () => (await fixture.store.placement.load())?.held[0]);
    expect(held).toMatchObject({ stream: third.stream, version: 2 });

    await fixture.append([missing]);
    await untilEnd(fixture, start + 5);
    await until('the hold is over', async () =>
      (await fixture.store.placement.load())?.held.length === 0 ? true : undefined,
    );
    expect(await verifyLog(fixture.store)).toMatchObject(clean);
  });
});

describe('where to go on', async () => {
  const fixture = await deliveryFixture();
  const run = async (commits: readonly CommitDocument[]): Promise<void> => {
    const start = await fixture.store.log.end();
    const sequencer = startSequencer(fixture.store);
    await untilEnd(fixture, start + commits.length);
    await sequencer.stop();
  };

  it('an old token only replays', async () => {
    const commits = Array.from({ length: 400 }, (_, i) => fixture.count(`replayed-${i % 20}`));
    const sequencer = startSequencer(fixture.store);
    await until('a token is saved', async () => (await fixture.store.placement.load())?.token ?? undefined);
    const old = await fixture.store.placement.load();
    await fixture.append(commits);
    await untilEnd(fixture, 400);
    await sequencer.stop();
    if (old === undefined) throw new Error('no state');
    await fixture.store.placement.save(old);

    const more = [fixture.count('replayed-1')];
    await fixture.append(more);
    await run(more);
    expect(await verifyLog(fixture.store)).toMatchObject({ ...clean, end: 401 });
  });

  it.each([
    ['is invalid', { token: { _data: '82ffff' } }],
    ['belongs to another pipeline', { pipeline: 'an older one' }],
    ['is missing', { token: null }],
  ])('what was written meanwhile is found by a scan when the token %s', async (_why, damage) => {
    const state = await fixture.store.placement.load();
    if (state === undefined) throw new Error('no state');
    await fixture.store.placement.save({ ...state, ...damage });
    const commits = Array.from({ length: 700 }, (_, i) => fixture.count(`scanned-${i % 70}`));
    await fixture.append(commits);
    const start = await fixture.store.log.end();
    const sequencer = startSequencer(fixture.store);
    await untilEnd(fixture, start + commits.length);
    await until('a token of its own', async () => {
      const token = (await fixture.store.placement.load())?.token as { readonly _data?: string } | null | undefined;
      return (token?._data !== undefined && token._data !== '82ffff') || undefined;
    });
    await sequencer.stop();
    expect(await verifyLog(fixture.store)).toMatchObject(clean);
  });

  it('the lease is handed over at once on stop', async () => {
    expect(await fixture.store.leases.state(sequencerLease(LOG_ID))).toMatchObject({ holder: undefined });
  });
});

describe('verify', async () => {
  const fixture = await deliveryFixture();

  it('names each kind of difference', async () => {
    // Astral and plain characters: MongoDB orders streams by UTF-8, JavaScript by UTF-16.
    const commits = ['a', 'b', '\u{1F600}', '\uFFFD', 'c'].flatMap((id) =>
      Array.from({ length: 3 }, () => fixture.count(id)),
    );
    await fixture.append(commits);
    await new Placement({ ...fixture.store, logger, onPlaced: () => undefined }).place(commits);
    expect(await verifyLog(fixture.store)).toMatchObject({ ...clean, commitCount: 15, end: 15 });

    const events = fixture.connection.db.collection<LogDocument>('events');
    const first = await events.findOne({ _id: 1 });
    if (first === null) throw new Error('no event');
    await events.deleteOne({ _id: 5 });
    await events.updateOne({ _id: 9 }, { $set: { id: 'another' } });
    await events.insertOne({ ...first, _id: 16, stream: 'default/counter/unknown', version: 1 });
    expect(await verifyLog(fixture.store)).toMatchObject({
      ok: false,
      counts: { missing: 1, extra: 1, order: 0, other: 1, gap: 1 },
      differences: expect.arrayContaining([
        { kind: 'gap', stream: '', version: 0, position: 5 },
        { kind: 'extra', stream: 'default/counter/unknown', version: 1, position: 16 },
      ]),
    });
  });
});
