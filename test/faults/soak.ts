/**
 * Soak: seeded random faults under load, then every invariant.
 *
 *     npm run soak -- [--minutes 15] [--seed N] [--per-second 60] [--profile production] [--only 'worker killed'] [--faults 300]
 *                     [--pause-ms 2000] [--accounts 50] [--commands-first 0]
 *
 * A fault comes about two seconds after the one before is healed and shown; `--pause-ms` sets that. With `--faults` it ends after
 * so many, if the minutes are not over before. `--commands-first`: so many commands at full speed before the first fault.
 *
 * Prints each fault as it is injected, at the end one table of invariants and one of figures, and ends with 1 when one is
 * violated; history and logs are then kept in .millrace/faults.
 */
import { randomInt } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { compileProcesses } from '../setup/compiled.ts';
import { openDataRoot } from '../setup/data-root.ts';
import { type Crew, chosen, injections } from './harness/injections.ts';
import { pause, percentile, untilShown } from './harness/moments.ts';
import type { ProfileName } from './harness/profiles.ts';
import { keep } from './harness/record.ts';
import { Stage } from './harness/stage.ts';

const DRAIN_MAX_MS = 60_000;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '15' },
    seed: { type: 'string', default: String(randomInt(1_000_000)) },
    'per-second': { type: 'string', default: '60' },
    profile: { type: 'string', default: 'production' },
    only: { type: 'string' },
    faults: { type: 'string', default: 'Infinity' },
    'pause-ms': { type: 'string', default: '2000' },
    accounts: { type: 'string', default: '50' },
    'commands-first': { type: 'string', default: '0' },
  },
});
const [minutes, seed, perSecond] = [Number(values.minutes), Number(values.seed), Number(values['per-second'])];
const profile: ProfileName = values.profile === 'fast' ? 'fast' : 'production';
const [maxFaults, pauseMs] = [Number(values.faults), Number(values['pause-ms'])];
const [accounts, commandsFirst] = [Number(values.accounts), Number(values['commands-first'])];
const unknown = values.only !== undefined && injections.every(({ name }) => name !== values.only);
if (
  unknown ||
  !(minutes > 0) ||
  !Number.isInteger(seed) ||
  !(perSecond > 0) ||
  !(maxFaults > 0) ||
  !(pauseMs >= 0) ||
  !(accounts > 1) ||
  !(commandsFirst >= 0)
) {
  console.error(
    'npm run soak -- [--minutes 15] [--seed N] [--per-second 60] [--profile fast|production] [--only NAME] [--faults N] [--pause-ms 2000] [--accounts 50] [--commands-first 0]',
  );
  console.error(`NAME is one of: ${injections.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));
const dataRoot = await openDataRoot();
let holds = false;
try {
  await compileProcesses(dataRoot);
  holds = await soak(dataRoot);
} finally {
  await rm(dataRoot, { recursive: true, force: true });
}
// Node 20 closes sockets for ever that were reset while they were shutting down, if it ends by itself.
process.exit(holds ? 0 : 1);

async function soak(root: string): Promise<boolean> {
  console.log(`soak: ${minutes} min, seed ${seed}, ${perSecond} commands/s, ${profile} settings`);
  const stage = await Stage.open({ profile, seed, dataRoot: root, linked: true });
  const kept = `.millrace/faults/soak-${seed}`;
  try {
    const holds = await run(stage);
    if (!holds) await stage.keep(kept);
    if (!holds) console.error(`violated; seed ${seed}; history and logs: ${kept}`);
    return holds;
  } catch (error) {
    await stage.keep(kept);
    console.error(`${error instanceof Error ? error.message : error}\nseed ${seed}; history and logs: ${kept}`);
    return false;
  } finally {
    await stage.close();
  }
}

async function run(stage: Stage): Promise<boolean> {
  const begun = performance.now();
  const crew: Crew = await stage.populate({ gateways: 2, workers: 2, accounts });
  await stage.clients.send(commandsFirst, 64, 0);
  const load = new AbortController();
  const loading = stage.clients.run({ clientCount: 16, perSecond, signal: load.signal, readShare: 0.02 });
  loading.catch(() => undefined);
  const counts = new Map<string, number>();
  const shownMs: number[] = [];
  try {
    const untilMs = performance.now() + minutes * 60_000;
    while (performance.now() < untilMs && shownMs.length < maxFaults) {
      await pause(pauseMs * (0.25 + 1.5 * stage.random.next()));
      const { name, inject } = chosen(stage, values.only);
      counts.set(name, (counts.get(name) ?? 0) + 1);
      await inject(stage, crew);
      const tookMs = await untilShown(stage, DRAIN_MAX_MS);
      shownMs.push(tookMs);
      console.log(`${new Date().toISOString().slice(11, 19)} ${name}: shown again ${tookMs} ms after it was healed`);
    }
  } finally {
    load.abort();
    await loading;
  }
  const drainMs = await stage.drained(DRAIN_MAX_MS);
  const findings = await stage.findings();
  console.table(
    findings.map(({ name, lookedAt, violations }) => ({
      invariant: name,
      'looked at': lookedAt,
      violations: violations.length,
    })),
  );
  for (const { name, violations } of findings) for (const one of violations) console.error(`${name}: ${one}`);
  const found = figures(stage, counts, shownMs, drainMs);
  console.table(found);
  const holds = findings.every(({ violations }) => violations.length === 0);
  if (holds) await keepFigures(found, performance.now() - begun);
  return holds;
}

/** For the table of `write-results.ts`. */
async function keepFigures(found: Readonly<Record<string, number | string>>, tookMs: number): Promise<void> {
  const { only } = values;
  const target =
    'every invariant holds; each fault is healed and shown < 10 s; everything is done < 60 s after the last';
  const title = `${only === undefined ? 'random faults' : `"${only}"`}, again and again, under ${perSecond} commands/s`;
  const id = only === undefined ? 'soak' : `soak ${only}`;
  await keep({ id, title, target, profile, seed, at: new Date().toISOString(), tookMs, figures: found });
}

function figures(
  stage: Stage,
  counts: ReadonlyMap<string, number>,
  shownMs: readonly number[],
  drainMs: number,
): Readonly<Record<string, number | string>> {
  const { history } = stage;
  const latencies = history.of('ok').map(({ endedMs = 0, invokedMs }) => endedMs - invokedMs);
  return {
    seed,
    faults: shownMs.length,
    ...Object.fromEntries(counts),
    'commands acknowledged': history.of('ok').length,
    'commands refused': history.of('fail').length,
    'outcome unknown to the client': history.of('info').length,
    'tries that failed': [...history.errorCounts].map(([code, count]) => `${code} ${count}`).join(', '),
    'answer p50 ms': percentile(latencies, 0.5),
    'answer p99 ms': percentile(latencies, 0.99),
    'shown after a fault p50 ms': percentile(shownMs, 0.5),
    'shown after a fault, at most, ms': percentile(shownMs, 1),
    'drain at the end ms': drainMs,
  };
}
