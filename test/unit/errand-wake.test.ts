import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { decodeOnce } from '../../src/engine/log/decode-once.ts';
import { storedError } from '../../src/engine/log/error-record.ts';
import { ObserverRunner } from '../../src/engine/observers/observer-runner.ts';
import { ObserverTries } from '../../src/engine/observers/observer-tries.ts';
import { CommitPipeline } from '../../src/engine/partitions/commit-pipeline.ts';
import { ConsumerRunner } from '../../src/engine/partitions/consumer-runner.ts';
import type { Errand } from '../../src/engine/partitions/errand.ts';
import { runErrands } from '../../src/engine/partitions/errand-run.ts';
import { projectorHandler } from '../../src/engine/partitions/handler.ts';
import { failureOf } from '../../src/engine/partitions/partition-failure.ts';
import { PartitionHead } from '../../src/engine/partitions/partition-head.ts';
import { MillraceError } from '../../src/errors.ts';
import { buildModel, module, observer, projector, view } from '../../src/index.ts';
import type { PartitionReading } from '../../src/store/partitions.ts';
import type { TransactionEnd } from '../../src/store/transactions.ts';
import { counter } from '../setup/counter.ts';
import { until } from '../setup/until.ts';

const totals = view('total', z.object({ id: z.string(), sum: z.int() }));
const keeper = projector({
  name: 'keeper',
  from: [counter],
  into: totals,
  version: 1,
  on: { Counted: (doc, { stream, data }) => ({ id: stream.id, sum: (doc?.sum ?? 0) + data.by }) },
});
const teller = observer({ name: 'teller', from: [counter], on: { Counted: () => undefined } });
const model = buildModel([module({ name: 'counts', parts: [counter, totals, keeper, teller] })]);
const models = {
  projector: model.consumers.find((one) => one.kind === 'projector')!,
  observer: model.consumers.find((one) => one.kind === 'observer')!,
};

/** What a runner needs, over partitions at position 0 whose transactions end when the test says. */
function surroundings(consumer: string) {
  const transactions: ((end: TransactionEnd) => void)[] = [];
  const reading = (partition: number): PartitionReading => ({
    ...{ consumer, generation: 1, partition, checkpoint: 0, revision: 0, failure: undefined },
    ...{ blockedCount: 0, mark: undefined, paused: false, idleMs: 0 },
  });
  const store = {
    read: () => Promise.resolve([reading(0), reading(1)]),
    documents: () => Promise.resolve([]),
    commit: () => new Promise<TransactionEnd>((resolve) => transactions.push(resolve)),
    mark: () => Promise.resolve(),
    moveEach: () => Promise.resolve(),
  };
  const nothing = () => Promise.resolve([]);
  const deadLetters = { byIds: nothing, blocked: nothing, parked: nothing, begin: () => Promise.resolve() };
  const ignore = (): void => undefined;
  return {
    transactions,
    options: {
      ...{ logId: 'main', model, partitionCount: 2, store, deadLetters, decode: decodeOnce(model) },
      reader: { end: 0, read: nothing },
      ...{ onTrouble: ignore, onFailing: ignore, onStandStill: ignore, onErrandsWritten: ignore },
      crashes: () => ({ crashCount: 0, lastCrashAgeMs: Number.POSITIVE_INFINITY }),
    },
  };
}

const errandOf = (key: string): Errand<string> => ({ of: { key }, run: () => 'done' });

async function settles(errand: Promise<unknown>): Promise<unknown> {
  let result: unknown;
  void errand.then((value) => {
    result = value;
  });
  return until('the errand is done', () => result);
}

