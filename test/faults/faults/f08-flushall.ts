import { expectAtMost, type Fault } from '../harness/fault.ts';
import { pause, redisCommand, redisKeys, underLoad, untilShown } from '../harness/moments.ts';

const SHOWN_MAX_MS = 10_000;

export const flushAll: Fault = {
  id: 'F8',
  title: 'FLUSHALL under load, five times',
  target: 'everything acknowledged is shown < 10 s after each',
  async run(stage, size) {
    await stage.populate({ gateways: 1, workers: 2 });
    const shown: number[] = [];
    let keysLost = 0;
    await underLoad(stage, { perSecond: 100 }, async () => {
      for (let flush = 0; flush < (size === 'brief' ? 2 : 5); flush++) {
        await pause(1_000 + stage.random.below(1_000));
        keysLost += await redisKeys(stage, '*');
        await redisCommand(stage, 'FLUSHALL');
        shown.push(await untilShown(stage));
      }
    });
    await redisCommand(stage, 'FLUSHALL');
    const drainMs = await stage.drained(20_000);
    expectAtMost('shown after a FLUSHALL in ms', Math.max(...shown), SHOWN_MAX_MS);
    expectAtMost('drain after the last one in ms', drainMs, SHOWN_MAX_MS);
    return {
      flushes: shown.length + 1,
      'keys lost': keysLost,
      'shown after, at most, ms': Math.max(...shown),
      'drain after the last ms': drainMs,
    };
  },
};
