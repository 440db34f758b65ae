import { beforeAll, describe, expect, it } from 'vitest';
import { consumerLag } from '../../src/engine/delivery/delivery-health.ts';
import { verifyLog } from '../../src/engine/log/verify.ts';
import { buildModel } from '../../src/index.ts';
import type { PrivateServer } from '../../src/services/index.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { privateMongo, testServers } from '../setup/servers.ts';
import { counterModule, SHUTDOWN_TIMEOUT_MS } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** What a stop may take beyond its setting, for sessions and connections: one second, and three more on a busy machine. */
const BEYOND_MS = 4_000;
const BATCH = 2_000;
const model = buildModel([counterModule()]);

describe('a stop while MongoDB is silent', () => {
  let mongo: PrivateServer;
  let fixture: DeliveryFixture;
  let appended = 0;
  beforeAll(async () => {
    mongo = await privateMongo();
    fixture = await deliveryFixture({ ...testServers(), mongoUrl: mongo.url });
  });

  async function append(): Promise<void> {
    await fixture.append(Array.from({ length: BATCH }, (_, i) => fixture.count(`c${i % 100}`, 1, `g${i % 10}`)));
    appended += BATCH;
  }

  async function untilLevel(): Promise<void> {
    let seen: unknown;
    const look = async () => {
      const lag = await consumerLag(fixture.store, model);
      seen = lag.map(({ consumer, position }) => ({ consumer, position, appended }));
      return lag.every(({ position }) => position === appended) || undefined;
    };
    await until(`all consumers at ${appended}`, look, { timeoutMs: 60_000, seen: () => seen });
  }

  async function untilBegun(): Promise<void> {
    await append();
    let seen = 0;
    const begun = async () => {
      const documents = [...(await fixture.documents()).values()];
      seen = documents.reduce((sum, { total }) => sum + Number(total), 0);
      return seen > appended - 2 * BATCH || undefined;
    };
    await until('the first documents', begun, { seen: () => seen });
  }

  it.each([
    ['with nothing to do', untilLevel],
    ['with transactions under way', untilBegun],
  ])('ends in its time, %s, and nothing is lost', { timeout: 300_000 }, async (_what, reach) => {
    const worker = await fixture.startWorker();
    await append();
    await reach();
    mongo.signal('SIGSTOP');
    try {
      let stopped = false;
      void worker.stop().then(() => {
        stopped = true;
      });
      await until('the stop', () => stopped || undefined, { timeoutMs: SHUTDOWN_TIMEOUT_MS + BEYOND_MS });
    } finally {
      mongo.signal('SIGCONT');
    }
    const next = await fixture.startWorker();
    await untilLevel();
    const documents = [...(await fixture.documents()).values()];
    expect(documents.reduce((sum, { total }) => sum + Number(total), 0)).toBe(appended);
    expect(await verifyLog(fixture.store)).toMatchObject({ ok: true, eventCount: appended });
    await next.stop();
  });
});