describe('an errand that waits', () => {
  it('is done when the transaction before it was lost, also of a partition that was left to others', async () => {
    const { options, transactions } = surroundings('keeper');
    const pipeline = new CommitPipeline({
      store: options.store,
      onWritten: () => runner.written(),
      onRest: () => runner.rested(),
      onLost: (steps, end) => {
        for (const step of steps) runner.lost(step, end, true);
      },
    });
    const consumer = models.projector;
    const runner: ConsumerRunner = new ConsumerRunner({
      ...{ ...options, pipeline, consumer, handler: projectorHandler(consumer) },
    });
    const level = runner.runUntilLevel(0);
    await level;
    const head = runner.heads[0]!;
    pipeline.reach(pipeline.step(head, undefined), 5, 1);
    pipeline.kick();
    const errand = runner.errand(0, errandOf('a'), { doubt: true });
    await until('the runner has looked', () => (head.errands.length === 1 ? true : undefined));
    runner.release(0);
    await new Promise((resolve) => setImmediate(resolve));
    transactions.shift()?.({ kind: 'refused' });
    expect(await settles(errand)).toBe('done');
    await runner.stop();
  });

  it('waits for events of its partition that are on their way, also when it comes while others are looked at', async () => {
    const { options, transactions } = surroundings('keeper');
    const pipeline = new CommitPipeline({
      store: options.store,
      onWritten: () => runner.written(),
      onRest: () => runner.rested(),
      onLost: () => undefined,
    });
    let look: (() => void) | undefined;
    const looked = () =>
      new Promise<void>((resolve) => {
        if (look === undefined) resolve();
        else look = resolve;
      });
    const store = { ...options.store, read: () => looked().then(options.store.read) };
    const consumer = models.projector;
    const runner: ConsumerRunner = new ConsumerRunner({
      ...{ ...options, store, pipeline, consumer, handler: projectorHandler(consumer) },
    });
    await Promise.all([runner.runUntilLevel(0), runner.runUntilLevel(1)]);
    pipeline.reach(pipeline.step(runner.heads[0]!, undefined), 5, 1);
    pipeline.kick();
    const nobody = (): void => undefined;
    look = nobody;
    runner.wake([0]);
    const level = runner.runUntilLevel(1);
    await until('the runner looks', () => (look === nobody ? undefined : true));
    let isRun = false;
    const run = (): string => {
      isRun = true;
      return 'done';
    };
    const errand = runner.errand(0, { of: { key: 'a' }, run }, { doubt: false });
    look();
    await level;
    await new Promise((resolve) => setImmediate(resolve));
    expect(isRun).toBe(false);
    transactions.shift()?.({ kind: 'committed' });
    expect(await settles(errand)).toBe('done');
    expect(runner.heads[0]!.queuedCount).toBe(0);
    await runner.stop();
  });

  it('is done after a move of its partition that it came upon', async () => {
    const { options } = surroundings('keeper');
    let moved: (() => void) | undefined;
    const moveEach = () =>
      new Promise<void>((resolve) => {
        moved = resolve;
      });
    const pipeline = new CommitPipeline({
      store: { ...options.store, moveEach },
      onWritten: () => runner.written(),
      onRest: () => runner.rested(),
      onLost: () => undefined,
    });
    const consumer = models.projector;
    const runner: ConsumerRunner = new ConsumerRunner({
      ...{ ...options, pipeline, consumer, handler: projectorHandler(consumer) },
    });
    await runner.runUntilLevel(0);
    const head = runner.heads[0]!;
    head.scanned = 7;
    pipeline.moveLazily([head]);
    const errand = runner.errand(0, errandOf('a'), { doubt: false });
    for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
    moved?.();
    expect(await settles(errand)).toBe('done');
    await runner.stop();
  });

  it('is done when its time has come, whatever comes for other partitions of an observer meanwhile', async () => {
    const { options } = surroundings('teller');
    const ignore = (): void => undefined;
    const pipeline = new CommitPipeline({ store: options.store, onWritten: ignore, onRest: ignore, onLost: ignore });
    const consumer = models.observer;
    const journal = { find: () => Promise.resolve(undefined), record: () => Promise.resolve('') };
    const rateLimits = { take: () => Promise.resolve({ taken: true, waitMs: 0 }) };
    const tries = new ObserverTries({
      ...{ consumer, logId: 'main', store: { journal, rateLimits }, onBreaker: ignore, onTrouble: ignore },
    });
    const replayUntil = () => Promise.resolve(undefined);
    const runner = new ObserverRunner({ ...options, pipeline, consumer, tries, replayUntil });
    const [first, second] = runner.heads;
    first!.notBeforeMs = performance.now() + 200;
    const errand = runner.errand(0, errandOf('a'), { doubt: true });
    await new Promise((resolve) => setImmediate(resolve));
    second!.notBeforeMs = performance.now() + 50;
    runner.wake([1]);
    expect(await settles(errand)).toBe('done');
    await runner.stop();
  });
});

describe('errands by the thousand', () => {
  it('keep no more documents in memory than a partition may', async () => {
    const { options } = surroundings('keeper');
    const head = new PartitionHead({ consumer: 'keeper', generation: 1, partition: 0 }, 10_000);
    const [reading] = await options.store.read();
    head.learn(reading!);
    const marks = { _partition: 0, _revision: 0, _position: 0, _version: 1, _origins: [] };
    const documents = (_build: unknown, keys: readonly string[]) =>
      Promise.resolve(keys.map((_id) => ({ _id, ...marks, text: 'x'.repeat(1_000) })));
    const consumer = models.projector;
    const all = { ...options, store: { ...options.store, documents }, consumer, handler: projectorHandler(consumer) };
    const keys = Array.from({ length: 200 }, (_, index) => `k${index}`);
    const nobody = (): void => undefined;
    for (const key of keys) {
      const pending = { errand: errandOf(key), resolve: nobody, reject: nobody, dry: false };
      await runErrands(all, head, [{ ...pending, lostCount: 0, poison: undefined }]);
    }
    expect(keys.filter((key) => head.documents.get(key) !== undefined).length).toBeLessThan(10);
  });
});

describe('what was thrown', () => {
  const hostile = {
    toString: (): string => {
      throw new Error('no text');
    },
  };

  it('is kept and told whatever it is: issues and texts that throw when they are looked at', () => {
    const issues = [{ message: hostile, path: [hostile, 1] }];
    const invalid = new MillraceError('EVENT_INVALID', 'no', { details: { issues } });
    expect(storedError(invalid).issues).toEqual([{ path: ['?', 1], message: '?' }]);
    const silent = Object.defineProperty(new Error('x'), 'message', { get: hostile.toString });
    const cause = { position: 1, key: 'a', eventType: 'Counted', error: silent };
    expect(failureOf(cause, undefined).message).toContain('Error');
  });
});
