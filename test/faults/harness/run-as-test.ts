import { randomInt } from 'node:crypto';
import { inject, it } from 'vitest';
import { type Fault, type FaultRun, runFault, type Size } from './fault.ts';
import type { ProfileName } from './profiles.ts';
import { record } from './record.ts';

/** One fault under one profile is one test. `FAULT_SEED` repeats a run. */
export function faultTest(fault: Fault, profile: ProfileName, size: Size): void {
  const timeout = (size === 'brief' ? 6 : 1) * (fault.timeoutMs ?? 120_000);
  it(`${fault.id} ${fault.title} (${profile})`, { timeout }, async () => {
    const seed = Number(process.env.FAULT_SEED ?? randomInt(1_000_000));
    const run: FaultRun = { profile, size, seed, dataRoot: inject('dataRoot') };
    const begun = performance.now();
    const figures = await runFault(fault, run);
    await record(fault, run, performance.now() - begun, figures);
  });
}
