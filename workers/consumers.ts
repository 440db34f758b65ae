import { Delivery } from '../src/engine/delivery.ts';
import type { ConsumerDeps, RunningRole } from './deps.ts';

/** What follows the jobs in hand at a stop: what they handled is written, and the process leaves. */
const AFTER_JOBS_MS = 500;

/** Runs the consumers of all modules. */
export async function startConsumers(deps: ConsumerDeps): Promise<RunningRole & { readonly delivery: Delivery }> {
  const delivery = new Delivery(deps);
  await delivery.start();
  return {
    delivery,
    async stop() {
      delivery.letGo();
      const { shutdownTimeoutMs } = deps.settings;
      const jobsMs = Math.max(shutdownTimeoutMs / 2, shutdownTimeoutMs - AFTER_JOBS_MS);
      await Promise.all([deps.wakeUps.close(jobsMs), deps.retries.close(jobsMs)]);
      await delivery.stop();
    },
  };
}
