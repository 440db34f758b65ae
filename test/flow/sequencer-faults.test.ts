import { describe, expect, it } from 'vitest';
import { verifyLog } from '../../src/engine/log/verify.ts';
import { Placement } from '../../src/engine/sequencing/placement.ts';
import { type Sequencer, sequencerLease } from '../../src/engine/sequencing/sequencer.ts';
import type { CommitDocument, LogDocument } from '../../src/store/documents.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { clean, startSequencer, untilEnd } from '../setup/sequencers.ts';
import { LOG_ID, logger } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** A promise that others wait for, and what resolves it. */
function gate() {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Whatever hangs, for good: a stop waits three seconds for what is under way. */
async function stopped(sequencer: Sequencer): Promise<void> {
  let ended = false;
  void sequencer.stop().then(() => {
    ended = true;
  });
  await until('the stop', () => ended || undefined, { timeoutMs: 20_000 });
}

describe('a call to MongoDB that fails', async () => {
  const fixture = await deliveryFixture();

  /** Places with the real store, of which one call fails: its request never arrives, or its answer. */
  function shakyPlacement(lost: 'request' | 'answer') {
    const fault = { atCall: 0, callCount: 0 };
    const shaky =
      <Args extends unknown[], Result>(call: (...args: Args) => Promise<Result>) =>
      async (...args: Args): Promise<Result> => {
        fault.callCount++;
        const fails = fault.callCount === fault.atCall;
        if (fails && lost === 'request') throw new Error('failover');
        const result = await call(...args);
        if (fails) throw new Error('failover');
        return result;
      };
    const { feed, log } = fixture.store;
    const placement = new Placement({
      feed: { ofStream: shaky(feed.ofStream) },
      log: { end: shaky(log.end), place: shaky(log.place), placed: shaky(log.placed), versionOf: shaky(log.versionOf) },
      logger,
      onPlaced: () => undefined,
    });
    /** Runs a step with the `atCall`th call failing, repeats it as the sequencer does, and tells whether it failed. */
    const repeated = async (atCall: number, step: () => Promise<void>): Promise<boolean> => {
      fault.atCall = fault.callCount + atCall;
      try {
        await step();
        fault.atCall = 0;
        return false;
      } catch (error) {
        expect(String(error)).toContain('failover');
        await step();
        return true;
      }
    };
    return { placement, repeated };
  }

  it.each(['request', 'answer'] as const)('loses nothing of the batch, whichever call it is (%s)', async (lost) => {
    for (let atCall = 1, failed = true; failed; atCall++) {
      const { placement, repeated } = shakyPlacement(lost);
      const next = (name: string) => fixture.count(`${lost}-${atCall}-${name}`);
      // Of `unseen` and `cold` the batch does not hold the first ones; those of `cold` are in the log.
      const cold = [next('cold'), next('cold'), next('cold')];
      const [unseen, unseenNext] = [next('unseen'), next('unseen')];
      const batch = [next('a'), cold[2]!, next('b'), unseenNext, next('a')];
      const all = [...cold, unseen, ...batch.filter((commit) => commit !== cold[2])];
      await fixture.append(all);
      await new Placement({ ...fixture.store, logger, onPlaced: () => undefined }).place(cold.slice(0, 2));
      failed = await repeated(atCall, () => placement.place(batch));
      const later = [next('a'), next('b'), next('unseen')];
      await fixture.append(later);
      await placement.place(later);
      if (!failed) expect(atCall).toBeGreaterThan(5);
    }
    expect(await verifyLog(fixture.store)).toMatchObject(clean);
  });

  it.each(['request', 'answer'] as const)('forgets no held stream, whichever call it is (%s)', async (lost) => {
    for (let atCall = 1, failed = true; failed; atCall++) {
      const { placement, repeated } = shakyPlacement(lost);
      const [first, missing, third, fourth] = Array.from({ length: 4 }, () =>
        fixture.count(`held-${lost}-${atCall}`),
      ) as [CommitDocument, CommitDocument, CommitDocument, CommitDocument];
      await fixture.append([first, third, fourth]);
      await placement.place([first, third, fourth]);
      expect(placement.held).toMatchObject([{ stream: third.stream, version: 2 }]);
      await placement.retryHeld();
      expect(placement.held).toMatchObject([{ stream: third.stream, version: 2 }]);
      await fixture.append([missing]);
      failed = await repeated(atCall, () => placement.retryHeld());
      expect(placement.held).toEqual([]);
      expect(await fixture.store.log.versionOf(third.stream)).toBe(4);
      if (!failed) expect(atCall).toBeGreaterThan(3);
    }
    expect(await verifyLog(fixture.store)).toMatchObject(clean);
  });
});

describe('a call to MongoDB that hangs', async () => {
  const fixture = await deliveryFixture();

  /** The real store, of which the first insert into the log waits behind a gate. */
  function hanging() {
    const { opened, open } = gate();
    const { log } = fixture.store;
    const state = { callCount: 0, open };
    const place = async (events: readonly LogDocument[]) => {
      state.callCount++;
      if (state.callCount === 1) await opened;
      return log.place(events);
    };
    return { state, store: { ...fixture.store, log: { ...log, place } } };
  }

  /** The real leases; tells who asks, how long the slowest renewal took until now, and what was released. */
  function watchedLeases({ leases }: typeof fixture.store) {
    let slowestMs = 0;
    const asked = new Set<number>();
    const seen = {
      holder: '',
      released: [] as (readonly [id: string, holder: string])[],
      slowestRenewalMs: () => Math.max(slowestMs, ...[...asked].map((at) => performance.now() - at)),
    };
    const acquire: typeof leases.acquire = (id, holder, ttlMs) => {
      const at = performance.now();
      seen.holder = holder;
      asked.add(at);
      return leases.acquire(id, holder, ttlMs).finally(() => {
        asked.delete(at);
        slowestMs = Math.max(slowestMs, performance.now() - at);
      });
    };
    const release: typeof leases.release = (id, holder) => {
      seen.released.push([id, holder]);
      return leases.release(id, holder);
    };
    return { seen, leases: { ...leases, acquire, release } };
  }

  it('does not hold up a stop, and the lease is handed over', async () => {
    const start = await fixture.store.log.end();
    const { state, store } = hanging();
    const { seen, leases } = watchedLeases(store);
    const first = startSequencer({ ...store, leases });
    await until('the first leads', () => first.leads || undefined);
    const second = startSequencer(fixture.store);
    const commits = [fixture.count('stuck'), fixture.count('stuck')];
    await fixture.append(commits);
    await until('an insert hangs', () => state.callCount > 0 || undefined);

    await stopped(first);
    // Not left to run out, which takes three seconds. A renewal that MongoDB does not answer for one might take it again: then it is.
    if (seen.slowestRenewalMs() < 900) expect(seen.released).toEqual([[sequencerLease(LOG_ID), seen.holder]]);
    await until('the second leads', () => second.leads || undefined);
    await untilEnd(fixture, start + 2);
    state.open();
    await fixture.append([fixture.count('stuck')]);
    await untilEnd(fixture, start + 3);
    expect(await verifyLog(fixture.store)).toMatchObject(clean);
  });

  it('does not keep the process from placing when it has lost the lease and has it again', async () => {
    const start = await fixture.store.log.end();
    const { state, store } = hanging();
    let cut = false;
    const { leases } = fixture.store;
    const acquire: typeof leases.acquire = (...args) =>
      cut ? Promise.reject(new Error('cut off')) : leases.acquire(...args);
    const sequencer = startSequencer({ ...store, leases: { ...leases, acquire } });
    await until('it leads', () => sequencer.leads || undefined);
    await fixture.append([fixture.count('cut')]);
    await until('an insert hangs', () => state.callCount > 0 || undefined);
    cut = true;
    await until('it leads no more', () => !sequencer.leads || undefined);
    cut = false;
    await untilEnd(fixture, start + 1);
    state.open();
    await fixture.append([fixture.count('cut')]);
    await untilEnd(fixture, start + 2);
    expect(await verifyLog(fixture.store)).toMatchObject(clean);
  });
});

/** The real store; counts looks at the newest commits and reads of searches, and a gate can hold up the change stream. */
function watched({ store }: DeliveryFixture) {
  const seen: { lookCount: number; searchCount: number; readCount: number; gate: Promise<void> | undefined } = {
    lookCount: 0,
    searchCount: 0,
    readCount: 0,
    gate: undefined,
  };
  const { feed } = store;
  const backward: typeof feed.backward = (before, limit) => {
    if (limit === 50) seen.lookCount++;
    else seen.searchCount++;
    return feed.backward(before, limit);
  };
  const open: typeof feed.open = async (from) => {
    const stream = await feed.open(from);
    const next: typeof stream.next = async (known) => {
      const batch = await stream.next(known);
      await seen.gate;
      seen.readCount++;
      return batch;
    };
    return { ...stream, next };
  };
  return { seen, store: { ...store, feed: { ...feed, backward, open } } };
}

/** Writes commits that the next change stream does not tell of. */
async function leaveBehind(fixture: DeliveryFixture, commits: readonly CommitDocument[]): Promise<void> {
  const { feed, placement } = fixture.store;
  const state = { pipeline: feed.pipeline, held: (await placement.load())?.held ?? [] };
  await fixture.append(commits);
  // A write of another kind: the time to start from is after the commits.
  await placement.save({ ...state, token: null });
  const stream = await feed.open({ time: await feed.now() });
  const { token } = await stream.next(() => false);
  await stream.close();
  await placement.save({ ...state, token });
}

describe('commits that were left behind', async () => {
  const fixture = await deliveryFixture();

  it('are found by whoever leads, once', async () => {
    const commits = Array.from({ length: 120 }, (_, i) => fixture.count(`left-${i % 7}`));
    await leaveBehind(fixture, commits);
    const { seen, store } = watched(fixture);
    startSequencer(store);
    await untilEnd(fixture, 120);
    expect(await verifyLog(fixture.store)).toMatchObject({ ...clean, end: 120 });
    // Where it begins, and one page back.
    expect(seen.searchCount).toBeLessThanOrEqual(3);
  });

  it('are not those of a held stream: nothing is searched, and the resume token moves on', async () => {
    await leaveBehind(fixture, []);
    const { seen, store } = watched(fixture);
    startSequencer(store);
    const [first, , third] = Array.from({ length: 3 }, () => fixture.count('torn'));
    await fixture.append([first!, third!]);
    const held = await until('the hold is on record', async () => {
      const state = await fixture.store.placement.load();
      return state?.held.length === 1 ? state : undefined;
    });
    const lookCount = seen.lookCount;
    await until('three more looks', () => seen.lookCount >= lookCount + 3 || undefined);
    expect(seen.searchCount).toBe(0);
    await until('a newer token is saved', async () => {
      const state = await fixture.store.placement.load();
      return JSON.stringify(state?.token) !== JSON.stringify(held.token) || undefined;
    });
  });

  it('are not those that the change stream is late with', async () => {
    const start = await fixture.store.log.end();
    await leaveBehind(fixture, []);
    const { seen, store } = watched(fixture);
    let renewCount = 0;
    const acquire: typeof store.leases.acquire = (...args) => store.leases.acquire(...args).finally(() => renewCount++);
    startSequencer({ ...store, leases: { ...store.leases, acquire } });
    await until('a look', () => seen.lookCount > 0 || undefined);
    const { opened, open } = gate();
    seen.gate = opened;
    await fixture.append(Array.from({ length: 30 }, (_, i) => fixture.count(`late-${i % 7}`)));
    const renewed = renewCount;
    await until('four seconds of leading', () => renewCount >= renewed + 4 || undefined);
    expect(await fixture.store.log.end()).toBe(start);
    open();
    await untilEnd(fixture, start + 30);
    const lookCount = seen.lookCount;
    await until('two more looks', () => seen.lookCount >= lookCount + 2 || undefined);
    expect(seen.searchCount).toBe(0);
  });
});

describe('when placing takes long', async () => {
  const fixture = await deliveryFixture();

  it('what waits for room all goes on, and a stop ends', async () => {
    await leaveBehind(fixture, [fixture.count('left'), fixture.count('left'), fixture.count('left')]);
    const { seen, store } = watched(fixture);
    const [placing, searching] = [gate(), gate()];
    let pageCount = 0;
    let renewCount = 0;
    const { log, feed, leases } = store;
    const sequencer = startSequencer({
      ...store,
      leases: { ...leases, acquire: (...args) => leases.acquire(...args).finally(() => renewCount++) },
      log: { ...log, place: (events) => placing.opened.then(() => log.place(events)) },
      feed: {
        ...feed,
        forward: async (from, limit) => {
          pageCount++;
          await searching.opened;
          return feed.forward(from, limit);
        },
      },
    });
    await until('a search is under way', () => pageCount > 0 || undefined);
    await fixture.append([fixture.count('slow')]);
    // An idle wait for news takes half a second, and the lease is renewed once a second.
    const standsStill = async () => {
      const before = seen.readCount + pageCount;
      const renewed = renewCount;
      await until('two seconds of leading', () => renewCount >= renewed + 2 || undefined);
      return seen.readCount + pageCount === before || undefined;
    };
    await until('the change stream is read no further', standsStill);
    searching.open();
    await until('the search waits for room too', standsStill);
    expect(pageCount).toBe(1);

    placing.open();
    await untilEnd(fixture, 4);
    await fixture.append([fixture.count('later')]);
    await untilEnd(fixture, 5);
    await stopped(sequencer);
    expect(await verifyLog(fixture.store)).toMatchObject({ ...clean, end: 5 });
  });
});
