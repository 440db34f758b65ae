import type { ChangeRound } from '../baselines/change-source.ts';
import { accountId } from '../lib/append-contender.ts';
import type { Child } from '../lib/child.ts';
import { type Family, profiled, withFamily } from '../lib/family.ts';
import { BARE_WS, CHANGE_SOURCE, FAN_DRIVER, MILLRACE_SERVER, PUSHING_GRAPHQL_WS } from '../lib/files.ts';
import type { Bench } from '../lib/options.ts';
import type { Group } from '../lib/report.ts';
import { interleave } from '../lib/rounds.ts';
import type { ProcessFigures } from '../lib/serve.ts';
import type { FanFigures, FanPlace } from '../load/fan-driver.ts';

const MILLRACE = 'Millrace';
const BARE = 'bare ws broadcast';
const BARE_GRAPHQL = 'bare graphql-ws';
const CHANGES_PER_SECOND = 1_000;
const CHANGED_ACCOUNT_COUNT = 1_000;
/** Changes of one round of the fan-out; the worst of one alone says little. */
const FANS_PER_ROUND = 5;

/** One change to many subscribers, and many changes to one subscriber each. */
export async function realtime(bench: Bench): Promise<Group[]> {
  return [await fanOut(bench), await manyChanges(bench)];
}

interface Started {
  readonly gateway: Child;
  readonly worker: Child;
  readonly driver: Child;
  readonly url: string;
  /** Over which its hints go. */
  readonly channel: string;
}
async function startMillrace(bench: Bench, family: Family, name: string): Promise<Started> {
  const worker = await family.start(MILLRACE_SERVER, name, { env: { ROLE: 'worker' } });
  const gateway = await family.start(MILLRACE_SERVER, name, { env: { ROLE: 'gateway' }, nodeArgs: profiled });
  const driver = await family.start(FAN_DRIVER, name);
  await worker.call('prepare', { shown: true });
  return { gateway, worker, driver, url: await gateway.call('url'), channel: `${bench.unique(name)}:main:hints` };
}

/** Time from when the news of a change is on Redis until a subscriber has it. */
function fanOut(bench: Bench): Promise<Group> {
  const socketCount = bench.options.fanOutCount;
  const title = `Fan-out of one change to ${socketCount.toLocaleString('en-US')} sockets`;
  bench.say(title);
  return withFamily(bench, async (family) => {
    const { worker, gateway, driver, url, channel } = await startMillrace(bench, family, 'fan');
    const bare = await family.start(BARE_WS, 'fan_bare');
    const bareDriver = await family.start(FAN_DRIVER, 'fan_bare');
    const place: FanPlace = { url, socketCount, accounts: 'ONE', channel };
    await driver.call('open', place);
    await bareDriver.call('open', { ...place, url: await bare.call('url'), channel: await bare.call('channel') });
    let sample = '';
    const fan = async (to: Child, told: string, change: () => Promise<unknown>): Promise<FanFigures> => {
      await to.call('begin');
      const all = to.call<FanFigures>('fan', { told });
      await change();
      return all;
    };
    const millraceFan = async (): Promise<FanFigures> => {
      const figures = await fan(driver, accountId(0), () => worker.call('changeOne'));
      sample = figures.sample;
      return figures;
    };
    const bareFan = () => fan(bareDriver, '"next"', () => bare.call('broadcast', sample));
    for (let i = 0; i < 3; i++) {
      await millraceFan();
      await bareFan();
    }
    const contender = (name: string, server: Child, one: () => Promise<FanFigures>) => ({
      name,
      baseline: server === bare,
      async round() {
        await server.call('reset');
        const fans: FanFigures[] = [];
        for (let i = 0; i < FANS_PER_ROUND; i++) fans.push(await one());
        const { cpuMs } = await server.call<ProcessFigures>('figures');
        const mean = (figure: 'p50Ms' | 'p99Ms'): number =>
          fans.reduce((sum, each) => sum + each[figure], 0) / fans.length;
        const cpuMicros = { server: (cpuMs / FANS_PER_ROUND / socketCount) * 1_000 };
        return { value: mean('p99Ms'), p50Ms: mean('p50Ms'), p99Ms: mean('p99Ms'), cpuMicros };
      },
    });
    const contenders = [contender(BARE, bare, bareFan), contender(MILLRACE, gateway, millraceFan)];
    return {
      title,
      unit: 'ms, p99',
      lines: await interleave(contenders, bench.options.roundCount, bench.say),
      targets: [{ subject: MILLRACE, against: BARE, figure: 'value', atMost: 2 }],
    };
  });
}

/** CPU of the gateway for a message, each to one subscriber. */
function manyChanges(bench: Bench): Promise<Group> {
  const title = `${CHANGES_PER_SECOND.toLocaleString('en-US')} changes/s over ${CHANGED_ACCOUNT_COUNT.toLocaleString('en-US')} subscribers of different documents: CPU of the gateway for a message`;
  bench.say(title);
  return withFamily(bench, async (family) => {
    const { worker, gateway, driver, url, channel } = await startMillrace(bench, family, 'changes');
    const bare = await family.start(PUSHING_GRAPHQL_WS, 'changes_bare');
    const source = await family.start(CHANGE_SOURCE, 'changes_bare');
    const bareDriver = await family.start(FAN_DRIVER, 'changes_bare');
    const place: FanPlace = { url, socketCount: CHANGED_ACCOUNT_COUNT, accounts: 'EACH', channel };
    await driver.call('open', place);
    await bareDriver.call('open', { ...place, url: await bare.call('url'), channel: await bare.call('channel') });
    const round: ChangeRound = {
      perSecond: CHANGES_PER_SECOND,
      durationMs: bench.options.roundMs,
      accountCount: CHANGED_ACCOUNT_COUNT,
      cursorLength: 80,
    };
    const contender = (name: string, server: Child, from: Child, to: Child) => ({
      name,
      baseline: server === bare,
      async round() {
        await from.call('changes', { ...round, durationMs: 1_000 });
        await to.call('begin');
        await server.call('reset');
        const begun = performance.now();
        await from.call('changes', round);
        await settled(to);
        const { cpuMs, loopDelayP99Ms } = await server.call<ProcessFigures>('figures');
        const messageCount = await to.call<number>('count');
        const perSecond = (messageCount / (performance.now() - begun)) * 1_000;
        bench.say(`  ${name}: ${messageCount} messages, ${Math.round(perSecond)}/s`);
        const micros = (cpuMs / messageCount) * 1_000;
        return { value: micros, loopDelayP99Ms, cpuMicros: { gateway: micros } };
      },
    });
    const contenders = [
      contender(BARE_GRAPHQL, bare, source, bareDriver),
      contender(MILLRACE, gateway, worker, driver),
    ];
    return {
      title,
      unit: 'µs of CPU',
      lines: await interleave(contenders, bench.options.roundCount, bench.say),
      targets: [{ subject: MILLRACE, against: BARE_GRAPHQL, figure: 'value', atMost: 1.5 }],
    };
  });
}

/** Until no message came for a while. */
async function settled(driver: Child): Promise<void> {
  for (let before = -1, now = 0; now !== before; ) {
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 300));
    now = await driver.call<number>('count');
  }
}
