import type { Child } from '../lib/child.ts';
import { withFamily } from '../lib/family.ts';
import { MILLRACE_LOG, RAW_LOG } from '../lib/files.ts';
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
    const millrace = await family.start(MILLRACE_LOG, 'log_millrace');
    await millrace.call('prepare');
    const shareCount = Math.ceil(eventCount / roundCount);
    const contender = (name: string, child: Child, handler: string, argument?: number): Contender => ({
      name,
      baseline: child === raw,
      round: async () => ({ value: await child.call<number>(handler, argument) }),
    });
    const rows = (subject: string, against: string, handler: string, argument?: number) =>
      interleave(
        [contender(against, raw, handler, argument), contender(subject, millrace, handler, argument)],
        roundCount,
        bench.say,
      );
    bench.say(`log of ${eventCount} events`);
    return [
      {
        title: `Sequencer alone, ${shareCount.toLocaleString('en-US')} commits a round`,
        unit: 'commits/s',
        lines: await rows(SEQUENCER, RAW_INSERT, 'place', shareCount),
        targets: [{ subject: SEQUENCER, against: RAW_INSERT, figure: 'value' }],
        floors: [{ subject: SEQUENCER, atLeast: 10_000 }],
      },
      {
        title: `Log scan, ${eventCount.toLocaleString('en-US')} events`,
        unit: 'events/s',
        lines: await rows(SCAN, RAW_CURSOR, 'scan'),
        targets: [{ subject: SCAN, against: RAW_CURSOR, figure: 'value' }],
      },
      {
        title: `Projector rebuild, ${eventCount.toLocaleString('en-US')} events`,
        unit: 'events/s',
        lines: await rows(REBUILD, RAW_REBUILD, 'rebuild'),
        targets: [{ subject: REBUILD, against: RAW_REBUILD, figure: 'value', atLeast: 0.5 }],
      },
    ];
  });
}
