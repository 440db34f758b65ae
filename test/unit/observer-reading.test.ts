import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import type { ObserverModel } from '../../src/define/model.ts';
import { streamKey } from '../../src/define/stream-key.ts';
import { decodeOnce } from '../../src/engine/log/decode-once.ts';
import type { LogReader } from '../../src/engine/log/log-reader.ts';
import { ObserverPartition } from '../../src/engine/observers/observer-partition.ts';
import { readOn } from '../../src/engine/observers/observer-reading.ts';
import { PartitionHead } from '../../src/engine/partitions/partition-head.ts';
import { buildModel, module, observer } from '../../src/index.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import { counter } from '../setup/counter.ts';

const notices = observer({ name: 'notices', from: [counter], startFrom: 'start', on: { Counted: () => undefined } });
const model = buildModel([module({ name: 'reading', parts: [counter, notices] })]);
const consumer = model.consumers[0] as ObserverModel;

const counted = (position: number): LogDocument => ({
  ...{ _id: position, id: randomUUID(), type: 'Counted', schemaVersion: 1, data: { by: 1 } },
  ...{ stream: streamKey({ tenant: 'default', aggregate: 'counter', id: 'a' }), version: position },
  ...{ commandId: randomUUID(), at: new Date() },
  meta: {
    ...{ correlationId: 'x', causationId: null, actor: null, tenant: 'default', traceparent: null, client: null },
  },
});
const log = [counted(1), counted(2), counted(3)];

/** A partition that knows where it is, and reads the log up to `end`. */
function partitionAtStart() {
  const ref = { consumer: 'notices', generation: 1, partition: 0 };
  const partition = new ObserverPartition(new PartitionHead(ref, 0));
  const at = { checkpoint: 0, revision: 1, failure: undefined, blockedCount: 0, mark: undefined, paused: false };
  partition.learn({ head: partition.head, reading: { ...ref, ...at, idleMs: 0 }, blocked: [] });
  partition.head.dirty = true;
  const read = (end: number, meanwhile: () => void = () => undefined) => {
    const reader: Pick<LogReader, 'end' | 'read'> = {
      end,
      read: async (after, limit) => {
        await Promise.resolve();
        meanwhile();
        return log.slice(after, Math.min(end, after + limit));
      },
    };
    const options = { model, consumer, partitionCount: 1, decode: decodeOnce(model), reader: reader as LogReader };
    return readOn(options, [partition], 0);
  };
  const inHand = () => {
    const positions: number[] = [];
    for (const { document } of partition.window.begin(() => false)) positions.push(document._id);
    return positions;
  };
  return { partition, read, inHand };
}

test('a partition that is released while the log is read takes nothing, and leaves out nothing later', async () => {
  const { partition, read, inHand } = partitionAtStart();
  await read(1);
  expect(partition.scanned).toBe(1);
  await read(2, () => partition.release());
  expect([partition.scanned, partition.window.size]).toEqual([0, 0]);
  partition.head.released = false;
  await read(3);
  expect([partition.scanned, partition.window.size]).toEqual([3, 3]);
  expect(inHand()).toEqual([1]);
});

test('a partition that is released and woken again while the log is read goes on where it let go', async () => {
  const { partition, read, inHand } = partitionAtStart();
  await read(1);
  await read(2, () => {
    partition.release();
    partition.head.released = false;
  });
  expect(partition.scanned).toBe(0);
  await read(3);
  expect(inHand()).toEqual([1]);
});
