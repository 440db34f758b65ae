import { expectAtMost, type Fault } from '../harness/fault.ts';
import { pause, redisCommand, underLoad, untilShown } from '../harness/moments.ts';

export const redisOutOfMemory: Fault = {
  id: 'F10',
  title: 'Redis has no memory left (maxmemory, noeviction), then has it again',
  target: '0 lost, no process ends; views go on by the sweep meanwhile and by jobs afterwards',
  async run(stage, size) {
    await stage.populate({ gateways: 1, workers: 2 });
    let shownMs = 0;
    await underLoad(stage, { perSecond: 100 }, async () => {
      await pause(1_000);
      // Less than it uses: from now on every write is refused with OOM.
      await redisCommand(stage, 'CONFIG', 'SET', 'maxmemory', '600kb');
      await pause(size === 'brief' ? 2_000 : 8_000);
      shownMs = await untilShown(stage);
      await redisCommand(stage, 'CONFIG', 'SET', 'maxmemory', '0');
      await pause(1_000);
    });
    const refused = String(await redisCommand(stage, 'INFO', 'errorstats')).match(/errorstat_OOM:count=(\d+)/)?.[1];
    if (refused === undefined) throw new Error('Redis refused nothing: it had memory left');
    const drainMs = await stage.drained(20_000);
    expectAtMost('shown without memory in ms', shownMs, 10_000);
    expectAtMost('drain in ms', drainMs, 10_000);
    return { 'writes that Redis refused': Number(refused), 'shown meanwhile ms': shownMs, 'drain ms': drainMs };
  },
};
