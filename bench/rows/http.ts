import type { Child } from '../lib/child.ts';
import type { LoopFigures } from '../lib/closed-loop.ts';
import { withFamily } from '../lib/family.ts';
import { DRIVER, EMPTY_YOGA, MILLRACE_SERVER } from '../lib/files.ts';
import { ACCOUNT_COUNT, type Bench } from '../lib/options.ts';
import type { Group } from '../lib/report.ts';
import { type Contender, interleave } from '../lib/rounds.ts';
import type { ProcessFigures } from '../lib/serve.ts';
import type { DoorChoice } from '../load/door.ts';
import type { MutationRound } from '../load/driver.ts';

/** As `--role all` runs it, and with no sequencer and consumers beside the gateway. */
const MILLRACE = 'Millrace';
const MILLRACE_GATEWAY = 'Millrace, gateway alone';
const EMPTY = 'empty Yoga mutation';
const IN_FLIGHT_COUNT = 64;

/** `asked`: ratio to the empty mutation, with sequencer and consumers running. */
const DOORS: readonly { readonly title: string; readonly door: DoorChoice; readonly asked?: number }[] = [
  { title: 'GraphQL mutation over HTTP, 64 connections', door: { kind: 'http', connectionCount: 64 }, asked: 0.5 },
  { title: 'GraphQL mutation over one graphql-ws socket, 64 in flight', door: { kind: 'ws', connectionCount: 1 } },
];

/** A deposit through the gateway against a Yoga mutation that does nothing. */
export function http(bench: Bench): Promise<Group[]> {
  return withFamily(bench, async (family) => {
    const empty = await family.start(EMPTY_YOGA, 'http_empty');
    const driver = await family.start(DRIVER, 'http_driver');
    const servers: Server[] = [{ name: EMPTY, baseline: true, child: empty, url: await empty.call<string>('url') }];
    for (const [name, role] of [
      [MILLRACE, 'all'],
      [MILLRACE_GATEWAY, 'gateway'],
    ] as const) {
      const child = await family.start(MILLRACE_SERVER, `http_${role}`, { env: { ROLE: role } });
      const shown = role === 'all';
      await child.call('prepare', { shown });
      const server = { name, baseline: false, child, url: await child.call<string>('url') };
      servers.push(shown ? { ...server, settle: () => child.call('settle') } : server);
    }
    const groups: Group[] = [];
    for (const { title, door, asked } of DOORS) {
      bench.say(title);
      const contenders = servers.map((server) => contender(bench, driver, server, door));
      for (const { round } of contenders) await round();
      groups.push({
        title,
        unit: 'mutations/s',
        lines: await interleave(contenders, bench.options.roundCount, bench.say),
        targets: [
          { subject: MILLRACE, against: EMPTY, figure: 'value', ...(asked === undefined ? {} : { atLeast: asked }) },
          { subject: MILLRACE_GATEWAY, against: EMPTY, figure: 'value' },
        ],
      });
    }
    return groups;
  });
}

interface Server {
  readonly name: string;
  readonly baseline: boolean;
  readonly child: Child;
  readonly url: string;
  /** Waits for the work that a round leaves behind. */
  readonly settle?: () => Promise<void>;
}

function contender(bench: Bench, driver: Child, server: Server, door: DoorChoice): Contender {
  const { name, baseline, child, url, settle } = server;
  const mutations: MutationRound = {
    url,
    door,
    inFlightCount: IN_FLIGHT_COUNT,
    durationMs: bench.options.roundMs,
    accountCount: ACCOUNT_COUNT,
  };
  return {
    name,
    baseline,
    async round() {
      await child.call('reset');
      const figures = await driver.call<LoopFigures>('mutations', mutations);
      const { loopDelayP99Ms } = await child.call<ProcessFigures>('figures');
      await settle?.();
      return { value: figures.perSecond, p50Ms: figures.p50Ms, p99Ms: figures.p99Ms, loopDelayP99Ms };
    },
  };
}
