import { LRUCache } from 'lru-cache';
import { expect, test } from 'vitest';
import type { LogReader } from '../../src/engine/log/log-reader.ts';
import { EventSource, planWatch } from '../../src/engine/subscriptions/watch-events.ts';
import { buildModel, module } from '../../src/index.ts';
import type { EventPages } from '../../src/store/event-pages.ts';
import { counter } from '../setup/counter.ts';

const model = buildModel([module({ name: 'counts', parts: [counter] })]);

/** A log of events of one size; returns how many events were asked for at once, page by page. */
async function pagesOf(dataBytes: number): Promise<{ readonly asked: readonly number[]; readonly signals: string }> {
  const end = 2_000;
  const asked: number[] = [];
  const data = { text: 'x'.repeat(dataBytes) };
  const logReader: Pick<LogReader, 'end' | 'read' | 'onAdvance'> = {
    end,
    onAdvance: () => () => undefined,
    async read(after, limit) {
      asked.push(limit);
      const count = Math.min(limit, end - after);
      return Array.from({ length: count }, (_, i) => ({ _id: after + 1 + i, type: 'Counted', data }) as never);
    },
  };
  const deps = {
    model,
    logId: 'main',
    pages: {} as EventPages,
    logReader: logReader as LogReader,
    toEvent: () => null,
    delivered: new LRUCache({ max: 64 }),
  };
  const source = new EventSource(deps as never, planWatch(model, {}), Promise.resolve(0), () => undefined);
  let signals = '';
  for (let one = await source.take(); one !== undefined; one = await source.take()) signals += one.signal[0];
  source.stop();
  return { asked, signals };
}

test('a subscription that is behind holds a page of bounded size, and passes every event once', async () => {
  const large = await pagesOf(16_384);
  expect(Math.max(...large.asked)).toBeLessThan(35);
  expect(large.signals).toBe(`${'U'.repeat(2_000)}C`);
  const small = await pagesOf(100);
  expect(small.asked[0]).toBe(20);
  expect(Math.max(...small.asked)).toBe(200);
  expect(small.asked.length).toBeLessThan(15);
  expect(small.signals).toBe(`${'U'.repeat(2_000)}C`);
});
