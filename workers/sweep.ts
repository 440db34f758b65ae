import type { Delivery } from '../src/engine/delivery.ts';
import { retrySweep } from '../src/engine/retry-sweep.ts';
import { Sweep } from '../src/engine/sweep.ts';
import type { RunningRole, WorkerDeps } from './deps.ts';

/** Heals what stands still, once a second, by MongoDB alone. `roles`: those of the same process. */
export async function startSweep(
  deps: WorkerDeps,
  roles: { readonly delivery?: Delivery } = {},
): Promise<RunningRole & { readonly sweep: Sweep }> {
  const { logId, deadLetters } = deps.store;
  const { model, retries } = deps;
  const tasks = [retrySweep({ logId, deadLetters, model, retries, delivery: roles.delivery })];
  const sweep = new Sweep({ ...deps, ...roles, tasks, intervalMs: deps.settings.sweepIntervalMs });
  sweep.start();
  return { sweep, stop: () => sweep.stop() };
}
