import type { Child } from '../lib/child.ts';
import { type Family, withFamily } from '../lib/family.ts';
import { DRIVER, HAND_WRITTEN, MILLRACE_SERVER } from '../lib/files.ts';
import { ACCOUNT_COUNT, type Bench } from '../lib/options.ts';
import type { Group, Target } from '../lib/report.ts';
import { type Contender, interleave } from '../lib/rounds.ts';
import type { ProcessFigures } from '../lib/serve.ts';
import type { FlowFigures, FlowPlace, FlowRound } from '../load/flow.ts';

const MILLRACE = 'Millrace, one process';
const MILLRACE_TWO = 'Millrace, gateway and worker apart';
/** Which layout is faster differs with the load: Millrace has to beat both. */
const HAND_WRITTEN_ONE = 'hand-written, one process';
const HAND_WRITTEN_TWO = 'hand-written, gateway and worker apart';

type Asked = Pick<Target, 'figure' | 'atLeast' | 'atMost'>;
const LOADS: readonly { readonly title: string; readonly load: FlowRound['load']; readonly asked: readonly Asked[] }[] =
  [
    {
      title: 'End to end at 200/s, mutation to pushed view',
      load: { kind: 'rate', perSecond: 200 },
      asked: [
        { figure: 'p50Ms', atMost: 2.5 },
        { figure: 'p99Ms', atMost: 2.5 },
      ],
    },
    {
      title: 'End to end at full speed, 64 mutations in flight',
      load: { kind: 'full', inFlightCount: 64 },
      asked: [
        { figure: 'value', atLeast: 8 },
        { figure: 'p99Ms', atMost: 1 },
      ],
    },
  ];

/** A stack under test and the client that watches all its accounts and sends it deposits. */
interface Stack {
  readonly name: string;
  readonly baseline: boolean;
  /** The process that serves GraphQL. */
  readonly gateway: Child;
  readonly driver: Child;
}

/** From a client's mutation to the view that the same client is pushed, against the stack as most teams write it. */
export function endToEnd(bench: Bench): Promise<Group[]> {
  return withFamily(bench, async (family) => {
    const stacks = [
      await handWrittenOne(family),
      await handWrittenTwo(family),
      await millraceOne(family),
      await millraceTwo(family),
    ];
    for (const { gateway, driver } of stacks) {
      const place: FlowPlace = {
        url: await gateway.call<string>('url'),
        door: { kind: 'http', connectionCount: 64 },
        accountCount: ACCOUNT_COUNT,
        subscriptionsPerSocketCount: 50,
      };
      await driver.call('openFlow', place);
    }
    const groups: Group[] = [];
    for (const { title, load, asked } of LOADS) {
      bench.say(title);
      const contenders = stacks.map((stack) => contender(bench, stack, load));
      for (const { round } of contenders) await round();
      groups.push({
        title,
        unit: 'events/s',
        lines: await interleave(contenders, bench.options.roundCount, bench.say),
        targets: [MILLRACE, MILLRACE_TWO].flatMap((subject) =>
          [HAND_WRITTEN_ONE, HAND_WRITTEN_TWO].flatMap((against) =>
            asked.map((ratio) => ({ subject, against, ...ratio })),
          ),
        ),
      });
    }
    return groups;
  });
}

async function handWrittenOne(family: Family): Promise<Stack> {
  const gateway = await family.start(HAND_WRITTEN, 'flow_one', { env: { ROLE: 'all' } });
  await gateway.call('prepare');
  return { name: HAND_WRITTEN_ONE, baseline: true, gateway, driver: await family.start(DRIVER, 'flow_one') };
}

async function handWrittenTwo(family: Family): Promise<Stack> {
  const gateway = await family.start(HAND_WRITTEN, 'flow_two', { env: { ROLE: 'gateway' } });
  await family.start(HAND_WRITTEN, 'flow_two', { env: { ROLE: 'worker' } });
  await gateway.call('prepare');
  return { name: HAND_WRITTEN_TWO, baseline: true, gateway, driver: await family.start(DRIVER, 'flow_two') };
}

async function millraceOne(family: Family): Promise<Stack> {
  const gateway = await family.start(MILLRACE_SERVER, 'flow_millrace', { env: { ROLE: 'all' } });
  await gateway.call('prepare', { shown: true });
  return { name: MILLRACE, baseline: false, gateway, driver: await family.start(DRIVER, 'flow_millrace') };
}

async function millraceTwo(family: Family): Promise<Stack> {
  const gateway = await family.start(MILLRACE_SERVER, 'flow_millrace_two', { env: { ROLE: 'gateway' } });
  await family.start(MILLRACE_SERVER, 'flow_millrace_two', { env: { ROLE: 'worker' } });
  await gateway.call('prepare', { shown: true });
  return { name: MILLRACE_TWO, baseline: false, gateway, driver: await family.start(DRIVER, 'flow_millrace_two') };
}

function contender(bench: Bench, stack: Stack, load: FlowRound['load']): Contender {
  const round: FlowRound = { load, durationMs: bench.options.roundMs, drainMs: 60_000 };
  return {
    name: stack.name,
    baseline: stack.baseline,
    async round() {
      await stack.gateway.call('reset');
      const figures = await stack.driver.call<FlowFigures>('flow', round);
      const { loopDelayP99Ms } = await stack.gateway.call<ProcessFigures>('figures');
      return { value: figures.perSecond, p50Ms: figures.p50Ms, p99Ms: figures.p99Ms, loopDelayP99Ms };
    },
  };
}
