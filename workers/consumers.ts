import { Delivery } from '../src/engine/delivery/delivery.ts';
import type { SagaWork } from '../src/engine/delivery/saga-work.ts';
import type { ConsumerDeps, RunningRole } from './deps.ts';
import { createSagas } from './sagas.ts';

/** What follows the jobs in hand at a stop: what they handled is written, and the process leaves. */
const AFTER_JOBS_MS = 500;

/** Runs the consumers of all modules. */
export async function startConsumers(
  deps: ConsumerDeps,
): Promise<RunningRole & { readonly delivery: Delivery; readonly sagas: SagaWork }> {
  const sagas = createSagas(deps, deps.commandWorker);
  const delivery = new Delivery({ ...deps, sagas });
  sagas.delivers(delivery);
  await delivery.start();
  return {
    delivery,
    sagas,
    async stop() {
      delivery.letGo();
      const { shutdownTimeoutMs } = deps.settings;
      const jobsMs = Math.max(shutdownTimeoutMs / 2, shutdownTimeoutMs - AFTER_JOBS_MS);
      await Promise.all([deps.wakeUps.close(jobsMs), deps.retries.close(jobsMs)]);
      await delivery.stop();
    },
  };
}
