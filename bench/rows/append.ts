import type { Child } from '../lib/child.ts';
import type { LoopFigures } from '../lib/closed-loop.ts';
import { withFamily } from '../lib/family.ts';
import { APPEND_EMMETT, APPEND_INSERT_ONE, APPEND_TRANSACTION, MILLRACE_APPEND } from '../lib/files.ts';
import type { Bench } from '../lib/options.ts';
import type { Group } from '../lib/report.ts';
import { type Contender, interleave } from '../lib/rounds.ts';
import type { ProcessFigures } from '../lib/serve.ts';

const MILLRACE = 'Millrace app.send';
const INSERT_ONE = 'raw insertOne';
const TRANSACTION = 'transaction a request';
const EMMETT = 'Emmett MongoDB store';

const CONTENDERS = [
  { name: MILLRACE, file: MILLRACE_APPEND },
  { name: INSERT_ONE, file: APPEND_INSERT_ONE },
  { name: TRANSACTION, file: APPEND_TRANSACTION },
  { name: EMMETT, file: APPEND_EMMETT },
] as const;

/** Ratios asked for, by concurrency. */
const ASKED: Readonly<Record<number, Readonly<Record<string, number>>>> = {
  1: { [INSERT_ONE]: 0.8 },
  16: {},
  64: { [INSERT_ONE]: 2.5, [TRANSACTION]: 6, [EMMETT]: 6 },
  256: { [INSERT_ONE]: 4, [TRANSACTION]: 6, [EMMETT]: 10 },
};

/** Appending through `app.send` against what a team would write or install instead; each in its own process. */
export function append(bench: Bench): Promise<Group[]> {
  return withFamily(bench, async (family) => {
    const children: { readonly name: string; readonly child: Child }[] = [];
    for (const [i, { name, file }] of CONTENDERS.entries()) {
      const child = await family.start(file, `append_${i}`);
      children.push({ name, child });
      await child.call('prepare');
      await child.call('round', { concurrency: 64, durationMs: 1_000 });
    }
    const groups: Group[] = [];
    for (const [concurrency, asked] of Object.entries(ASKED)) {
      bench.say(`append, ${concurrency} at once`);
      const contenders = children.map(({ name, child }) => contender(name, child, Number(concurrency), bench));
      groups.push({
        title: `Append, ${concurrency} at once`,
        unit: 'commands/s',
        lines: await interleave(contenders, bench.options.roundCount, bench.say),
        targets: [INSERT_ONE, TRANSACTION, EMMETT].map((against) => ({
          subject: MILLRACE,
          against,
          figure: 'value',
          ...(asked[against] === undefined ? {} : { atLeast: asked[against] }),
        })),
      });
    }
    for (const { child } of children) await child.call('verify');
    return groups;
  });
}

function contender(name: string, child: Child, concurrency: number, bench: Bench): Contender {
  return {
    name,
    baseline: name !== MILLRACE,
    async round() {
      await child.call('reset');
      const figures = await child.call<LoopFigures>('round', { concurrency, durationMs: bench.options.roundMs });
      const { loopDelayP99Ms } = await child.call<ProcessFigures>('figures');
      return { value: figures.perSecond, p50Ms: figures.p50Ms, p99Ms: figures.p99Ms, loopDelayP99Ms };
    },
  };
}
