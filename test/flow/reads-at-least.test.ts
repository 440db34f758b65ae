import { describe, expect, it } from 'vitest';
import { partitionOf } from '../../src/define/partition.ts';
import { encodeToken } from '../../src/engine/log/token.ts';
import { connect } from '../../src/store/connect.ts';
import { deadLetterId } from '../../src/store/dead-letters.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import { testServers } from '../setup/servers.ts';
import { codeOf, type Gateway, GENERATION, lost, ReadsFixture, readsFixture } from './reads-fixture.ts';

const fixture: ReadsFixture = await readsFixture({ worker: false });
const gateway: Gateway = await fixture.gateway();

const tokenOf = (events: readonly LogDocument[]): string =>
  encodeToken({
    logId: 'main',
    stream: events[0]!.stream,
    commandId: events[0]!.commandId,
    firstVersion: events[0]!.version,
    eventCount: events.length,
  });
const put = (id: string, commandId = 'command') => ({ type: 'ItemPut', id, commandId });
/** Another id of the same partition. */
function neighbourOf(id: string): string {
  for (let n = 0; ; n++) if (partitionOf(`${id}-${n}`, 16) === partitionOf(id, 16)) return `${id}-${n}`;
}
const behind = (reason: string) => ({
  code: 'VIEW_BEHIND',
  details: { view: 'item', reason, retryAfterMs: expect.any(Number) },
});

