import { afterEach, describe, expect, it } from 'vitest';
import { partitionOf } from '../../src/define/partition.ts';
import { decodeOnce } from '../../src/engine/log/decode-once.ts';
import { createHintBus } from '../../src/engine/log/hint-bus.ts';
import { createLogReader } from '../../src/engine/log/log-reader.ts';
import { CommitPipeline } from '../../src/engine/partitions/commit-pipeline.ts';
import { ConsumerRunner } from '../../src/engine/partitions/consumer-runner.ts';
import { handlerOf } from '../../src/engine/partitions/handler.ts';
import { buildModel } from '../../src/index.ts';
import type { PartitionDocument } from '../../src/store/documents.ts';
import type { PartitionStore } from '../../src/store/partitions.ts';
import { deliveryFixture } from '../setup/delivery.ts';
import { type Bug, counterModule, LOG_ID } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** A partition stands still in one process, as the keys of its next event cannot be told, and other processes move it. */
const broken = 'broken';
const bug: Bug = { breaks: () => false, misroutes: (by) => by === 666 };
const partition = partitionOf(broken, 16);
const ref = { consumer: 'groups', generation: 1, partition };
/** After so many attempts it rests for longer than any test. */
const MANY_ATTEMPTS = 10;

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function failing() {
  const fixture = await deliveryFixture();
  const { partitions } = fixture.store;
  const reading = async () => {
    const found = (await partitions.read([ref])).find((one) => one.partition === partition);
    if (found === undefined) throw new Error('the partition has no record');
    return found;
  };
  const worker = await fixture.startWorker({ bug });
  await fixture.append([fixture.count(broken, 1, broken)]);
  await fixture.append([fixture.count(broken, 666, broken)]);
  await fixture.append([fixture.count(broken, 3, broken)]);
  await until('the failure is on record', async () => (await reading()).failure);
  await until('all are placed', async () => ((await fixture.store.log.end()) === 3 ? true : undefined));
  await worker.stop();
  const collection = fixture.connection.db.collection<PartitionDocument>('partitions');
  await collection.updateOne(ref, { $set: { 'failure.attempts': MANY_ATTEMPTS } });

  /** The consumer as a process with the bug runs it, over this store. */
  const startRunner = async (commit: PartitionStore['commit'] = partitions.commit) => {
    const model = buildModel([counterModule(bug)]);
    const consumer = model.consumers.find(({ name }) => name === ref.consumer);
    const handler = consumer && handlerOf(consumer);
    if (consumer === undefined || handler === undefined) throw new Error('no such consumer');
    const reader = await createLogReader(fixture.store.log, createHintBus());
    const troubles: unknown[] = [];
    const pipeline = new CommitPipeline({
      store: { commit, moveEach: partitions.moveEach },
      onWritten: () => undefined,
      onRest: () => undefined,
      onLost: (steps, end) => {
        for (const step of steps) runner.lost(step, end, steps.length === 1);
      },
    });
    const runner: ConsumerRunner = new ConsumerRunner({
      ...{ logId: LOG_ID, model, consumer, handler, reader, pipeline, partitionCount: 16, store: partitions },
      ...{ deadLetters: fixture.store.deadLetters, decode: decodeOnce(model) },
      onTrouble: (error) => troubles.push(error),
      onFailing: () => undefined,
      onStandStill: () => undefined,
      onErrandsWritten: () => undefined,
      crashes: () => ({ crashCount: 0, lastCrashAgeMs: Number.POSITIVE_INFINITY }),
    });
    closers.push(async () => {
      await runner.stop();
      await pipeline.idle();
      reader.close();
      expect(troubles).toEqual([]);
    });
    return runner;
  };
  /** What another process, with mended code, does. */
  const heal = async (checkpoint: number): Promise<void> => {
    const from = await reading();
    const to = { checkpoint, revision: from.revision + 1 };
    expect((await partitions.commit([{ ...ref, from, to, failure: undefined }], [])).kind).toBe('committed');
  };
  return { fixture, reading, startRunner, heal };
}

describe('a partition that stands still here', () => {
  it('rests, whoever sends a job, while it stands still everywhere', async () => {
    const { reading, startRunner } = await failing();
    const runner = await startRunner();
    await runner.runUntilLevel(partition);
    const first = await reading();
    expect(first).toMatchObject({ checkpoint: 1, failure: { position: 2, attempts: MANY_ATTEMPTS + 1 } });
    await runner.runUntilLevel(partition);
    expect(await reading()).toMatchObject({ revision: first.revision, failure: first.failure });
  });

  it('goes on with its next job when another process has healed it', async () => {
    const { reading, startRunner, heal } = await failing();
    const runner = await startRunner();
    await runner.runUntilLevel(partition);
    await heal(2);
    await runner.runUntilLevel(partition);
    expect(await reading()).toMatchObject({ checkpoint: 3, failure: undefined });
  });

  it('is tried again when its record of the failure was lost to another process', async () => {
    const { fixture, reading, startRunner, heal } = await failing();
    let before: Promise<void> | undefined;
    const runner = await startRunner(async (moves, writes) => {
      before ??= heal(1);
      await before;
      return fixture.store.partitions.commit(moves, writes);
    });
    await runner.runUntilLevel(partition);
    expect(await reading()).toMatchObject({ checkpoint: 1, failure: { position: 2, attempts: 1 } });
  });

  it('is pushed on by the sweep of the process that failed', async () => {
    const { fixture, reading } = await failing();
    await fixture.startWorker({ bug });
    await until('its attempt', async () =>
      (await reading()).failure?.attempts === MANY_ATTEMPTS + 1 ? true : undefined,
    );
    const mended = await fixture.startWorker();
    await until('the mended process to heal it', async () => ((await reading()).checkpoint === 3 ? true : undefined));
    await mended.stop();
    await fixture.append([fixture.count(broken, 4)]);
    await until('the next event', async () => ((await reading()).checkpoint === 4 ? true : undefined));
  });
});
