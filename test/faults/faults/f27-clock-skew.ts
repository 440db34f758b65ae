import { expectAtMost, type Fault } from '../harness/fault.ts';
import { pause, underLoad, untilShown } from '../harness/moments.ts';

const HOUR_MS = 3_600_000;
const PRELOAD = 'test/faults/harness/clock-skew.mjs';

export const clockSkew: Fault = {
  id: 'F27',
  title: 'workers whose clocks are an hour wrong, a gateway five minutes ahead',
  target: 'no effect on what is lost, twice or in order; leases and lives are judged by the server’s clock',
  profiles: ['production'],
  async run(stage, size) {
    const skewed = (ms: number) => ({ preloads: [PRELOAD], env: { CLOCK_SKEW_MS: String(ms) } });
    const [early, late] = await Promise.all([
      stage.start('worker', skewed(-HOUR_MS)),
      stage.start('worker', skewed(HOUR_MS)),
      stage.start('gateway', skewed(300_000)),
      stage.start('gateway'),
    ]);
    await stage.follow();
    await stage.clients.open(20);
    const shown: number[] = [];
    await underLoad(stage, { perSecond: 100 }, async () => {
      await pause(size === 'brief' ? 1_000 : 4_000);
      shown.push(await untilShown(stage));
      // Whoever leads, the other takes over.
      for (const [victim, skewMs] of [
        [early, -HOUR_MS],
        [late, HOUR_MS],
      ] as const) {
        await victim.kill();
        shown.push(await untilShown(stage));
        await stage.start('worker', skewed(skewMs));
        await pause(1_000);
      }
    });
    const drainMs = await stage.drained(20_000);
    expectAtMost('shown in ms', Math.max(...shown), 10_000);
    return {
      'shown, at most, ms': Math.max(...shown),
      'drain ms': drainMs,
      acknowledged: stage.history.of('ok').length,
    };
  },
};
