import type { Child } from '../lib/child.ts';
import { serversCpuMs } from '../lib/cpu.ts';
import { type Family, withFamily } from '../lib/family.ts';
import { DRIVER, HAND_WRITTEN, MILLRACE_SERVER } from '../lib/files.ts';
import { ACCOUNT_COUNT, type Bench } from '../lib/options.ts';
import type { Group, Target } from '../lib/report.ts';
import { type Contender, interleave } from '../lib/rounds.ts';
import type { ProcessFigures } from '../lib/serve.ts';
import type { DoorChoice } from '../load/door.ts';
import type { FlowFigures, FlowPlace, FlowRound } from '../load/flow.ts';

const MILLRACE = 'Millrace, one process';
const MILLRACE_TWO = 'Millrace, gateway and worker apart';
/** What it costs to spread the partitions over processes. */
const MILLRACE_THREE = 'Millrace, gateway and two workers';
/** Which layout is faster differs with the load: Millrace has to beat both. */
const HAND_WRITTEN_ONE = 'hand-written, one process';
const HAND_WRITTEN_TWO = 'hand-written, gateway and worker apart';

type Asked = Pick<Target, 'figure' | 'atLeast' | 'atMost'>;
const HTTP: DoorChoice = { kind: 'http', connectionCount: 64 };
const FULL_SPEED: FlowRound['load'] = { kind: 'full', inFlightCount: 64 };
const ASKED_AT_FULL_SPEED: readonly Asked[] = [
  { figure: 'value', atLeast: 8 },
  { figure: 'p99Ms', atMost: 1 },
];
type Load = Pick<FlowRound, 'load' | 'door'> & { readonly title: string; readonly asked: readonly Asked[] };
const LOADS: readonly Load[] = [
  {
    title: 'End to end at 200/s, mutation to pushed view',
    door: HTTP,
    load: { kind: 'rate', perSecond: 200 },
    asked: [
      { figure: 'p50Ms', atMost: 2.5 },
      { figure: 'p99Ms', atMost: 2.5 },
    ],
  },
  {
    title: 'End to end at full speed, 64 mutations in flight over HTTP',
    door: HTTP,
    load: FULL_SPEED,
    asked: ASKED_AT_FULL_SPEED,
  },
  {
    title: 'End to end at full speed, 64 mutations in flight over one graphql-ws socket',
    door: { kind: 'ws', connectionCount: 1 },
    load: FULL_SPEED,
    asked: ASKED_AT_FULL_SPEED,
  },
];

/** A stack under test and the client that watches all its accounts and sends it deposits. */
interface Stack {
  readonly name: string;
  readonly baseline: boolean;
  /** The process that serves GraphQL. */
  readonly gateway: Child;
  /** Those that are not the gateway itself. */
  readonly workers: readonly Child[];
  readonly driver: Child;
}

/** From a client's mutation to the view that the same client is pushed, against the stack as most teams write it. */
export function endToEnd(bench: Bench): Promise<Group[]> {
  return withFamily(bench, async (family) => {
    const stacks = [
      await handWrittenOne(family),
      await handWrittenTwo(family),
      await millraceOne(family),
      await millraceApart(family, MILLRACE_TWO, 1),
      await millraceApart(family, MILLRACE_THREE, 2),
    ];
    for (const { gateway, driver } of stacks) {
      const place: FlowPlace = {
        url: await gateway.call<string>('url'),
        accountCount: ACCOUNT_COUNT,
        subscriptionsPerSocketCount: 50,
      };
      await driver.call('openFlow', place);
    }
    const groups: Group[] = [];
    for (const { title, load, door, asked } of LOADS) {
      bench.say(title);
      const contenders = stacks.map((stack) => contender(bench, stack, { load, door }));
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
  const driver = await family.start(DRIVER, 'flow_one');
  return { name: HAND_WRITTEN_ONE, baseline: true, gateway, workers: [], driver };
}

async function handWrittenTwo(family: Family): Promise<Stack> {
  const gateway = await family.start(HAND_WRITTEN, 'flow_two', { env: { ROLE: 'gateway' } });
  const worker = await family.start(HAND_WRITTEN, 'flow_two', { env: { ROLE: 'worker' } });
  await gateway.call('prepare');
  const driver = await family.start(DRIVER, 'flow_two');
  return { name: HAND_WRITTEN_TWO, baseline: true, gateway, workers: [worker], driver };
}

async function millraceOne(family: Family): Promise<Stack> {
  const gateway = await family.start(MILLRACE_SERVER, 'flow_millrace', { env: { ROLE: 'all' } });
  await gateway.call('prepare', { shown: true });
  const driver = await family.start(DRIVER, 'flow_millrace');
  return { name: MILLRACE, baseline: false, gateway, workers: [], driver };
}

async function millraceApart(family: Family, name: string, workerCount: number): Promise<Stack> {
  const place = `flow_millrace_apart_${workerCount}`;
  const gateway = await family.start(MILLRACE_SERVER, place, { env: { ROLE: 'gateway' } });
  const workers: Child[] = [];
  for (let i = 0; i < workerCount; i++) {
    workers.push(await family.start(MILLRACE_SERVER, place, { env: { ROLE: 'worker' } }));
  }
  await gateway.call('prepare', { shown: true });
  return { name, baseline: false, gateway, workers, driver: await family.start(DRIVER, place) };
}

function contender(bench: Bench, stack: Stack, way: Pick<FlowRound, 'load' | 'door'>): Contender {
  const round: FlowRound = { ...way, durationMs: bench.options.roundMs, drainMs: 60_000 };
  return {
    name: stack.name,
    baseline: stack.baseline,
    async round() {
      const { gateway, workers, driver } = stack;
      const apart = workers.map((worker, i) => [i === 0 ? 'worker' : `worker ${i + 1}`, worker] as const);
      const processes: Readonly<Record<string, Child>> = {
        [workers.length === 0 ? 'server' : 'gateway']: gateway,
        ...Object.fromEntries(apart),
        'load generator': driver,
      };
      await Promise.all(Object.values(processes).map((child) => child.call('reset')));
      const serversBefore = serversCpuMs();
      const figures = await driver.call<FlowFigures>('flow', round);
      const serversAfter = serversCpuMs();
      const cpuMicros: Record<string, number> = {};
      for (const [name, child] of Object.entries(processes)) {
        const { cpuMs } = await child.call<ProcessFigures>('figures');
        cpuMicros[name] = (cpuMs * 1000) / figures.eventCount;
      }
      for (const [name, ms] of Object.entries(serversAfter)) {
        cpuMicros[name] = ((ms - (serversBefore[name] ?? 0)) * 1000) / figures.eventCount;
      }
      const { loopDelayP99Ms } = await gateway.call<ProcessFigures>('figures');
      return { value: figures.perSecond, p50Ms: figures.p50Ms, p99Ms: figures.p99Ms, loopDelayP99Ms, cpuMicros };
    },
  };
}
