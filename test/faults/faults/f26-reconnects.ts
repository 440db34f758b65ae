import type { Fault } from '../harness/fault.ts';
import { pause } from '../harness/moments.ts';

const CLIENTS = 10;

export const reconnects: Fault = {
  id: 'F26',
  title: '10 subscribers of `events` lose their connection hard, at random, while 1,000 events are written',
  target: '0 gaps, 0 repetitions over all reconnects (views: a new snapshot each time, and they converge)',
  profiles: ['production'],
  async run(stage, size) {
    await stage.populate({ gateways: 2, workers: 2 });
    // Nothing may be on its way when they begin.
    await stage.drained(20_000);
    const followers = [];
    for (let n = 0; n < CLIENTS; n++) followers.push(await stage.follow());
    const over = new AbortController();
    const cutting = (async () => {
      let cuts = 0;
      while (!over.signal.aborted) {
        await pause(20 + stage.random.below(60));
        stage.random.pick(followers).disconnect();
        cuts++;
      }
      return cuts;
    })();
    await stage.clients.run({
      clientCount: 8,
      perSecond: 100,
      signal: AbortSignal.timeout(size === 'brief' ? 3_000 : 10_000),
      readShare: 0,
    });
    over.abort();
    const cuts = await cutting;
    const drainMs = await stage.drained(20_000);
    const connects = followers.reduce((sum, { connectCount }) => sum + connectCount, 0);
    return {
      subscribers: CLIENTS,
      'connections cut': cuts,
      connects,
      events: await stage.store.log.end(),
      'drain ms': drainMs,
    };
  },
};
