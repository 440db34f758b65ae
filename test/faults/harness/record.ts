import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Fault, FaultRun, Figures } from './fault.ts';

/** Figures of the last run of each fault; test/faults/write-results.ts makes RESULTS.md of them. */
export const FIGURES = '.millrace/fault-figures';

export interface FaultRecord {
  readonly id: string;
  readonly title: string;
  readonly target: string;
  readonly profile: string;
  readonly seed: number;
  readonly at: string;
  readonly tookMs: number;
  readonly figures: Figures;
}

/** Prints the figures in one line, and keeps them for the table. */
export async function record(fault: Fault, run: FaultRun, tookMs: number, figures: Figures): Promise<void> {
  const { id, title, target } = fault;
  const text = Object.entries(figures)
    .map(([name, value]) => `${name}: ${value}`)
    .join('; ');
  process.stdout.write(`${id} ${run.profile} (${Math.round(tookMs / 100) / 10} s, seed ${run.seed}): ${text}\n`);
  if (run.size !== 'full') return;
  const { profile, seed } = run;
  await keep({ id, title, target, profile, seed, at: new Date().toISOString(), tookMs, figures });
}

/** For the table. */
export async function keep(kept: FaultRecord): Promise<void> {
  await mkdir(FIGURES, { recursive: true });
  const name = `${kept.id}-${kept.profile}`.replaceAll(' ', '-');
  await writeFile(join(FIGURES, `${name}.json`), `${JSON.stringify(kept, undefined, 2)}\n`);
}
