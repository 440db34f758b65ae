import { ReadConcern } from 'mongodb';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ConsumerModel } from '../../src/define/model.ts';
import { consumerLag, deliveryHealth } from '../../src/engine/delivery/delivery-health.ts';
import { createHintBus } from '../../src/engine/log/hint-bus.ts';
import { createLogReader } from '../../src/engine/log/log-reader.ts';
import { verifyLog } from '../../src/engine/log/verify.ts';
import { buildModel } from '../../src/index.ts';
import { connectRedis } from '../../src/queue/redis.ts';
import type { PrivateServer } from '../../src/services/index.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { privateMongo, privateRedis, testServers } from '../setup/servers.ts';
import { startSource } from '../setup/source-process.ts';
import { counterModule, logger, productionTiming, type TestWorker } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** Faults under production settings, which hide less than faster ones. */
const model = buildModel([counterModule()]);
let mongo: PrivateServer;
let redis: PrivateServer;
let fixture: DeliveryFixture;
const workers: TestWorker[] = [];

beforeAll(async () => {
  [mongo, redis] = await Promise.all([
    privateMongo({ args: ['--setParameter', 'enableTestCommands=1'] }),
    privateRedis(),
  ]);
  fixture = await deliveryFixture({ ...testServers(), mongoUrl: mongo.url, redisUrl: redis.url });
  // The servers of development end transactions after five seconds; sessions must be free without that.
  await admin({ setParameter: 1, transactionLifetimeLimitSeconds: 60 });
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
});

const admin = (command: Readonly<Record<string, unknown>>) => fixture.connection.client.db('admin').command(command);
const database = (): string => fixture.connection.db.databaseName;
const failCommands = (mode: unknown, data: Readonly<Record<string, unknown>> = {}) =>
  admin({ configureFailPoint: 'failCommand', mode, data });

async function startWorkers(count: number, options: Parameters<DeliveryFixture['startWorker']>[0] = {}): Promise<void> {
  const started = Array.from({ length: count }, () => fixture.startWorker({ timing: productionTiming, ...options }));
  workers.push(...(await Promise.all(started)));
}

let appended = 0;
const perCounter = new Map<string, number>();
/** Commits of many counters, in small writes as gateways make them. */
async function append(count: number, during: (done: number) => Promise<void> = async () => undefined): Promise<void> {
  for (let done = 0; done < count; done += 50) {
    const commits = Array.from({ length: Math.min(50, count - done) }, () => {
      const id = `c${appended++ % 100}`;
      perCounter.set(id, (perCounter.get(id) ?? 0) + 1);
      return fixture.count(id, 1, `g${appended % 10}`);
    });
    await fixture.append(commits);
    await during(done);
  }
}

async function untilLevel(timeoutMs = 60_000): Promise<void> {
  let seen: unknown;
  const look = async () => {
    const lag = await consumerLag(fixture.store, model);
    seen = lag.map(({ consumer, position, end }) => ({ consumer, position, end, appended }));
    return lag.every(({ position }) => position === appended) || undefined;
  };
  await until(`all consumers at ${appended}`, look, { timeoutMs, seen: () => seen });
}

/** Every event applied once. */
async function expectExact(): Promise<void> {
  const counters = await fixture.documents();
  expect(new Map(Array.from(counters, ([id, { count }]) => [id, count]))).toEqual(perCounter);
  for (const { _version, total } of counters.values()) expect(total).toBe(_version);
  const groups = [...(await fixture.documents('group')).values()];
  expect(groups.reduce((sum, { total }) => sum + Number(total), 0)).toBe(appended);
  expect(await verifyLog(fixture.store)).toMatchObject({ ok: true, eventCount: appended });
}

describe('Redis', () => {
  it('FLUSHALL five times under load loses nothing', { timeout: 300_000 }, async () => {
    await startWorkers(2);
    const { producer, close } = await connectRedis(redis.url, logger);
    await append(5_000, async (done) => {
      if (done % 1_000 === 500) await producer.flushall();
    });
    await producer.flushall();
    await close();
    await untilLevel();
    await expectExact();
  });

  it('away: placing and views go on, with several workers too; back: jobs run again', {
    timeout: 300_000,
  }, async () => {
    await startWorkers(2);
    await append(200);
    await redis.kill();
    await append(1_000);
    await untilLevel();
    await redis.restart();
    await append(1_000);
    await untilLevel();
    await expectExact();
  });

  it('a hint that is lost is found by looking', async () => {
    const reader = await createLogReader(fixture.store.log, createHintBus(), { pollMs: 100 });
    afterAll(() => reader.close());
    await startWorkers(1);
    await append(10);
    await until('the reader that hears nothing knows of the events', () => reader.end === appended || undefined);
    expect(await reader.read(appended - 10, 100)).toHaveLength(10);
  });
});

describe('a worker that is killed inside its transaction', () => {
  it('holds the others up for seconds', { timeout: 300_000 }, async () => {
    await startWorkers(1);
    await append(100);
    await untilLevel();
    const held = startSource('test/setup/processes/hold-transaction.ts', [mongo.url, fixture.servers.database]);
    expect(await held.line()).toBe('open');
    held.child.kill('SIGKILL');
    await append(500);
    // A transaction that nobody ends holds its documents for a minute. Two to three seconds: test/acceptance/killed-in-transaction.ts
    await untilLevel(30_000);
    await expectExact();
    await until('its record is gone, too', async () => {
      const instances = await fixture.store.instances.list();
      return !instances.some(({ _id }) => _id === 'killed') || undefined;
    });
  });
});

