import { until } from '../../setup/until.ts';
import { expectAtMost, expectEqual, type Fault } from '../harness/fault.ts';
import { pause } from '../harness/moments.ts';
import type { RoleProcess } from '../harness/processes.ts';

const DRAIN_MAX_MS = 10_000;

export const workersKilled: Fault = {
  id: 'F2',
  title: 'random workers are killed in the middle of their work',
  target: 'drain < 10 s after the last kill; every event has one effect',
  timeoutMs: 180_000,
  async run(stage, size) {
    const kills = size === 'brief' ? 4 : 20;
    const events = size === 'brief' ? 200 : 500;
    const { workers } = await stage.populate({ gateways: 1, workers: 3 });
    const living = [...workers];
    const over = new AbortController();
    const sending = stage.clients.run({ clientCount: 8, perSecond: events / (kills * 1.5), signal: over.signal });
    for (let kill = 0; kill < kills; kill++) {
      await pause(200 + stage.random.below(400));
      // Only those that work are killed, and one of them is left.
      const working = await until(
        'two workers work',
        () => (worksOf(living).length >= 2 ? worksOf(living) : undefined),
        {
          timeoutMs: 30_000,
        },
      );
      const victim = stage.random.pick(working);
      await victim.kill();
      living.splice(living.indexOf(victim), 1, await stage.begin('worker'));
    }
    over.abort();
    await sending;
    const drainMs = await stage.drained(30_000);
    expectAtMost('drain after the last kill in ms', drainMs, DRAIN_MAX_MS);
    expectEqual('outcomes unknown', stage.history.of('info').length, 0);
    return { kills, 'drain ms': drainMs, acknowledged: stage.history.of('ok').length };
  },
};

const worksOf = (workers: readonly RoleProcess[]): readonly RoleProcess[] =>
  workers.filter((worker) => worker.ended === undefined && worker.logged('worker started') > 0);
