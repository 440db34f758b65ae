import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { JOBS_FREE_MS, Membership } from '../../src/engine/processes/membership.ts';
import type { InstanceDocument } from '../../src/store/documents.ts';
import type { InstanceStore } from '../../src/store/instances.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { logger } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** Whether jobs reach whoever has a partition, or may lie in the hands of the dead. */
let fixture: DeliveryFixture;
beforeAll(async () => {
  fixture = await deliveryFixture();
});

/** How often somebody looked who lives. */
let lookCount = 0;

async function member(id: string, more: Partial<InstanceStore> = {}): Promise<Membership> {
  const store: InstanceStore = {
    ...fixture.store.instances,
    ...more,
    list() {
      lookCount += 1;
      return fixture.store.instances.list();
    },
  };
  const self = { id, host: 'here', pid: process.pid, role: 'worker', consumers: [] };
  const membership = new Membership({ store, self, sessions: () => [], logger });
  await membership.start();
  onTestFinished(() => membership.stop());
  return membership;
}

/** Another process, as the database knows it, that spoke so long ago. */
async function silent(id: string, role: string, ms: number): Promise<void> {
  const instances = fixture.connection.db.collection<InstanceDocument>('instances');
  const heartbeatAt = new Date((await fixture.store.timers.now()) - ms);
  const fields = { host: 'elsewhere', pid: 1, role, sessions: [], consumers: [], startedAt: heartbeatAt, heartbeatAt };
  await instances.replaceOne({ _id: id }, fields as never, { upsert: true });
}

/** Looks for the dead: now, or as soon as it may again. */
async function look(membership: Membership): Promise<void> {
  await until('it looks', async () => {
    const before = lookCount;
    const looking = membership.buryDead();
    // It asks before it waits for anything: no heartbeat comes between.
    const looks = lookCount > before;
    await looking;
    return looks || undefined;
  });
}
const looked = (membership: Membership, uncertain: boolean, before?: () => Promise<void>) =>
  until(`it is ${uncertain ? 'uncertain' : 'certain'}`, async () => {
    await before?.();
    await look(membership);
    return membership.uncertain === uncertain || undefined;
  });

test('a process that runs consumers and is silent makes uncertain, long before it counts as dead; a gateway does not', async () => {
  const membership = await member('one');
  await member('two');
  await looked(membership, false);
  // Each time anew: after three seconds it is dead, and nobody asks what it was.
  await looked(membership, false, () => silent('gateway', 'gateway', 2_200));
  await looked(membership, true, () => silent('worker', 'worker', 2_200));
  await looked(membership, false, () => silent('worker', 'worker', 0));
});

test('a death makes uncertain for a while, although nobody is silent any more', async () => {
  const membership = await member('three');
  await looked(membership, false);
  const beforeMs = performance.now();
  await silent('dead', 'worker', 10_000);
  await look(membership);
  expect((await fixture.store.instances.list()).map(({ _id }) => _id)).not.toContain('dead');
  expect(membership.lastCrashAgeMs).toBeLessThan(performance.now() - beforeMs);
  await look(membership);
  // Unless this machine stood still for all of the while.
  expect(membership.uncertain || membership.lastCrashAgeMs >= JOBS_FREE_MS).toBe(true);
});

test('a death that is found while those on record are read is not forgotten', async () => {
  let asked = (): void => undefined;
  let answer = (): void => undefined;
  let held: Promise<void> | undefined;
  const crashes: InstanceStore['crashes'] = async () => {
    const found = await fixture.store.instances.crashes();
    asked();
    await held;
    return found;
  };
  const membership = await member('four', { crashes });
  const isAsked = new Promise<void>((resolve) => {
    asked = resolve;
  });
  held = new Promise<void>((resolve) => {
    answer = resolve;
  });
  await isAsked;
  const beforeMs = performance.now();
  const diedAtMs = () => performance.now() - membership.lastCrashAgeMs;
  await silent('forgotten', 'worker', 10_000);
  await until('it is found', async () => {
    await membership.buryDead();
    return diedAtMs() >= beforeMs || undefined;
  });
  const before = lookCount;
  answer();
  await until('the heartbeat has gone on', () => lookCount > before || undefined);
  expect(diedAtMs()).toBeGreaterThanOrEqual(beforeMs);
});
