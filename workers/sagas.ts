import type { CommandWorker } from '../src/engine/commands/command-worker.ts';
import { SagaWork } from '../src/engine/delivery/saga-work.ts';
import type { ConsumerDeps } from './deps.ts';

/** As the settings have them where nobody carries out commands. */
const DATA_MAX_BYTES = 65_536;
const MAX_DEPTH = 100;

/** What this process does for sagas besides delivering events to them. */
export function createSagas(deps: Omit<ConsumerDeps, 'commandWorker'>, worker: CommandWorker | undefined): SagaWork {
  const { store, model, logger, settings, commands } = deps;
  const { dataMaxBytes = DATA_MAX_BYTES, maxDepth = MAX_DEPTH } = commands?.limits ?? {};
  const sagas = new SagaWork({
    model,
    logId: settings.logId,
    store: store.sagas,
    limits: { dataMaxBytes, maxDepth },
    direct: worker !== undefined,
    logger,
  });
  if (worker !== undefined) {
    sagas.offersTo((queued) => worker.offer(queued));
    worker.onRefused((command) => void sagas.refused(command));
  }
  return sagas;
}
