import { Delivery } from '../src/engine/delivery.ts';
import type { RunningRole, WorkerDeps } from './deps.ts';

/** Runs the projectors of all modules. */
export async function startConsumers(deps: WorkerDeps): Promise<RunningRole & { readonly delivery: Delivery }> {
  const delivery = new Delivery(deps);
  await delivery.start();
  return {
    delivery,
    async stop() {
      delivery.letGo();
      await deps.wakeUps.close(deps.settings.shutdownTimeoutMs);
      await delivery.stop();
    },
  };
}
