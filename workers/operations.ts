import type { Delivery } from '../src/engine/delivery/delivery.ts';
import { OperationRunner } from '../src/engine/operators/operation-runner.ts';
import type { GenerationRef } from '../src/store/partitions.ts';
import type { RunningRole, WorkerDeps } from './deps.ts';

/** Does what operators started with the consumers of this process. */
export function startOperations(
  { store, membership, logger }: WorkerDeps,
  { deliveryOf }: { readonly deliveryOf: (ref: GenerationRef) => Delivery | undefined },
): RunningRole {
  const runner = new OperationRunner({
    store: store.operators,
    membership,
    consumer: (ref) => deliveryOf(ref)?.consumer(ref.consumer),
    errand: (letter, errand) => {
      const delivery = deliveryOf(letter);
      if (delivery !== undefined) return delivery.errand(letter.consumer, letter.partition, errand);
      return Promise.reject(new Error('the consumer is not run here any more'));
    },
    logger,
  });
  runner.start();
  return { stop: () => runner.stop() };
}
