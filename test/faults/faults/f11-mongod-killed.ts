import { setTimeout as wait } from 'node:timers/promises';
import { until } from '../../setup/until.ts';
import { expectAtMost, type Fault } from '../harness/fault.ts';

const RECOVERY_MAX_MS = 10_000;

export const mongodKilled: Fault = {
  id: 'F11',
  title: 'mongod of a single-node set is killed and started again while commands come',
  target: 'only acknowledged commands must be there; recovery < 10 s each',
  timeoutMs: 180_000,
  async run(stage, size) {
    const rounds = size === 'brief' ? 2 : 10;
    await stage.populate({ gateways: 2, workers: 2 });
    const load = new AbortController();
    const loading = stage.clients.run({ clientCount: 16, signal: load.signal, perSecond: 100 });
    const recoveriesMs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await wait(300 + stage.random.below(700));
      await stage.mongo.kill();
      await wait(stage.random.below(500));
      await stage.mongo.restart();
      const restartedMs = performance.now();
      // A command that began after the restart is acknowledged.
      await until(
        'a command is acknowledged again',
        () =>
          stage.history.operations.some(({ outcome, endedMs = 0 }) => outcome === 'ok' && endedMs > restartedMs) ||
          undefined,
        { timeoutMs: stage.mostMs(30_000), seen: () => Object.fromEntries(stage.history.errorCounts) },
      );
      recoveriesMs.push(Math.round(performance.now() - restartedMs));
    }
    load.abort();
    await loading;
    const drainMs = await stage.drained(20_000);
    const recoveryMs = Math.max(...recoveriesMs);
    expectAtMost('recovery after the restart in ms', recoveryMs, stage.mostMs(RECOVERY_MAX_MS));
    expectAtMost('drain in ms', drainMs, stage.mostMs(RECOVERY_MAX_MS));
    return {
      kills: rounds,
      'first command after the restart, at most, ms': recoveryMs,
      'drain ms': drainMs,
      acknowledged: stage.history.of('ok').length,
      'outcome unknown to the client': stage.history.of('info').length,
    };
  },
};
