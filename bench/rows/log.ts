import { withFamily } from '../lib/family.ts';
import { RAW_LOG } from '../lib/files.ts';
import type { Bench } from '../lib/options.ts';
import type { Group } from '../lib/report.ts';
import { type Contender, interleave } from '../lib/rounds.ts';

const SEQUENCER = 'Millrace sequencer';
const SCAN = 'Millrace log scan';
const REBUILD = 'Millrace rebuild';
const RAW_INSERT = 'raw ordered insertMany';
const RAW_CURSOR = 'raw cursor';
const RAW_REBUILD = 'raw cursor and bulkWrite';

/** The sequencer alone, reading the whole log, and rebuilding a projector from it, against the driver alone. */
export function log(bench: Bench): Promise<Group[]> {
  return withFamily(bench, async (family) => {
    const { eventCount, roundCount } = bench.options;
    const raw = await family.start(RAW_LOG, 'log_raw');
    const shareCount = Math.ceil(eventCount / roundCount);
    const rawRow = (name: string, handler: string, argument?: number): Contender => ({
      name,
      baseline: true,
      round: async () => ({ value: await raw.call<number>(handler, argument) }),
    });
    bench.say(`log of ${eventCount} events`);
    return [
      {
        title: `Sequencer alone, ${shareCount.toLocaleString('en-US')} commits a round`,
        unit: 'commits/s',
        lines: await interleave([rawRow(RAW_INSERT, 'place', shareCount)], roundCount, bench.say),
        targets: [{ subject: SEQUENCER, against: RAW_INSERT, figure: 'value' }],
        floors: [{ subject: SEQUENCER, atLeast: 10_000 }],
      },
      {
        title: `Log scan, ${eventCount.toLocaleString('en-US')} events`,
        unit: 'events/s',
        lines: await interleave([rawRow(RAW_CURSOR, 'scan')], roundCount, bench.say),
        targets: [{ subject: SCAN, against: RAW_CURSOR, figure: 'value' }],
      },
      {
        title: `Projector rebuild, ${eventCount.toLocaleString('en-US')} events`,
        unit: 'events/s',
        lines: await interleave([rawRow(RAW_REBUILD, 'rebuild')], roundCount, bench.say),
        targets: [{ subject: REBUILD, against: RAW_REBUILD, figure: 'value', atLeast: 0.5 }],
      },
    ];
  });
}
