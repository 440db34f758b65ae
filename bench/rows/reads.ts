import type { LoopFigures } from '../lib/closed-loop.ts';
import { withFamily } from '../lib/family.ts';
import { DRIVER, MILLRACE_SERVER } from '../lib/files.ts';
import type { Bench } from '../lib/options.ts';
import type { Group } from '../lib/report.ts';
import { type Contender, interleave } from '../lib/rounds.ts';
import type { ProcessFigures } from '../lib/serve.ts';
import type { DoorChoice } from '../load/door.ts';
import type { ReadRound } from '../load/reads.ts';

const PLAIN = 'read';
const KNOWN = 'read with atLeast, satisfied';
const NEW = 'read with atLeast, satisfied, token new to the gateway';
const door: DoorChoice = { kind: 'ws', connectionCount: 4 };

/** What it costs a read that it must not be older than a command that the view has applied already. */
export function reads(bench: Bench): Promise<Group[]> {
  return withFamily(bench, async (family) => {
    await family.start(MILLRACE_SERVER, 'reads', { env: { ROLE: 'worker' } });
    const gateway = await family.start(MILLRACE_SERVER, 'reads', { env: { ROLE: 'gateway' } });
    const driver = await family.start(DRIVER, 'reads');
    await gateway.call('prepare', { shown: true });
    const url = await gateway.call<string>('url');
    await driver.call('sendForTokens', { url, door });
    await gateway.call('settle');
    const contender = (name: string, tokens: ReadRound['tokens']): Contender => ({
      name,
      baseline: tokens === 'NONE',
      async round() {
        const round: ReadRound = { url, door, tokens, inFlightCount: 64, durationMs: bench.options.roundMs };
        // So that known tokens are known, and code is warm.
        await driver.call('read', { ...round, durationMs: 1_000 });
        await gateway.call('reset');
        const { p50Ms, p99Ms, count } = await driver.call<LoopFigures>('read', round);
        const { cpuMs, loopDelayP99Ms } = await gateway.call<ProcessFigures>('figures');
        return { value: (cpuMs / count) * 1_000, p50Ms, p99Ms, loopDelayP99Ms };
      },
    });
    const title = 'Read of a document over graphql-ws, 64 in flight: CPU of the gateway';
    bench.say(title);
    const contenders = [contender(PLAIN, 'NONE'), contender(KNOWN, 'KNOWN'), contender(NEW, 'NEW')];
    return [
      {
        title,
        unit: 'µs of CPU',
        lines: await interleave(contenders, bench.options.roundCount, bench.say),
        targets: [
          { subject: KNOWN, against: PLAIN, figure: 'value', atMost: 1.1 },
          { subject: NEW, against: PLAIN, figure: 'value' },
        ],
      },
    ];
  });
}
