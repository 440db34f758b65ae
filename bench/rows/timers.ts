import { setTimeout as pause } from 'node:timers/promises';
import { serversCpuMs } from '../lib/cpu.ts';
import { withFamily } from '../lib/family.ts';
import { MILLRACE_TIMERS } from '../lib/files.ts';
import type { Bench } from '../lib/options.ts';
import type { Group, Sample } from '../lib/report.ts';
import { interleave } from '../lib/rounds.ts';
import type { ProcessFigures } from '../lib/serve.ts';

const PENDING_COUNT = 100_000;
const PER_SECOND = 100;
const FIRES = 'the saga has it';
const DONE = 'its command is an event';
const NO_SAGA = 'idle, no saga';
const PENDING = 'idle, a saga and its timers';
/** What follows a start and a load of the database is no cost of looking ahead. */
const SETTLE_MS = 5_000;

interface RingFigures {
  readonly fires: Sample;
  readonly done: Sample;
}

/** How late timers fire while 100,000 others wait for their time, and what looking ahead for them costs. */
export async function timers(bench: Bench): Promise<Group[]> {
  const { roundCount, roundMs } = bench.options;
  const pendingText = PENDING_COUNT.toLocaleString('en-US');
  bench.say(`timers, ${pendingText} pending`);
  const idleLines = await interleave(
    [
      { name: NO_SAGA, baseline: true, round: () => idle(bench, 0) },
      { name: PENDING, baseline: false, round: () => idle(bench, PENDING_COUNT) },
    ],
    roundCount,
    bench.say,
  );
  const fires: Sample[] = [];
  const done: Sample[] = [];
  await withFamily(bench, async (family) => {
    const app = await family.start(MILLRACE_TIMERS, 'timers_due', { env: { SAGA: 'yes' } });
    await app.call('pend', PENDING_COUNT);
    await app.call('ring', { perSecond: PER_SECOND, durationMs: 1_000 });
    for (let round = 0; round < roundCount; round++) {
      const figures = await app.call<RingFigures>('ring', { perSecond: PER_SECOND, durationMs: 2 * roundMs });
      fires.push(figures.fires);
      done.push(figures.done);
      bench.say(
        `  late: p50 ${figures.fires.p50Ms} ms, p99 ${figures.fires.p99Ms} ms; done p99 ${figures.done.p99Ms} ms`,
      );
    }
  });
  return [
    {
      title: `Timers due, ${PER_SECOND}/s, beside ${pendingText} pending: how long after its time`,
      unit: 'timers/s',
      lines: [
        { name: FIRES, baseline: false, samples: fires },
        { name: DONE, baseline: false, samples: done },
      ],
      targets: [],
      floors: [{ subject: FIRES, figure: 'p99Ms', atMost: 200 }],
    },
    {
      title: `Looking ahead, ${pendingText} timers pending, none due: process, MongoDB and Redis together`,
      unit: '% of a core',
      lines: idleLines,
      targets: [],
      floors: [{ subject: PENDING, moreThan: NO_SAGA, atMost: 5 }],
    },
  ];
}

let rounds = 0;

/** CPU that a process and its servers take while nothing happens. */
function idle(bench: Bench, pendingCount: number): Promise<Sample> {
  rounds += 1;
  return withFamily(bench, async (family) => {
    const app = await family.start(MILLRACE_TIMERS, `timers_idle_${rounds}`, {
      env: { SAGA: pendingCount > 0 ? 'yes' : 'no' },
    });
    if (pendingCount > 0) await app.call('pend', pendingCount);
    await pause(SETTLE_MS);
    const before = serversCpuMs();
    await app.call('reset');
    const startMs = performance.now();
    await pause(3 * bench.options.roundMs);
    const { cpuMs } = await app.call<ProcessFigures>('figures');
    const after = serversCpuMs();
    const elapsedMs = performance.now() - startMs;
    const servers = Object.entries(after).reduce((sum, [name, ms]) => sum + ms - (before[name] ?? 0), 0);
    return { value: ((cpuMs + servers) / elapsedMs) * 100 };
  });
}
