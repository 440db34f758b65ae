import type { Delivery } from '../src/engine/delivery.ts';
import { OperationRunner } from '../src/engine/operation-runner.ts';
import type { RunningRole, WorkerDeps } from './deps.ts';

/** Does what operators started with the consumers of this process. */
export function startOperations(
  { store, membership, logger }: WorkerDeps,
  { delivery }: { readonly delivery: Delivery },
): RunningRole {
  const runner = new OperationRunner({
    store: store.operators,
    membership,
    consumer: (name) => delivery.consumer(name),
    errand: ({ consumer, partition }, errand) => delivery.errand(consumer, partition, errand),
    logger,
  });
  runner.start();
  return { stop: () => runner.stop() };
}
