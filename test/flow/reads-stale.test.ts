import { setTimeout as pause } from 'node:timers/promises';
import type { Db } from 'mongodb';
import { afterAll, describe, expect, it } from 'vitest';
import { partitionOf } from '../../src/define/partition.ts';
import { encodeToken } from '../../src/engine/log/token.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import type { ViewStore } from '../../src/store/view-documents.ts';
import { ensureViewCollection } from '../../src/store/view-indexes.ts';
import { until } from '../setup/until.ts';
import {
  bare,
  codeOf,
  filterOf,
  GENERATION,
  itemView,
  type ReadsFixture,
  type Route,
  readsFixture,
  withDocuments,
} from './reads-fixture.ts';
import { item, watching } from './watch-client.ts';

const fixture: ReadsFixture = await readsFixture();
const copy: Db = fixture.connection.client.db(`${fixture.connection.db.databaseName}_before`);
await ensureViewCollection(copy, itemView, GENERATION);
afterAll(() => copy.dropDatabase());

/**
 * MongoDB behind a primary that lags, as after a failover or cut off from the others: for a while everything is read as it
 * was, but for reads that name a newer time. MongoDB keeps those waiting until it has that time. It lags until it is healed.
 */
class LaggingViews implements ViewStore {
  readonly #now = fixture.views();
  readonly #before = fixture.views(copy);
  #healed: Promise<void> | undefined;
  #heal = (): void => undefined;
  #met = (): void => undefined;
  #toldNewer = false;
  #waitingCount = 0;
  readCount = 0;

