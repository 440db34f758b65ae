import { describe, expect, it } from 'vitest';
import { Placement } from '../../src/engine/placement.ts';
import { verifyLog } from '../../src/engine/verify.ts';
import type { CommitDocument } from '../../src/store/documents.ts';
import { deliveryFixture } from '../setup/delivery.ts';
import { logger } from '../setup/test-worker.ts';

const clean = { ok: true, counts: { missing: 0, extra: 0, order: 0, other: 0, gap: 0 } };

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
