import { until } from '../../setup/until.ts';
import { expectAtMost, type Fault } from '../harness/fault.ts';
import { isStopped, pause, underLoad, untilShown } from '../harness/moments.ts';
import type { Stage } from '../harness/stage.ts';

const PAUSE_MS = 4_000;
/** The lock of production lasts five seconds. */
const PAUSE_PRODUCTION_MS = 7_000;
const SHOWN_MAX_MS = 10_000;

export const workerPaused: Fault = {
  id: 'F4',
  title: 'a worker stands still past its lock, before its transaction and inside it, then goes on',
  target: 'what it would write is refused by its checkpoint, every event has one effect; others go on meanwhile',
  timeoutMs: 180_000,
  async run(stage, size) {
    await stage.populate({ gateways: 1, workers: 1 });
    const points = ['before-transaction', 'before-commit'] as const;
    const figures: Record<string, number> = {};
    for (const point of size === 'brief' ? points.slice(1) : points) {
      figures[`others go on after a stop ${point}, ms`] = await underLoad(stage, { perSecond: 40 }, () =>
        standStill(stage, point),
      );
    }
    const drainMs = await stage.drained(20_000);
    for (const [what, ms] of Object.entries(figures)) expectAtMost(what, ms, SHOWN_MAX_MS);
    return { ...figures, 'drain ms': drainMs };
  },
};

async function standStill(stage: Stage, point: string): Promise<number> {
  const victim = await stage.start('worker', { env: { MILLRACE_CRASH: `${point}#60:SIGSTOP` } });
  await until(`a worker stands still ${point}`, () => isStopped(victim) || undefined, { timeoutMs: 40_000 });
  const begun = performance.now();
  const shownMs = await untilShown(stage);
  const pauseMs = stage.profile === 'fast' ? PAUSE_MS : PAUSE_PRODUCTION_MS;
  await pause(Math.max(0, pauseMs - (performance.now() - begun)));
  victim.signal('SIGCONT');
  await pause(2_000);
  await victim.stop();
  return shownMs;
}
