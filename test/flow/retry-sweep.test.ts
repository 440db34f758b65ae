import { beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { retrySweep } from '../../src/engine/sweep/retry-sweep.ts';
import { Sweep } from '../../src/engine/sweep/sweep.ts';
import { buildModel, module, observer } from '../../src/index.ts';
import type { RetryJob, RetryOutcome } from '../../src/queue/retries.ts';
import { deadLetterId } from '../../src/store/dead-letters.ts';
import type { ConsumerDocument } from '../../src/store/documents.ts';
import { counter } from '../setup/counter.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { logger } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

const tell = (name: string, version = 1) =>
  observer({ name, version, from: [counter], on: { Counted: () => undefined } });
const model = buildModel([module({ name: 'counts', parts: [counter, tell('mails'), tell('calls')] })]);

let fixture: DeliveryFixture;
beforeAll(async () => {
  fixture = await deliveryFixture();
  for (const consumer of model.consumers) await fixture.store.consumers.ensure(consumer);
});
beforeEach(async () => {
  await fixture.connection.db.collection('dead_letters').deleteMany({});
});

/** Failed tries that are due for a minute; the first key is the oldest. */
async function overdue(consumer: string, keys: readonly string[], ageMs = 60_000, generation = 1): Promise<void> {
  const { logId } = fixture.store;
  const at = (index: number): Date => new Date(Date.now() - ageMs + index);
  const records = keys.map((key, index) => ({
    _id: deadLetterId(logId, { consumer, generation }, key),
    ...{ logId, consumer, generation, version: generation, partition: 0, key, state: 'RETRYING' as const },
    ...{ delivery: 0, maxAttempts: 5, attempts: 1, parkedCount: 0, nextAttemptAt: at(index) },
  }));
  await fixture.connection.db.collection('dead_letters').insertMany(records as never);
}

/** A sweep without Redis; tries end when the test says. */
function sweeping() {
  const begun: RetryJob[] = [];
  const ends: ((outcome: RetryOutcome) => void)[] = [];
  const retry = (_consumer: string, job: RetryJob): Promise<RetryOutcome> => {
    begun.push(job);
    return new Promise((resolve) => ends.push(resolve));
  };
  const { logId, deadLetters, operators } = fixture.store;
  const { consumers } = operators;
  return {
    begun,
    ends,
    task: retrySweep({ logId, deadLetters, consumers, model, retries: undefined, delivery: { retry } }),
  };
}

test('a round of the sweep does not wait for slow tries, and begins none of them again', async () => {
  await overdue('mails', ['a', 'b']);
  const { task, begun, ends } = sweeping();
  let rounds = 0;
  const round = () => task.run({ redisLost: false }).then(() => ++rounds);
  void round();
  await until('a round is over while its tries go on', () => (rounds === 1 ? true : undefined));
  expect(begun).toHaveLength(2);
  await overdue('calls', ['c']);
  await round();
  expect(begun).toHaveLength(3);
  for (const end of ends.splice(0)) end({ kind: 'later', delayMs: 1_000 });
  await round();
  expect(begun).toHaveLength(6);
  for (const end of ends) end({ kind: 'done' });
});

test('tries of a paused consumer keep those of others from nothing, however many and old they are', async () => {
  const { db } = fixture.connection;
  const mails = { consumer: 'mails', generation: 1 };
  const keys = Array.from({ length: 600 }, (_, index) => `m${index}`);
  await overdue('mails', keys, 600_000);
  await overdue('calls', ['c']);
  const paused = { since: new Date(), reason: 'they all fail', actor: null };
  await db.collection<ConsumerDocument>('consumers').updateOne(mails, { $set: { paused } });
  const { task, begun, ends } = sweeping();
  void task.run({ redisLost: false });
  const id = deadLetterId(fixture.store.logId, { consumer: 'calls', generation: 1 }, 'c');
  await until('the other consumer is tried', () => begun.find(({ deadLetter }) => deadLetter === id));
  expect(begun).toHaveLength(1);
  await db.collection('consumers').updateOne(mails, { $unset: { paused: true } });
  for (const end of ends) end({ kind: 'done' });
});

test('a process of older code that came first keeps no new version from the sweep of those that run it', async () => {
  const { store, connection } = fixture;
  const { logId, deadLetters } = store;
  const { consumers } = store.operators;
  const deployed = buildModel([module({ name: 'counts', parts: [counter, tell('mails', 2), tell('calls')] })]);
  const began = new Set<string>();
  const sweepOf = (instanceId: string, of: typeof model): Sweep => {
    const delivery = {
      wake: (consumer: string, partitions: Iterable<number>) => {
        for (const partition of partitions) began.add(`${instanceId} ${consumer}/${partition}`);
      },
      retry: async (consumer: string, { deadLetter }: RetryJob): Promise<RetryOutcome> => {
        began.add(`${instanceId} ${consumer} ${deadLetter}`);
        return { kind: 'done' };
      },
    };
    const membership = { buryDead: async () => undefined, uncertain: true };
    const tasks = [retrySweep({ logId, deadLetters, consumers, model: of, retries: undefined, delivery })];
    const sweep = new Sweep({ store, model: of, instanceId, membership, intervalMs: 50, logger, delivery, tasks });
    sweep.start();
    onTestFinished(() => sweep.stop());
    return sweep;
  };
  const old = sweepOf('old', model);
  await until('the old one sweeps', () => old.leads || undefined);
  for (const consumer of deployed.consumers) await store.consumers.ensure(consumer);
  await overdue('mails', ['a'], 60_000, 2);
  const stranded = { consumer: 'mails', generation: 2, partition: 5 };
  const { db } = connection;
  await db.collection<{ _id: number }>('events').deleteMany({});
  await db.collection('events').insertOne({ _id: 1, stream: 's', version: 1, type: 'Counted' } as never);
  await db.collection('partitions').updateOne(stranded, { $set: { updatedAt: new Date(Date.now() - 60_000) } });
  const [first, second] = [sweepOf('new', deployed), sweepOf('newer', deployed)];
  const id = deadLetterId(logId, { consumer: 'mails', generation: 2 }, 'a');
  const seen = () => [...began];
  await until('the partition is pushed', () => began.has('new mails/5') || began.has('newer mails/5') || undefined, {
    seen,
  });
  await until('the try is made', () => began.has(`new mails ${id}`) || began.has(`newer mails ${id}`) || undefined, {
    seen,
  });
  // Of those with the same code, one.
  await until('one of the two leads', () => first.leads !== second.leads || undefined);
  expect(began).not.toContain(`old mails ${id}`);
});

test('partitions that stand still are pushed while a task of the sweep hangs', async () => {
  const { store, connection } = fixture;
  const { db } = connection;
  await db.collection<{ _id: number }>('events').deleteMany({});
  await db.collection('events').insertOne({ _id: 1, stream: 's', version: 1, type: 'Counted' } as never);
  const ref = { consumer: 'calls', generation: 1, partition: 3 };
  await db.collection('partitions').updateOne(ref, { $set: { updatedAt: new Date(Date.now() - 60_000) } });
  let pushCount = 0;
  const wake = (consumer: string, partitions: Iterable<number>): void => {
    if (consumer === ref.consumer && [...partitions].includes(ref.partition)) pushCount++;
  };
  const sweep = new Sweep({
    ...{ store, model, instanceId: 'one', intervalMs: 50, logger, delivery: { wake } },
    membership: { buryDead: async () => undefined, uncertain: true },
    tasks: [{ name: 'hangs', run: () => new Promise(() => undefined) }],
  });
  sweep.start();
  onTestFinished(() => sweep.stop());
  await until('it is pushed again and again', () => pushCount >= 3 || undefined);
});
