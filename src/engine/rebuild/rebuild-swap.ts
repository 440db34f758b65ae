import type { Model, ProjectorModel } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import type { DeliveryStore } from '../../store/delivery-store.ts';
import { auditEntry } from '../audit/audit-entry.ts';
import { written } from '../audit/written.ts';
import type { OperatorCall } from '../contract/operators.ts';
import type { HintBus } from '../log/hint-bus.ts';
import type { SweepTask } from '../sweep/sweep.ts';
import { servedGeneration } from '../views/served-views.ts';

export interface SwapDeps {
  readonly store: Pick<DeliveryStore, 'logId' | 'log' | 'partitions' | 'operators'>;
  readonly hints: Pick<HintBus, 'publish'>;
}

/** A generation that reads are to go over to. */
export interface Building {
  readonly consumer: string;
  readonly generation: number;
  readonly view: string;
  readonly partitionCount: number;
}

/**
 * The swap, in one transaction that looks whether it may be: every partition has handled the log up to `position`, which was its end
 * a moment ago, and nothing waits. Done once, whoever tries; false: it may not be, or it was done.
 */
export async function swapIn(
  { store, hints }: SwapDeps,
  { consumer, generation, view, partitionCount }: Building,
  position: number,
  call: OperatorCall,
): Promise<boolean> {
  const swap = { generation, at: new Date(), position, ...call };
  const audit = auditEntry(store.logId, call, {
    at: swap.at,
    action: 'rebuild.swap',
    target: `${consumer}/${generation}`,
    before: { view },
    after: { view, generation, position },
  });
  const move = { view, ref: { consumer, generation }, partitionCount, swap, audit };
  const end = await written(() => store.operators.views.swap(move), { refusedIsFine: true });
  if (end === 'committed') hints.publish({ kind: 'swap', view });
  return end === 'committed';
}

/** The end of the log that partitions must have reached is no older than this: while events come, all are never at its very end. */
const GOAL_MAX_MS = 5_000;
const BY_ITSELF: OperatorCall = { actor: null, reason: 'level with the log, and nothing waits' };

/** Swaps in what is level, for projectors that say so. One process of those with the same code does it. */
export function rebuildSwaps(deps: SwapDeps & { readonly model: Model; readonly logger: Logger }): SweepTask {
  const { store, model, logger } = deps;
  const goals = new Map<string, { readonly position: number; readonly atMs: number }>();
  const left = new Set(model.consumers.filter((one): one is ProjectorModel => one.kind === 'projector'));
  const look = async (consumer: ProjectorModel): Promise<void> => {
    const { name, generation, projector } = consumer;
    const end = await store.log.end();
    const readings = await store.partitions.read([{ consumer: name, generation }]);
    const goal = goals.get(name);
    const nowMs = performance.now();
    const reached =
      goal !== undefined && readings.length > 0 && readings.every(({ checkpoint }) => checkpoint >= goal.position);
    // Kept until it is reached: each new one would be a little ahead again.
    if (goal === undefined || nowMs - goal.atMs > GOAL_MAX_MS) goals.set(name, { position: end, atMs: nowMs });
    if (!reached || readings.some((one) => one.blockedCount > 0 || one.failure !== undefined || one.paused)) return;
    const building = { consumer: name, generation, view: projector.into.name, partitionCount: readings.length };
    if (await swapIn(deps, building, goal.position, BY_ITSELF)) {
      logger.info({ consumer: name, generation, position: goal.position }, 'a rebuilt view is swapped in');
    }
  };
  return {
    name: 'rebuilds',
    async run() {
      if (left.size === 0) return;
      const views = new Map((await store.operators.views.list()).map((one) => [one.view, one.swaps]));
      for (const consumer of left) {
        const swaps = views.get(consumer.projector.into.name);
        // It never goes back.
        if (swaps !== undefined && servedGeneration(consumer, swaps) === consumer.generation) left.delete(consumer);
        else if (swaps !== undefined && consumer.projector.swap === 'whenLevel') await look(consumer);
      }
    },
  };
}