describe('a read with atLeast', () => {
  it('is VIEW_BEHIND, LAGGING, while no worker has created the view', async () => {
    const token = tokenOf(await fixture.place([put('early')]));
    const read = gateway.reads.document('item', 'early', { atLeast: token, timeoutMs: 50 });
    await expect(read).rejects.toMatchObject(behind('LAGGING'));
    await fixture.startWorker();
  });

  it('is VIEW_BEHIND, PLACING, while the events are not in the log, and waits for them', async () => {
    const id = 'placing';
    const token = encodeToken({
      logId: 'main',
      stream: `default/item/${id}`,
      commandId: 'command',
      firstVersion: 1,
      eventCount: 1,
    });
    const early = gateway.reads.document('item', id, { atLeast: token, timeoutMs: 30 });
    await expect(early).rejects.toMatchObject(behind('PLACING'));
    const waiting = gateway.reads.document('item', id, { atLeast: token });
    const [placed] = await fixture.place([put(id)]);
    await fixture.write({ [id]: { group: 'g', rank: 1 } }, { checkpoint: placed!._id });
    expect(await waiting).toMatchObject({ document: { rank: 1 } });
  });

  it('warns of no leak when many reads wait at once', async () => {
    const warnings: string[] = [];
    const note = ({ name, message }: Error): void => {
      if (name === 'MaxListenersExceededWarning') warnings.push(message);
    };
    process.on('warning', note);
    const id = 'crowd';
    const token = encodeToken({
      logId: 'main',
      stream: `default/item/${id}`,
      commandId: 'command',
      firstVersion: 1,
      eventCount: 1,
    });
    // Different deadlines: equal reads would share one wait.
    const waiting = Array.from({ length: 50 }, (_, n) =>
      gateway.reads.document('item', id, { atLeast: token, timeoutMs: 30_000 + n }),
    );
    const [placed] = await fixture.place([put(id)]);
    await fixture.write({ [id]: { group: 'g', rank: 1 } }, { checkpoint: placed!._id });
    for (const found of await Promise.all(waiting)) expect(found).toMatchObject({ document: { rank: 1 } });
    process.off('warning', note);
    expect(warnings).toEqual([]);
  });

  it('is never stale: 300 writes, each read at once by its token, on hints', async () => {
    let stale = 0;
    const one = async (n: number): Promise<void> => {
      const id = `fresh${n % 30}`;
      const events = await placing(() => fixture.place([put(id, `c${n}`)]));
      const written = fixture.write({ [id]: { group: 'g', rank: n } }, { checkpoint: events[0]!._id });
      const seen = await gateway.reads.document('item', id, { atLeast: tokenOf(events) });
      if (Number(seen?.document.rank ?? -1) < n) stale++;
      await written;
    };
    for (let start = 0; start < 300; start += 10) {
      await Promise.all(Array.from({ length: 10 }, (_, n) => one(start + n)));
    }
    expect(stale).toBe(0);
  });
  let turn: Promise<unknown> = Promise.resolve();
  const placing = <T>(work: () => Promise<T>): Promise<T> => {
    const next = turn.then(work);
    turn = next;
    return next;
  };

  it('comes through without any hint', async () => {
    const events = await fixture.place([put('unhinted')], false);
    const waiting = gateway.reads.documents('item', { atLeast: tokenOf(events), first: 1 });
    await fixture.write({ unhinted: { group: 'g', rank: 5 } }, { checkpoint: events[0]!._id, route: lost });
    await waiting;
    expect(await gateway.reads.document('item', 'unhinted')).toMatchObject({ document: { rank: 5 } });
  });

  it('costs one look-up when the view is there already, and none when the token is known', async () => {
    const first = await fixture.place([put('known')]);
    const events = await fixture.place([put('known')]);
    await fixture.write({ known: { group: 'g', rank: 5 } }, { checkpoint: events[0]!._id });
    const { db } = fixture.connection;
    const namespaces = ['events', 'partitions', 'consumers'].map((name) => `${db.databaseName}.${name}`);
    // On a connection of its own, and it does not look for the end of the log by itself: every question is counted.
    const appName = 'counted';
    const counted = new ReadsFixture(
      await connect({ url: testServers().mongoUrl, database: db.databaseName, appName }),
    );
    const { reads, logReader } = await counted.gateway({}, counted.views(), 600_000);
    await db.command({ profile: 2 });
    const asked = (): Promise<number> =>
      db
        .collection('system.profile')
        .countDocuments({ appName, ns: { $in: namespaces }, op: { $in: ['query', 'command'] } });
    // By this it learns how far all of the partitions are.
    await reads.document('item', 'known', { atLeast: tokenOf(first), timeoutMs: 0 });
    const before = await asked();
    await reads.document('item', 'known', { atLeast: tokenOf(events), timeoutMs: 0 });
    const between = await asked();
    await reads.document('item', 'known', { atLeast: tokenOf(events), timeoutMs: 0 });
    const after = await asked();
    await db.command({ profile: 0 });
    await db.collection('system.profile').drop();
    reads.close();
    logReader.close();
    await counted.delivery.partitions.close();
    await counted.connection.client.close();
    expect([between - before, after - between]).toEqual([1, 0]);
  });

  it('waits for every document that the events concern, by the key of the projector', async () => {
    const [from, to] = ['from', 'to'];
    expect(partitionOf(from, 16)).not.toBe(partitionOf(to, 16));
    const events = await fixture.place([{ type: 'ItemMoved', id: from, data: { to } }]);
    await fixture.advance(from, events[0]!._id);
    const read = (timeoutMs: number) => gateway.reads.document('item', from, { atLeast: tokenOf(events), timeoutMs });
    await expect(read(50)).rejects.toMatchObject(behind('LAGGING'));
    await fixture.advance(to, events[0]!._id);
    await read(30_000);
  });

  it('waits for all events of a commit', async () => {
    const events = await fixture.place([put('many'), put('many'), put('many')]);
    await fixture.advance('many', events[1]!._id);
    const read = gateway.reads.document('item', 'many', { atLeast: tokenOf(events), timeoutMs: 30 });
    await expect(read).rejects.toMatchObject(behind('LAGGING'));
    await fixture.advance('many', events[2]!._id);
    await gateway.reads.document('item', 'many', { atLeast: tokenOf(events), timeoutMs: 0 });
  });

  it('does not wait for what the view does not handle, nor for a command without events', async () => {
    const events = await fixture.place([{ type: 'ItemSeen', id: 'seen' }]);
    await gateway.reads.document('item', 'seen', { atLeast: tokenOf(events), timeoutMs: 0 });
    const empty = encodeToken({
      logId: 'main',
      stream: 'default/item/x',
      commandId: 'c',
      firstVersion: null,
      eventCount: 0,
    });
    await gateway.reads.document('item', 'x', { atLeast: empty, timeoutMs: 0 });
  });

  it('waits for all partitions when newer code wrote the event', async () => {
    const events = await fixture.place([{ ...put('newer'), schemaVersion: 9 }]);
    const read = () => gateway.reads.document('item', 'newer', { atLeast: tokenOf(events), timeoutMs: 0 });
    await fixture.advance('newer', events[0]!._id);
    await expect(read()).rejects.toMatchObject(behind('LAGGING'));
    for (const id of idsOfAllPartitions()) await fixture.advance(id, events[0]!._id);
    await read();
  });

  it('is VIEW_BEHIND, PARKED, when its partition stands still', async () => {
    const id = 'parked';
    const events = await fixture.place([put(id)]);
    const failure = {
      key: id,
      position: events[0]!._id,
      eventType: 'ItemPut',
      code: 'HANDLER_FAILED',
      message: 'x',
      attempts: 3,
      since: new Date(),
    };
    const _id = `main/items/${GENERATION}/${partitionOf(id, 16)}`;
    const partitions = fixture.connection.db.collection<{ _id: string }>('partitions');
    await partitions.updateOne({ _id }, { $set: { failure } });
    const read = gateway.reads.document('item', id, { atLeast: tokenOf(events), timeoutMs: 30 });
    await expect(read).rejects.toMatchObject(behind('PARKED'));
    await partitions.updateOne({ _id }, { $unset: { failure: '' } });
  });

  it('is VIEW_BEHIND, PARKED, when its event waits behind a dead letter that the partition has passed', async () => {
    const id = 'dead';
    const [before, failing, behindIt] = await fixture.place([put(id), put(id), put(id)]);
    const [other] = await fixture.place([put(neighbourOf(id))]);
    const letters = fixture.connection.db.collection<{ _id: string }>('dead_letters');
    const _id = deadLetterId('main', { consumer: 'items', generation: GENERATION }, id);
    await letters.insertOne(Object.assign({ _id }, { key: id, position: failing!._id }));
    await fixture.block(id, other!._id, 1);
    const read = (event: LogDocument | undefined, of = id) =>
      gateway.reads.document('item', of, { atLeast: tokenOf([event!]), timeoutMs: 30 });
    await expect(read(failing)).rejects.toMatchObject(behind('PARKED'));
    await expect(read(behindIt)).rejects.toMatchObject(behind('PARKED'));
    await read(before);
    await read(other, neighbourOf(id));
    const waiting = gateway.reads.document('item', id, { atLeast: tokenOf([behindIt!]) });
    await letters.deleteOne({ _id });
    await fixture.block(id, other!._id, 0);
    await waiting;
  });

  it('of a query waits for the views that it reads', async () => {
    const [seen] = await fixture.place([{ type: 'ItemSeen', id: 'seen' }]);
    await gateway.reads.ask('top', { group: 'g', limit: 1 }, { atLeast: tokenOf([seen!]), timeoutMs: 0 });
    const events = await fixture.place([put('asked')]);
    const ask = (timeoutMs: number) =>
      gateway.reads.ask('top', { group: 'q', limit: 1 }, { atLeast: tokenOf(events), timeoutMs });
    await expect(ask(20)).rejects.toMatchObject(behind('LAGGING'));
    await fixture.write({ asked: { group: 'q', rank: 9 } }, { checkpoint: events[0]!._id });
    expect(await ask(0)).toEqual([{ id: 'asked', rank: 9 }]);
  });

  it('is refused with BAD_TOKEN for a token that is none, of another log, or of events of another command', async () => {
    const read = (atLeast: unknown) =>
      codeOf(() => gateway.reads.document('item', 'x', { atLeast: atLeast as string }));
    for (const token of ['', 'x', { $ne: null }, 5, 'A'.repeat(1_000_000)]) expect(await read(token)).toBe('BAD_TOKEN');
    const token = { logId: 'main', stream: 'default/item/early', commandId: 'command', firstVersion: 1, eventCount: 1 };
    expect(await read(encodeToken({ ...token, logId: 'other' }))).toBe('BAD_TOKEN');
    expect(await read(encodeToken({ ...token, commandId: 'forged' }))).toBe('BAD_TOKEN');
  });

  it('reads no more of a long stream than the ends that a forged token names', async () => {
    const count = 3_000;
    await fixture.place(Array.from({ length: count }, (_, n) => put('long', `c${n}`)));
    const { db } = fixture.connection;
    const token = { logId: 'main', stream: 'default/item/long', commandId: 'c0', firstVersion: 1, eventCount: 9_999 };
    const forged = [
      { ...token, eventCount: count },
      { ...token, commandId: 'forged' },
      { ...token, firstVersion: 2 },
      { ...token, commandId: `c${count - 1}`, eventCount: count },
    ];
    await db.command({ profile: 2 });
    // Of this one the end is not there, as after a command that was just sent.
    const early = gateway.reads.document('item', 'long', { atLeast: encodeToken(token), timeoutMs: 300 });
    await expect(early).rejects.toMatchObject(behind('PLACING'));
    for (const one of forged) {
      const read = gateway.reads.document('item', 'long', { atLeast: encodeToken(one), timeoutMs: 20_000 });
      expect(await codeOf(() => read)).toBe('BAD_TOKEN');
    }
    await db.command({ profile: 0 });
    const profile = await db
      .collection('system.profile')
      .find({ ns: `${db.databaseName}.events`, 'command.filter.$or': { $exists: true } })
      .toArray();
    await db.collection('system.profile').drop();
    expect(profile.length).toBeGreaterThan(forged.length);
    expect(Math.max(...profile.map(({ docsExamined }) => Number(docsExamined)))).toBeLessThanOrEqual(2);
  });

  it.each([-1, 0.5, Number.NaN, 1e9, '5', Number.POSITIVE_INFINITY])(
    'is refused with BAD_INPUT for the timeout %j',
    async (timeoutMs) => {
      expect(await codeOf(() => gateway.reads.document('item', 'x', { timeoutMs: timeoutMs as number }))).toBe(
        'BAD_INPUT',
      );
    },
  );

  it('ends with SHUTTING_DOWN when the process stops', async () => {
    const stopping = await fixture.gateway();
    const events = await fixture.place([put('stopped')]);
    const waiting = codeOf(() => stopping.reads.document('item', 'stopped', { atLeast: tokenOf(events) }));
    stopping.reads.close();
    expect(await waiting).toBe('SHUTTING_DOWN');
  });
});

function idsOfAllPartitions(): readonly string[] {
  const ids = new Map<number, string>();
  for (let n = 0; ids.size < 16; n++) ids.set(partitionOf(`k${n}`, 16), `k${n}`);
  return [...ids.values()];
}
