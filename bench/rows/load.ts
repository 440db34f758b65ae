import type { LoopFigures } from '../lib/closed-loop.ts';
import { withFamily } from '../lib/family.ts';
import { MILLRACE_LOAD } from '../lib/files.ts';
import type { Bench } from '../lib/options.ts';
import type { Group } from '../lib/report.ts';
import { type Contender, interleave } from '../lib/rounds.ts';
import type { ProcessFigures } from '../lib/serve.ts';

const WHOLE = 'folded from its beginning';
const SNAPSHOT = 'snapshot every 1,000 events';
/** Small states of short streams: what snapshots cost where they are of no use. */
const LENGTHS = [10_000, 100] as const;

/** A command on a stream whose state is not in memory. */
export function load(bench: Bench): Promise<Group[]> {
  return withFamily(bench, async (family) => {
    const groups: Group[] = [];
    for (const eventCount of LENGTHS) {
      const contender = async (name: string, every: number): Promise<Contender> => {
        const env = { AGGREGATE_CACHE_COUNT: '0', SNAPSHOT_EVERY: String(every) };
        const child = await family.start(MILLRACE_LOAD, `load_${eventCount}_${every}`, { env });
        await child.call('prepare', { eventCount });
        return {
          name,
          baseline: every === 0,
          async round() {
            await child.call('reset');
            const { p50Ms, p99Ms } = await child.call<LoopFigures>('round', { durationMs: bench.options.roundMs });
            const { loopDelayP99Ms } = await child.call<ProcessFigures>('figures');
            return { value: p50Ms, p50Ms, p99Ms, loopDelayP99Ms };
          },
        };
      };
      const title = `Command on a stream of ${eventCount.toLocaleString('en-US')} events that is not in memory`;
      bench.say(title);
      const contenders = [await contender(WHOLE, 0), await contender(SNAPSHOT, 1_000)];
      groups.push({
        title,
        unit: 'ms',
        lines: await interleave(contenders, bench.options.roundCount, bench.say),
        targets: [{ subject: SNAPSHOT, against: WHOLE, figure: 'value' }],
      });
    }
    return groups;
  });
}
