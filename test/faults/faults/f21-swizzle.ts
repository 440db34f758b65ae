import { expectAtMost, type Fault } from '../harness/fault.ts';
import { pause, underLoad } from '../harness/moments.ts';
import { swizzle } from '../harness/tcp-proxy.ts';

const DRAIN_MAX_MS = 20_000;

export const swizzledLinks: Fault = {
  id: 'F21',
  title: 'all links between processes and servers break and heal in random order',
  target: 'drain < 20 s',
  stage: { linked: true },
  timeoutMs: 240_000,
  async run(stage, size) {
    await stage.populate({ gateways: 2, workers: 2 });
    const over = new AbortController();
    let turns = 0;
    const forMs = size === 'brief' ? 6_000 : 30_000;
    const swizzling = underLoad(stage, { perSecond: 50 }, async () => {
      setTimeout(() => over.abort(), forMs);
      turns = await swizzle(stage.links, stage.random, { signal: over.signal, turnMs: 2_000, wait: pause });
    });
    await swizzling;
    const drainMs = await stage.drained(40_000);
    expectAtMost('drain in ms', drainMs, DRAIN_MAX_MS);
    return {
      links: stage.links.length,
      turns,
      'drain ms': drainMs,
      acknowledged: stage.history.of('ok').length,
      'outcome unknown to the client': stage.history.of('info').length,
    };
  },
};
