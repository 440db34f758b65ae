import { randomBytes } from 'node:crypto';
import { until } from '../../setup/until.ts';
import { expectAtMost, type Fault } from '../harness/fault.ts';
import { pause } from '../harness/moments.ts';

const OPENED_AGAIN = 'change stream ended; opening it again';

export const historyLost: Fault = {
  id: 'F18',
  title: 'the history of the change stream is lost while no sequencer runs, and once under it',
  target: 'caught up < 5 s, at most 3 attempts to open, no loop over a dead token',
  profiles: ['production'],
  // The smallest oplog, and a checkpoint each second: only then is it truncated.
  stage: { mongo: { oplogMB: 1, args: ['--syncdelay', '1'] } },
  async run(stage, size) {
    const { workers } = await stage.populate({ gateways: 1, workers: 1 });
    await stage.clients.send(50, 8, 0);
    await stage.drained(10_000);
    // The token is saved once a second.
    await pause(1_500);
    await workers[0]?.stop();
    await stage.clients.send(size === 'brief' ? 50 : 300, 16, 0);
    await forgetHistory(stage);
    const begun = performance.now();
    const worker = await stage.start('worker');
    const startedMs = performance.now();
    await stage.drained(20_000);
    const caughtUpMs = Math.round(performance.now() - startedMs);
    const attempts = worker.logged(OPENED_AGAIN);
    if (worker.logged('change stream lost (286)') === 0) throw new Error(`the history was not lost: ${worker.log()}`);

    // And under a sequencer that runs: the server says so once.
    await stage.failCommands(
      { times: 1 },
      {
        failCommands: ['getMore'],
        errorCode: 286,
        errorLabels: ['NonResumableChangeStreamError'],
        appName: 'millrace-worker',
      },
    );
    await stage.clients.send(100, 8, 0);
    const againMs = await stage.drained(10_000);
    const attemptsAgain = worker.logged(OPENED_AGAIN) - attempts;
    expectAtMost('caught up in ms', caughtUpMs, stage.mostMs(5_000));
    expectAtMost('attempts to open', attempts, 3);
    expectAtMost('attempts to open under a running sequencer', attemptsAgain, 3);
    return {
      'caught up after the start ms': caughtUpMs,
      'with the start of the process ms': Math.round(performance.now() - begun),
      'attempts to open': attempts,
      'attempts under a running sequencer': attemptsAgain,
      'drain then ms': againMs,
    };
  },
};

/** Writes until the oplog no longer holds the time of the saved token. */
async function forgetHistory(stage: Parameters<Fault['run']>[0]): Promise<void> {
  const state = await stage.store.placement.load();
  const noise = stage.connection.client.db('noise').collection('noise');
  await until(
    'the token of the sequencer is of no use any more',
    async () => {
      await noise.insertMany(Array.from({ length: 200 }, () => ({ text: randomBytes(8_000).toString('hex') })));
      const stream = stage.store.feed.open({ token: state?.token });
      return stream.then(
        async (open) => {
          await open.close();
          return undefined;
        },
        (error: unknown) => (String(error).includes('286') ? true : undefined),
      );
    },
    { timeoutMs: 60_000 },
  );
}
