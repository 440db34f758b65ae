import { expect, it } from 'vitest';
import { z } from 'zod';
import { decodeOnce } from '../../src/engine/log/decode-once.ts';
import { CommitPipeline } from '../../src/engine/partitions/commit-pipeline.ts';
import { ConsumerRunner } from '../../src/engine/partitions/consumer-runner.ts';
import { projectorHandler } from '../../src/engine/partitions/handler.ts';
import { buildModel, customProjector, module, view } from '../../src/index.ts';
import type { LogDocument, ViewDocument } from '../../src/store/documents.ts';
import type { PartitionReading } from '../../src/store/partitions.ts';
import { counter } from '../setup/counter.ts';

/** Every event asks for a document of its own, which is not in memory, and every hundredth for one that the event before made. */
const EVENTS = 3_000;
const sums = view('sum', z.object({ id: z.string(), sum: z.int() }));
const keeper = customProjector({
  name: 'keeper',
  version: 1,
  from: [counter],
  into: sums,
  on: {
    Counted: ({ position, data }, documents) => {
      const before = position % 100 === 0 ? (documents.get(`d${position - 1}`)?.sum ?? Number.NaN) : 0;
      documents.put(`d${position}`, { id: `d${position}`, sum: before + data.by });
    },
  },
});
const model = buildModel([module({ name: 'm', parts: [counter, sums, keeper] })]);
const meta = { correlationId: 'c', causationId: null, actor: null, tenant: 'default', traceparent: null, client: null };
const log: readonly LogDocument[] = Array.from({ length: EVENTS }, (_, index) => ({
  ...{
    _id: index + 1,
    id: `e${index}`,
    type: 'Counted',
    schemaVersion: 1,
    stream: 'default/counter/c',
    version: index + 1,
  },
  ...{ data: { by: index }, meta, commandId: `c${index}`, at: new Date(0) },
}));

it('a custom projector reads the log once, and documents that are not in memory together', async () => {
  const consumer = model.consumers.find(({ kind }) => kind === 'projector');
  if (consumer?.kind !== 'projector') throw new Error('no projector');
  const written = new Map<string, ViewDocument>();
  let readCount = 0;
  let documentReads = 0;
  const reading: PartitionReading = {
    ...{ consumer: 'keeper', generation: 1, partition: 0, checkpoint: 0, revision: 0, failure: undefined },
    ...{ blockedCount: 0, mark: undefined, paused: false, idleMs: 0 },
  };
  const store = {
    read: () => Promise.resolve([reading]),
    documents: () => {
      documentReads++;
      return Promise.resolve([]);
    },
    commit: () => Promise.resolve({ kind: 'committed' } as const),
    mark: () => Promise.resolve(),
    moveEach: () => Promise.resolve(),
  };
  const nothing = () => Promise.resolve([]);
  const fail = (error: unknown): never => {
    throw error;
  };
  const pipeline = new CommitPipeline({
    store,
    onWritten: (steps) => {
      for (const { documents } of steps) for (const document of documents) written.set(document._id, document);
      runner.written();
    },
    onRest: () => undefined,
    onLost: (_steps, end) => fail(end),
  });
  const runner: ConsumerRunner = new ConsumerRunner({
    ...{ logId: 'main', model, partitionCount: 1, store, pipeline, consumer, decode: decodeOnce(model) },
    handler: projectorHandler(consumer),
    deadLetters: { byIds: nothing, blocked: nothing, parked: nothing, begin: () => Promise.resolve() },
    reader: {
      end: EVENTS,
      read: (after, limit) => {
        readCount++;
        return Promise.resolve(log.slice(after, after + limit));
      },
    },
    ...{ onTrouble: fail, onFailing: fail, onStandStill: fail, onErrandsWritten: () => undefined },
    crashes: () => ({ crashCount: 0, lastCrashAgeMs: Number.POSITIVE_INFINITY }),
  });
  await runner.runUntilLevel(0);
  await runner.stop();
  expect(written.size).toBe(EVENTS);
  for (let position = 1; position <= EVENTS; position++) {
    const sum = position % 100 === 0 ? 2 * position - 3 : position - 1;
    expect(written.get(`d${position}`)?.sum).toBe(sum);
  }
  expect(documentReads).toBeLessThan(EVENTS / 50);
  // The last stretch, which is not full, is asked for again: the log's own reader has it in memory.
  expect(readCount).toBeLessThan(EVENTS / 50);
});
