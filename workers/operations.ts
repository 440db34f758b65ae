import type { Delivery } from '../src/engine/delivery.ts';
import { OperationRunner } from '../src/engine/operation-runner.ts';
import type { Sweep } from '../src/engine/sweep.ts';
import type { RunningRole, WorkerDeps } from './deps.ts';

/** Does what operators started, in the process that sweeps. */
export function startOperations(
  { store, logger }: WorkerDeps,
  { delivery, sweep }: { readonly delivery: Delivery; readonly sweep: Pick<Sweep, 'leads'> },
): RunningRole {
  const runner = new OperationRunner({
    store: store.operators,
    leads: () => sweep.leads,
    consumer: (name) => delivery.consumer(name),
    errand: ({ consumer, partition }, errand) => delivery.errand(consumer, partition, errand),
    logger,
  });
  runner.start();
  return { stop: () => runner.stop() };
}
