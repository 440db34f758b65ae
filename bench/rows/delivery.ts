import { withFamily } from '../lib/family.ts';
import { MILLRACE_DEAD_LETTERS, MILLRACE_TRANSFERS } from '../lib/files.ts';
import type { Bench } from '../lib/options.ts';
import type { Group, Sample } from '../lib/report.ts';
import { interleave } from '../lib/rounds.ts';

const HEALTHY = 'no key fails';
const POISONED = '1 % of the keys fail';
const RETRY = 'retry of all';
const TRANSFERS = 'Millrace, one process';
const KEY_COUNT = 2_000;
const DEAD_KEY_COUNT = 10_000;

/** What dead letters cost, how fast they are healed, and how many transfers a saga carries out. */
export function delivery(bench: Bench): Promise<Group[]> {
  return withFamily(bench, async (family) => {
    const { eventCount, roundCount, roundMs, quick } = bench.options;
    bench.say('dead letters');
    const some = await family.start(MILLRACE_DEAD_LETTERS, 'dead_letters');
    await some.call('prepare', { keyCount: KEY_COUNT, depositCount: Math.ceil(eventCount / KEY_COUNT) });
    const healthy = async (badShare: number) => ({ value: await some.call<number>('handle', badShare) });
    const costLines = await interleave(
      [
        { name: HEALTHY, baseline: true, round: () => healthy(0) },
        { name: POISONED, baseline: false, round: () => healthy(0.01) },
      ],
      roundCount,
      bench.say,
    );
    await some.stop();

    const keyCount = quick ? DEAD_KEY_COUNT / 10 : DEAD_KEY_COUNT;
    const all = await family.start(MILLRACE_DEAD_LETTERS, 'dead_all', { nodeArgs: ['--expose-gc'] });
    await all.call('prepare', { keyCount, depositCount: 1 });
    const heap: Sample[] = [];
    const retry = async (): Promise<Sample> => {
      const { perSecond, grownBytes } = await all.call<{ perSecond: number; grownBytes: number }>('retryAll');
      heap.push({ value: grownBytes });
      return { value: perSecond };
    };
    const retryLines = await interleave([{ name: RETRY, baseline: false, round: retry }], roundCount, bench.say);
    await all.stop();

    bench.say('transfers');
    const bank = await family.start(MILLRACE_TRANSFERS, 'transfers');
    await bank.call('prepare');
    const transfers = async () => ({ value: await bank.call<number>('round', roundMs) });
    const transferLines = await interleave(
      [{ name: TRANSFERS, baseline: false, round: transfers }],
      roundCount,
      bench.say,
    );
    const keys = keyCount.toLocaleString('en-US');
    return [
      {
        title: 'A projector over the log, events of healthy keys',
        unit: 'events/s',
        lines: costLines,
        targets: [{ subject: POISONED, against: HEALTHY, figure: 'value', atLeast: 0.9 }],
      },
      {
        title: `Retry of ${keys} dead keys, with the event parked behind each`,
        unit: 'events/s',
        lines: retryLines,
        targets: [],
        floors: [{ subject: RETRY, atLeast: 1_000 }],
      },
      {
        title: `Heap of a worker with ${keys} blocked keys, by key`,
        unit: 'bytes',
        lines: [{ name: 'blocked key', baseline: false, samples: heap }],
        targets: [],
      },
      {
        title: 'Bank transfers end to end: order, debit, credit, completed, by a saga; 64 orders at once',
        unit: 'transfers/s',
        lines: transferLines,
        targets: [],
        floors: [{ subject: TRANSFERS, atLeast: 300 }],
      },
    ];
  });
}
