import { afterAll, describe, expect, it } from 'vitest';
import { createHintBus } from '../../src/engine/log/hint-bus.ts';
import { createLogReader } from '../../src/engine/log/log-reader.ts';
import { Placement } from '../../src/engine/sequencing/placement.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import { deliveryFixture } from '../setup/delivery.ts';
import { logger } from '../setup/test-worker.ts';

describe('the log reader', async () => {
  const fixture = await deliveryFixture();
  const placed: LogDocument[] = [];
  const placement = new Placement({ ...fixture.store, logger, onPlaced: (events) => placed.push(...events) });
  const place = async (count: number): Promise<readonly LogDocument[]> => {
    const commits = Array.from({ length: count }, (_, i) => fixture.count(`read-${i % 5}`));
    await fixture.append(commits);
    await placement.place(commits);
    return placed.slice(-count);
  };
  const open = async (options: Parameters<typeof createLogReader>[2] = {}) => {
    const hints = createHintBus();
    const reader = await createLogReader(fixture.store.log, hints, { pollMs: 60_000, ...options });
    afterAll(() => reader.close());
    return { reader, hints };
  };
  const positions = (events: readonly LogDocument[]) => events.map(({ _id }) => _id);
  await place(50);

  it('reads any part in order, with `limit`, and nothing at the end', async () => {
    const { reader } = await open();
    expect(reader.end).toBe(50);
    expect(positions(await reader.read(0, 3))).toEqual([1, 2, 3]);
    expect(positions(await reader.read(47, 100))).toEqual([48, 49, 50]);
    expect(await reader.read(50, 10)).toEqual([]);
  });

  it('answers from memory what this process placed: the same objects', async () => {
    const { reader } = await open();
    const events = await place(20);
    reader.offer(events);
    const read = await reader.read(55, 10);
    expect(read[0]).toBe(events[5]);
    expect(positions(await reader.read(40, 15))).toEqual(Array.from({ length: 15 }, (_, i) => 41 + i));
  });

  it('advances by hints, by offers and by looking; tells listeners once each time', async () => {
    const { reader, hints } = await open();
    const ends: number[] = [];
    const stop = reader.onAdvance((end) => ends.push(end));
    await place(5);
    hints.publish({ kind: 'log', end: 73 });
    hints.publish({ kind: 'log', end: 71 });
    expect(positions(await reader.read(70, 10))).toEqual([71, 72, 73, 74, 75]);
    expect(reader.end).toBe(75);
    await place(1);
    await Promise.all([reader.refresh(), reader.refresh()]);
    expect(ends).toEqual([73, 75, 76]);
    stop();
    hints.publish({ kind: 'log', end: 77 });
    expect(ends).toHaveLength(3);
  });

  it('keeps no more than its window, and begins anew after a part that others placed', async () => {
    const { reader } = await open({ windowMaxCount: 10 });
    const known = await place(30);
    reader.offer(known);
    expect((await reader.read(known[19]?._id ?? 0, 5))[0]).toBe(known[20]);
    expect((await reader.read(known[5]?._id ?? 0, 5))[0]).not.toBe(known[6]);
    await place(10);
    const later = await place(3);
    reader.offer(later);
    expect((await reader.read((later[0]?._id ?? 0) - 1, 5))[0]).toBe(later[0]);
    expect(positions(await reader.read((known.at(-1)?._id ?? 0) - 1, 100))).toHaveLength(14);
  });

  it('refuses a log with a gap instead of skipping over it', async () => {
    const { reader } = await open();
    await fixture.connection.db.collection<LogDocument>('events').deleteOne({ _id: 10 });
    await expect(reader.read(5, 20)).rejects.toMatchObject({
      code: 'INTERNAL',
      message: expect.stringContaining('position 10'),
    });
  });
});
