import { randomUUID } from 'node:crypto';
import { afterEach } from 'vitest';
import { Sequencer } from '../../src/engine/sequencing/sequencer.ts';
import type { DeliveryStore } from '../../src/store/delivery-store.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import type { DeliveryFixture } from './delivery.ts';
import { logger } from './test-worker.ts';
import { until } from './until.ts';

const running: Sequencer[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((sequencer) => sequencer.stop()));
});

/** Stopped after the test. */
export function startSequencer(
  store: DeliveryStore,
  onPlaced: (events: readonly LogDocument[]) => void = () => undefined,
): Sequencer {
  const sequencer = new Sequencer({ ...store, instanceId: randomUUID(), logger, onPlaced });
  running.push(sequencer);
  sequencer.start();
  return sequencer;
}

export const untilEnd = (fixture: DeliveryFixture, end: number): Promise<number> => {
  let seen = 0;
  const look = async () => {
    seen = await fixture.store.log.end();
    return seen >= end ? seen : undefined;
  };
  return until(`position ${end} in the log`, look, { seen: () => seen });
};

/** What `verifyLog` says of a log without differences. */
export const clean = { ok: true, counts: { missing: 0, extra: 0, order: 0, other: 0, gap: 0 } };
