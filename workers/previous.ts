import { type ProjectorModel, previousModelOf } from '../src/define/model.ts';
import { repeat } from '../src/engine/concurrency/repeat.ts';
import type { Delivery } from '../src/engine/delivery/delivery.ts';
import { isLiving } from '../src/engine/processes/membership.ts';
import { servedGeneration } from '../src/engine/views/served-views.ts';
import { createRetries } from '../src/queue/retries.ts';
import { createWakeUps } from '../src/queue/wake-ups.ts';
import { consumerId, type GenerationRef } from '../src/store/partitions.ts';
import { startConsumers } from './consumers.ts';
import { partitionCountsOf, queueOptions, type RunningRole, type WorkerDeps } from './deps.ts';
import { startSweep } from './sweep.ts';

const LOOK_MS = 1_000;

/** The versions before (`previous` of a projector): kept level while this code or a living process reads them. */
export async function startPrevious(
  deps: WorkerDeps,
): Promise<RunningRole & { readonly deliveryOf: (ref: GenerationRef) => Delivery | undefined }> {
  const { model, store, logger } = deps;
  const all = previousModelOf(model).consumers;
  if (all.length === 0) return { deliveryOf: () => undefined, stop: async () => undefined };
  const idOf = ({ name, generation }: ProjectorModel): string =>
    consumerId(store.logId, { consumer: name, generation });
  let running: (RunningRole & { readonly delivery: Delivery; readonly ids: ReadonlySet<string> }) | undefined;
  let stopped = false;

  const wanted = async (): Promise<ReadonlySet<string>> => {
    const [views, instances] = await Promise.all([store.operators.views.list(), store.instances.list()]);
    const read = new Set(instances.filter(isLiving).flatMap(({ serves = [] }) => serves));
    const swaps = new Map(views.map((one) => [one.view, one.swaps]));
    const ids = model.consumers.flatMap((one) => {
      if (one.kind !== 'projector' || one.previous === undefined) return [];
      const isRead = servedGeneration(one, swaps.get(one.projector.into.name)) === one.previous.generation;
      const id = idOf(one.previous);
      return isRead || read.has(id) ? [id] : [];
    });
    return new Set(ids);
  };
  const halt = async (): Promise<void> => {
    const ended = running;
    running = undefined;
    deps.runsToo.clear();
    await ended?.stop();
  };
  const look = async (): Promise<void> => {
    const ids = await wanted();
    const before = running?.ids ?? new Set<string>();
    if (stopped || (ids.size === before.size && [...ids].every((id) => before.has(id)))) return;
    await halt();
    if (ids.size === 0) return;
    for (const id of ids) deps.runsToo.add(id);
    running = { ...(await run(deps, (previous) => ids.has(idOf(previous)))), ids };
    logger.info({ consumers: [...ids] }, 'the versions before are kept level');
  };
  await look();
  const rounds = repeat(
    async () => {
      await look().catch((error: unknown) =>
        logger.warn({ error: String(error) }, 'the versions before are not kept level; the next look follows'),
      );
      return LOOK_MS;
    },
    { firstMs: LOOK_MS },
  );
  return {
    deliveryOf: (ref) => (running?.ids.has(consumerId(store.logId, ref)) === true ? running.delivery : undefined),
    async stop() {
      stopped = true;
      await rounds.stop();
      await halt();
    },
  };
}

/** With queues of its own: they end before the process does. */
async function run(deps: WorkerDeps, wanted: (previous: ProjectorModel) => boolean) {
  const model = previousModelOf(deps.model, wanted);
  const queues = queueOptions(deps);
  const own = {
    ...deps,
    model,
    partitionCounts: await partitionCountsOf({ store: deps.store, model }),
    wakeUps: createWakeUps(deps.redis, queues),
    retries: createRetries(deps.redis, queues),
    commandWorker: undefined,
    commands: undefined,
  };
  const consumers = await startConsumers(own);
  // Of the loss of Redis the sweep of this process's own model hears.
  const sweeping = await startSweep({ ...own, epoch: undefined }, { delivery: consumers.delivery });
  return {
    delivery: consumers.delivery,
    async stop() {
      await sweeping.stop();
      await consumers.stop();
    },
  };
}
