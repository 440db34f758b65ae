import { expectAtMost, expectEqual, type Fault } from '../harness/fault.ts';
import { pause, underLoad } from '../harness/moments.ts';

const EXIT_MAX_MS = 10_000;

export const rollingRestart: Fault = {
  id: 'F28',
  title: 'all processes are restarted one after the other under load, as a deployment does',
  target: 'exit < 10 s with code 0; sockets get 1001 or 1012; 0 errors to a client that sends again',
  profiles: ['production'],
  timeoutMs: 300_000,
  async run(stage, size) {
    let { gateways, workers } = await stage.populate({ gateways: 2, workers: 2 });
    const follower = await stage.follow();
    const exitsMs: number[] = [];
    const rounds = size === 'brief' ? 1 : 5;
    await underLoad(stage, { perSecond: 60 }, async () => {
      for (let round = 0; round < rounds; round++) {
        for (const [index, worker] of workers.entries()) {
          const { ended, tookMs } = await worker.stop();
          expectEqual('exit of a worker', ended, 0);
          exitsMs.push(tookMs);
          workers = replaced(workers, index, await stage.start('worker'));
        }
        for (const [index, gateway] of gateways.entries()) {
          // A load balancer takes it out first and puts it in again when it is ready.
          const { port } = gateway;
          stage.forgetPort(port);
          const { ended, tookMs } = await gateway.stop();
          expectEqual('exit of a gateway', ended, 0);
          exitsMs.push(tookMs);
          gateways = replaced(gateways, index, await stage.start('gateway', { port }));
        }
        await pause(300);
      }
    });
    const drainMs = await stage.drained(20_000);
    const codes = [...follower.closeCodes.keys()].filter((code) => code !== 1001 && code !== 1012);
    expectEqual('other codes that sockets were closed with', codes, []);
    expectEqual('commands without an answer', stage.history.of('info').length, 0);
    expectAtMost('exit in ms', Math.max(...exitsMs), EXIT_MAX_MS);
    return {
      restarts: exitsMs.length,
      'exit, at most, ms': Math.max(...exitsMs),
      'sockets closed with 1001 or 1012': [...follower.closeCodes.values()].reduce((sum, count) => sum + count, 0),
      'drain ms': drainMs,
      acknowledged: stage.history.of('ok').length,
    };
  },
};

const replaced = <Value>(values: readonly Value[], at: number, by: Value): Value[] =>
  values.map((value, index) => (index === at ? by : value));
