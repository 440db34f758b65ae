import { join } from 'node:path';
import type { ProfileName } from './profiles.ts';
import { Stage, type StageOptions } from './stage.ts';

/** Not in the repository: `.millrace` is ignored. */
const KEPT = '.millrace/faults';

/** What a fault measured, by name; what the notes quote. */
export type Figures = Readonly<Record<string, number | string>>;

/** One row of the table of faults. */
export interface Fault {
  /** Of the table, such as `F11`; with a letter where a row has several tests. */
  readonly id: string;
  readonly title: string;
  /** What the figures are held against, in words. */
  readonly target: string;
  /** Default: both. Those that locks and sweeps have no part in need those of production only. */
  readonly profiles?: readonly ProfileName[];
  readonly stage?: Pick<StageOptions, 'mongo' | 'redis' | 'linked'>;
  /** Of one run. Default 120,000. */
  readonly timeoutMs?: number;
  /** Throws when the target is missed or an invariant is violated. */
  readonly run: (stage: Stage, size: Size) => Promise<Figures>;
}

/** `brief`: a few rounds, for the tests that run all the time. */
export type Size = 'brief' | 'full';

export interface FaultRun {
  readonly profile: ProfileName;
  readonly size: Size;
  readonly seed: number;
  readonly dataRoot: string;
}

/** Sets the stage, injects, checks every invariant, and clears away. An error carries the seed and where the history lies. */
export async function runFault(fault: Fault, run: FaultRun): Promise<Figures> {
  const stage = await Stage.open({ ...fault.stage, ...run });
  try {
    const figures = await fault.run(stage, run.size);
    await stage.expectInvariants();
    if (process.env.FAULT_KEEP === '1') await stage.keep(join(KEPT, `${fault.id}-${run.profile}-${run.seed}`));
    await stage.close();
    return { ...figures, ...errorFigures(stage) };
  } catch (error) {
    const kept = join(KEPT, `${fault.id}-${run.profile}-${run.seed}`);
    await stage.keep(kept);
    await stage.close();
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(
      `${fault.id} (${run.profile}, seed ${run.seed}; FAULT_SEED=${run.seed} repeats it; history and logs: ${kept})\n${message}`,
      { cause: error },
    );
  }
}

/** What clients met and got over by sending again. */
function errorFigures(stage: Stage): Figures {
  const codes = [...stage.history.errorCounts].map(([code, count]) => `${code} ${count}`).join(', ');
  return codes === '' ? {} : { 'tries that failed': codes };
}

export function expectAtMost(what: string, value: number, most: number): void {
  if (!(value <= most)) throw new Error(`${what}: ${value}, at most ${most} is the target`);
}

export function expectEqual(what: string, value: unknown, expected: unknown): void {
  if (JSON.stringify(value) !== JSON.stringify(expected)) {
    throw new Error(`${what}: ${JSON.stringify(value)} instead of ${JSON.stringify(expected)}`);
  }
}
