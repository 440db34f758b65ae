import { accountId } from '../lib/append-contender.ts';
import type { Child } from '../lib/child.ts';
import { withFamily } from '../lib/family.ts';
import { BARE_GRAPHQL_WS, DRIVER, MILLRACE_SERVER } from '../lib/files.ts';
import type { Bench } from '../lib/options.ts';
import type { Group, Sample } from '../lib/report.ts';
import { type Contender, interleave } from '../lib/rounds.ts';
import type { ProcessFigures } from '../lib/serve.ts';
import type { SubscriberRound } from '../load/subscribers.ts';

const MILLRACE = 'Millrace';
const BARE = 'bare graphql-ws';

/**
 * What a socket with one idle subscription costs: memory of the server after a garbage collection, with and without the
 * subscribers, by subscriber. A fresh process each round, warmed up with the same subscribers before.
 */
export async function memory(bench: Bench): Promise<Group[]> {
  bench.say(`memory of ${bench.options.subscriberCount} idle subscribers`);
  const contenders = [
    { name: BARE, baseline: true, start: startBare },
    { name: MILLRACE, baseline: false, start: startMillrace },
  ];
  const sides = (['heapUsedBytes', 'rssBytes'] as const).map((figure) => ({
    figure,
    samples: new Map<string, Sample[]>(),
  }));
  const measured = contenders.map(
    ({ name, baseline, start }): Contender => ({
      name,
      baseline,
      async round() {
        const bytes = await measure(bench, start);
        for (const { figure, samples } of sides) {
          const value = bytes[figure] / 1024 / bench.options.subscriberCount;
          samples.set(name, [...(samples.get(name) ?? []), { value }]);
        }
        return { value: bytes.rssBytes / 1024 / bench.options.subscriberCount };
      },
    }),
  );
  await interleave(measured, bench.options.roundCount, bench.say);
  return sides.map(({ figure, samples }) => ({
    title: `Memory by idle subscriber, ${bench.options.subscriberCount} sockets, ${figure === 'rssBytes' ? 'resident set' : 'heap in use'}`,
    unit: 'KiB',
    lines: contenders.map(({ name, baseline }) => ({ name, baseline, samples: samples.get(name) ?? [] })),
    targets: [{ subject: MILLRACE, against: BARE, figure: 'value', atMost: 1.5 }],
  }));
}

type Start = (start: (file: URL, env?: Readonly<Record<string, string>>) => Promise<Child>) => Promise<Child>;
const startBare: Start = (start) => start(BARE_GRAPHQL_WS);
const startMillrace: Start = async (start) => {
  // The workers apart: what they keep and do beside it is not a subscriber's cost.
  await start(MILLRACE_SERVER, { ROLE: 'worker' });
  const server = await start(MILLRACE_SERVER, { ROLE: 'gateway' });
  await server.call('prepare', { shown: true });
  return server;
};
let rounds = 0;

function measure(bench: Bench, startServer: Start): Promise<Pick<ProcessFigures, 'heapUsedBytes' | 'rssBytes'>> {
  return withFamily(bench, async (family) => {
    rounds += 1;
    const name = `memory_${rounds}`;
    const server = await startServer((file, env = {}) => family.start(file, name, { env, nodeArgs: ['--expose-gc'] }));
    const driver = await family.start(DRIVER, name);
    const round: SubscriberRound = {
      url: await server.call<string>('url'),
      ids: Array.from({ length: bench.options.subscriberCount }, (_, i) => accountId(i)),
      perSocketCount: 1,
    };
    // Warm-up: code that is compiled and caches that are filled once are not a subscriber's cost.
    await driver.call('subscribe', { ...round, ids: round.ids.slice(0, 100) });
    await driver.call('unsubscribe');
    const before = await server.call<ProcessFigures>('figures');
    await driver.call('subscribe', round);
    const after = await server.call<ProcessFigures>('figures');
    return {
      heapUsedBytes: after.heapUsedBytes - before.heapUsedBytes,
      rssBytes: after.rssBytes - before.rssBytes,
    };
  });
}