describe('worker processes', () => {
  const startProcess = async () => {
    const { mongoUrl, redisUrl, database, prefix } = fixture.servers;
    const file = 'test/setup/processes/run-worker.ts';
    const started = startSource(file, [mongoUrl, redisUrl, database, prefix]);
    afterAll(() => started.child.kill('SIGKILL'));
    expect(await started.line()).toBe('ready');
    return started;
  };

  it('killed again and again at any moment lose nothing and apply nothing twice', { timeout: 300_000 }, async () => {
    const steady = await startProcess();
    for (let round = 0; round < 4; round++) {
      const victim = await startProcess();
      await append(600, async (done) => {
        if (done === 50 * (1 + round * 3)) victim.child.kill('SIGKILL');
      });
    }
    await untilLevel();
    await expectExact();
    steady.child.kill('SIGKILL');
  });

  it('stopped for longer than its lock and lease, then let go on, cannot commit what others did', {
    timeout: 300_000,
  }, async () => {
    const [frozen, other] = await Promise.all([startProcess(), startProcess()]);
    await append(300);
    await append(300, async (done) => {
      if (done === 150) frozen.child.kill('SIGSTOP');
    });
    await untilLevel();
    await until('it is taken for dead', async () =>
      (await fixture.store.instances.list()).length === 1 ? true : undefined,
    );
    frozen.child.kill('SIGCONT');
    await append(600);
    await untilLevel();
    await expectExact();
    for (const { child } of [frozen, other]) child.kill('SIGKILL');
  });
});

describe('MongoDB', () => {
  afterEach(() => failCommands('off'));
  const counters = (generation: number): ConsumerModel => {
    const [consumer] = model.consumers;
    if (consumer === undefined) throw new Error('the model has no consumer');
    return { ...consumer, version: generation, generation };
  };

  it.each([
    ['its answer to a commit is lost', { times: 3 }, { failCommands: ['commitTransaction'], closeConnection: true }],
    [
      'it cannot say whether a commit is safe',
      { times: 4 },
      {
        failCommands: ['commitTransaction'],
        writeConcernError: { code: 64, errmsg: 'waiting for replication timed out' },
      },
    ],
    ['it refuses placing', { times: 3 }, { failCommands: ['insert'], closeConnection: true, appName: 'worker' }],
    [
      'it aborts transactions',
      { times: 10 },
      {
        failCommands: ['update', 'delete', 'commitTransaction'],
        errorCode: 251,
        errorLabels: ['TransientTransactionError'],
      },
    ],
  ])('applies each event once when %s', { timeout: 300_000 }, async (_what, mode, data) => {
    await startWorkers(1);
    await append(100);
    await failCommands(mode, data);
    await append(400).finally(() => undefined);
    await untilLevel();
    await expectExact();
  });

  it('that lost the history of the change stream is scanned', { timeout: 300_000 }, async () => {
    await startWorkers(1);
    await append(100);
    await untilLevel();
    const labels = ['NonResumableChangeStreamError'];
    await failCommands({ times: 1 }, { failCommands: ['getMore'], errorCode: 286, errorLabels: labels });
    await append(300);
    await untilLevel();
    await expectExact();
  });

  it('that gives no answer to a process that begins is asked again', async () => {
    // As on a connection that dies in the wrong moment: the answer never comes.
    const silence = { blockConnection: true, blockTimeMS: 60_000 };
    await failCommands({ times: 1 }, { failCommands: ['find'], namespace: `${database()}.consumers`, ...silence });
    expect(await fixture.store.consumers.ensure(counters(7))).toMatchObject({ consumer: 'counters', generation: 7 });
    const silent = [{ $currentOp: {} }, { $match: { 'command.find': 'consumers' } }];
    const here = fixture.connection.client.db('admin', { readConcern: new ReadConcern('local') });
    const operations = await here.aggregate(silent).toArray();
    for (const { opid } of operations) await admin({ killOp: 1, op: opid });
  });

  it('that ends long writes of a reset in the middle is asked to go on', async () => {
    const { db } = fixture.connection;
    const ref = { consumer: 'counters', generation: 8, partition: 3 };
    await fixture.store.consumers.ensure(counters(8));
    await db.collection('partitions').updateOne(ref, { $set: { paused: true } });
    const document = { _id: 'of-a-reset', _partition: 3, _revision: 0, _position: 1, _version: 1, _origins: [] };
    const view = db.collection<typeof document>('view_counter_g8');
    await view.insertOne(document);
    const tooLong = { errorCode: 50, namespace: `${database()}.view_counter_g8` };
    await failCommands({ times: 2 }, { failCommands: ['update'], ...tooLong });
    const { resetPartition } = fixture.store.operators.consumers;
    const documents = { collection: 'view_counter_g8', how: 'bury' } as const;
    const end = await resetPartition({ ref, position: 0, documents, deadLetters: 'all', againAfter: 0 });
    expect(await view.findOne({ _id: 'of-a-reset' })).toMatchObject({ _revision: end.revision - 1, _version: 2 });
  });

  it('killed and started again under load', { timeout: 300_000 }, async () => {
    await startWorkers(2);
    await append(500);
    await mongo.kill();
    await mongo.restart();
    await admin({ setParameter: 1, transactionLifetimeLimitSeconds: 60 });
    await append(500);
    await untilLevel();
    await expectExact();
    expect(await deliveryHealth(fixture.store, model)).toEqual({ status: 'ready', reasons: [] });
  });
});
