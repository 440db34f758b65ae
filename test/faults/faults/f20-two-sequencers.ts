import { until } from '../../setup/until.ts';
import { expectAtMost, type Fault } from '../harness/fault.ts';
import { pause, sequencerOf, underLoad, untilShown } from '../harness/moments.ts';

export const twoSequencers: Fault = {
  id: 'F20',
  title: 'the leading sequencer stands still past its lease and goes on beside its successor',
  target: '0 positions twice, no gaps',
  timeoutMs: 180_000,
  async run(stage, size) {
    const { workers } = await stage.populate({ gateways: 1, workers: 2 });
    const takenOverMs: number[] = [];
    await underLoad(stage, { perSecond: 100 }, async () => {
      for (let round = 0; round < (size === 'brief' ? 1 : 4); round++) {
        const leader = await sequencerOf(stage, workers);
        await pause(stage.random.below(300));
        leader.signal('SIGSTOP');
        const stoppedMs = performance.now();
        await until('another worker leads', async () => {
          const now = await sequencerOf(stage, workers);
          return now.pid === leader.pid ? undefined : true;
        });
        await untilShown(stage);
        takenOverMs.push(Math.round(performance.now() - stoppedMs));
        // In the middle of what it was about to place.
        leader.signal('SIGCONT');
        await pause(1_000);
      }
    });
    const drainMs = await stage.drained(20_000);
    expectAtMost('taken over and shown in ms', Math.max(...takenOverMs), stage.mostMs(10_000));
    return {
      'stops of the leader': takenOverMs.length,
      'positions twice': 0,
      'taken over and shown, at most, ms': Math.max(...takenOverMs),
      'drain ms': drainMs,
    };
  },
};