  async lag(): Promise<void> {
    await this.#healed;
    const { db } = fixture.connection;
    for (const name of ['partitions', 'consumers', fixture.collection.collectionName]) {
      await copy.collection(name).deleteMany({});
      const documents = await db.collection(name).find().toArray();
      if (documents.length > 0) await copy.collection(name).insertMany(documents);
    }
    this.#toldNewer = false;
    this.#healed = new Promise((resolve) => {
      this.#heal = () => {
        this.#healed = undefined;
        resolve();
      };
    });
  }
  heal(): void {
    this.#heal();
  }
  /** Never before some read has met the lag. */
  healAfterRead(ms: number): void {
    const heal = this.#heal;
    this.#met = () => {
      this.#met = () => undefined;
      void pause(ms).then(heal);
    };
    if (this.#waitingCount > 0) this.#met();
  }
  get lags(): boolean {
    return this.#healed !== undefined;
  }
  async #store(): Promise<ViewStore> {
    this.readCount++;
    if (this.lags) this.#met();
    if (this.#healed !== undefined && !this.#toldNewer) return this.#before;
    this.#waitingCount++;
    await this.#healed;
    this.#waitingCount--;
    return this.#now;
  }

  notBefore(time: string): boolean {
    this.#toldNewer = true;
    return this.#now.notBefore(time);
  }
  byIds: ViewStore['byIds'] = async (...args) => (await this.#store()).byIds(...args);
  scan: ViewStore['scan'] = async (...args) => (await this.#store()).scan(...args);
  count: ViewStore['count'] = async (...args) => (await this.#store()).count(...args);
  changedSince: ViewStore['changedSince'] = async (...args) => (await this.#store()).changedSince(...args);
  builtAt: ViewStore['builtAt'] = async (...args) => (await this.#store()).builtAt(...args);
  partitionCount: ViewStore['partitionCount'] = async (...args) => (await this.#store()).partitionCount(...args);
  partitions: ViewStore['partitions'] = async (...args) => (await this.#store()).partitions(...args);
  isParked: ViewStore['isParked'] = async (...args) => (await this.#store()).isParked(...args);
}
const views = new LaggingViews();
// Nothing but hints tells it of changes.
const gateway = await fixture.gateway({ pollMs: 60_000 }, views);
const { watchOne, watchList, message, level } = watching(fixture, gateway);
/** As a worker with older code sends it. */
const untimed: Route = ({ time: _time, ...hint }, gateways) => bare(hint, gateways);
const STALE_MS = 2_000;
const tokenOf = ([event]: readonly LogDocument[]): string =>
  encodeToken({
    logId: 'main',
    stream: event!.stream,
    commandId: event!.commandId,
    firstVersion: event!.version,
    eventCount: 1,
  });

describe.each([
  ['that name their time', bare],
  ['of older code', untimed],
])('while MongoDB is read older than hints %s', (name, route) => {
  const id = `${name.length}`;

  it('subscribers lose nothing for ever', async () => {
    await fixture.write({ [id]: item(1) });
    const one = watchOne(id);
    const list = watchList({ group: { eq: 'a' } });
    await level(list, { group: { eq: 'a' } });
    await message(one, 1);
    await views.lag();
    await fixture.write({ [id]: item(2), [`${id}new`]: item(2) }, { route });
    views.healAfterRead(STALE_MS);
    expect(await message(one, 2)).toMatchObject({ signal: 'UPDATE', node: { document: { rank: 2 } } });
    expect(views.lags).toBe(false);
    await level(list, { group: { eq: 'a' } });
    await Promise.all([one.leave(), list.leave()]);
    expect([...one.problems, ...list.problems]).toEqual([]);
  });

  it('a subscription that begins then loses nothing for ever, or is told to come again', async () => {
    const keeper = watchOne(`${id}keeper`);
    await message(keeper, 1);
    const begun = `${id}begun`;
    await views.lag();
    await fixture.write({ [begun]: item(3) }, { route });
    views.healAfterRead(STALE_MS);
    let refused = 0;
    const begin = () => {
      const client = watchOne(begun);
      client.ended.catch((error) => {
        expect(error.code).toBe('VIEW_BEHIND');
        refused++;
        latest = begin();
      });
      return client;
    };
    let latest = begin();
    await until('the document', () => (latest.documents.get(begun)?.document.rank === 3 ? true : undefined), {
      seen: () => [refused, latest.messages],
    });
    await Promise.all([keeper.leave(), latest.leave()]);
  });

  it('a read with atLeast is not older than its token', async () => {
    const read = `${id}read`;
    await fixture.write({ [read]: item(1) });
    const events = await fixture.place([{ type: 'ItemPut', id: read }]);
    await views.lag();
    const waiting = gateway.reads.document('item', read, { atLeast: tokenOf(events), timeoutMs: 10_000 });
    await fixture.write({ [read]: item(2) }, { checkpoint: events[0]!._id, route });
    views.healAfterRead(STALE_MS);
    expect(await waiting).toMatchObject({ document: { rank: 2 } });
  });
});

describe('a slow subscriber of a list', () => {
  it('gets what it left behind though MongoDB is read older, and does not ask without a pause', async () => {
    const filter = { group: { eq: 'slow' } };
    const controller = new AbortController();
    const stream = gateway.reads
      .watchDocuments('item', filterOf(filter), undefined, controller.signal)
      [Symbol.asyncIterator]();
    expect((await stream.next()).value.signal).toBe('CAUGHT_UP');
    const ids = Array.from({ length: 1_100 }, (_, n) => `slow${n}`);
    // The documents come with the hints, so it is told at once; of the last hundred it keeps the ids.
    const together: Route = ({ time: _time, ...hint }, gateways) => withDocuments(hint, gateways);
    const last = watchOne('slow1099');
    await message(last, 1);
    await views.lag();
    const before = views.readCount;
    await fixture.write(Object.fromEntries(ids.map((one) => [one, item(1, 'slow')])), { route: together });
    // Less than a subscription bears: the first read is the one of what was left behind.
    views.healAfterRead(700);
    await message(last, 2);
    const seen = new Set<string>();
    while (seen.size < ids.length) {
      const { value } = await stream.next();
      if (value.signal === 'UPDATE') seen.add(value.id);
    }
    expect(views.lags).toBe(false);
    expect(views.readCount - before).toBeLessThan(50);
    controller.abort();
    await last.leave();
  });
});

describe('a read with atLeast of a primary that is cut off', () => {
  it.each([
    ['the view has not applied the command', 0],
    ['the view has applied the command', 1],
  ])('keeps its deadline when %s', async (name, applied) => {
    const id = `cut ${name}`;
    await fixture.write({ [id]: item(1) });
    const events = await fixture.place([{ type: 'ItemPut', id }]);
    const read = () => gateway.reads.document('item', id, { atLeast: tokenOf(events), timeoutMs: 300 });
    // The gateway knows what the token needs.
    await expect(read()).rejects.toMatchObject({ code: 'VIEW_BEHIND' });
    await views.lag();
    await fixture.write({ [id]: item(2) }, { checkpoint: events[0]!._id - 1 + applied });
    try {
      await expect(read()).rejects.toMatchObject({ code: 'VIEW_BEHIND', details: { reason: 'LAGGING' } });
      expect(views.lags).toBe(true);
    } finally {
      views.heal();
    }
  });
});

describe('the time of a hint', () => {
  it.each([
    ['reaches MongoDB, which refuses a read after a time that it has not come to', 30, 'VIEW_BEHIND'],
    ['is passed over when no clock can have it: it would stop all reads', 3_600, 'no error'],
  ])('%s', async (_what, aheadS, code) => {
    const { reads, bus } = await fixture.gateway();
    await reads.document('item', 'x');
    const time = String(BigInt(Math.floor(Date.now() / 1_000) + aheadS) << 32n);
    const state = { generation: GENERATION, partition: partitionOf('x', 16), revision: 0, checkpoint: 0 };
    bus.publish({ kind: 'view', view: 'item', ...state, ids: [], time });
    expect(await codeOf(() => reads.document('item', 'x'))).toBe(code);
    const atLeast = tokenOf(await fixture.place([{ type: 'ItemPut', id: 'x' }]));
    expect(await codeOf(() => reads.document('item', 'x', { atLeast, timeoutMs: 300 }))).toBe('VIEW_BEHIND');
  });
});
