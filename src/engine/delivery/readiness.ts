import type { Model, ProjectorModel } from '../../define/model.ts';
import { MillraceError } from '../../errors.ts';
import type { Logger } from '../../logger.ts';
import type { DeliveryStore } from '../../store/delivery-store.ts';
import type { Store } from '../../store/open-store.ts';
import { consumerId } from '../../store/partitions.ts';
import type { OnIndexBuild } from '../../store/view-indexes.ts';
import type { Readiness } from '../contract/runtime.ts';
import { isLiving } from '../processes/membership.ts';
import type { ServedViews } from '../views/served-views.ts';
import { consumerLag, deliveryHealth } from './delivery-health.ts';

/** What `/ready` says. Without MongoDB nothing can be served; anything else is a reason to look, not to turn clients away. */
export function readiness(deps: {
  readonly store: Pick<Store, 'ping' | 'delivery' | 'missingIndexes'>;
  readonly model: Model;
  readonly served: Pick<ServedViews, 'generationOf'>;
  /** Projectors whose own version must be read, and have been level once, before clients may come; `all`: every one. */
  readonly readyAfter: readonly string[];
  readonly redisAvailable: () => boolean;
}): () => Promise<Readiness> {
  const { store, model, served, readyAfter, redisAvailable } = deps;
  checkReadyAfter(model, readyAfter);
  const awaited = [...model.projectorOf.values()].filter(({ name }) =>
    readyAfter.some((one) => one === 'all' || one === name),
  );
  const awaiting = awaitingLevel(store.delivery, awaited);
  return async () => {
    try {
      await store.ping();
      const older = [...model.projectorOf].flatMap(([view, projector]) => {
        const generation = served.generationOf(view);
        return generation === projector.generation ? [] : [{ view, projector, generation }];
      });
      const { reasons } = await deliveryHealth(store.delivery, model);
      const all = [...reasons, ...(await standingStill(store.delivery, older)), ...(await store.missingIndexes())];
      if (!redisAvailable()) all.push('Redis is away: views of other processes follow later');
      const waiting = await awaiting(older.map(({ projector }) => projector));
      if (waiting.length > 0) return { status: 'unavailable', reasons: [...waiting, ...all] };
      return { status: all.length === 0 ? 'ready' : 'degraded', reasons: all };
    } catch {
      return { status: 'unavailable', reasons: ['MongoDB does not answer'] };
    }
  };
}

interface Older {
  readonly view: string;
  readonly projector: ProjectorModel;
  /** That is read. */
  readonly generation: number;
}

/** Older generations that are read and that no process runs. */
async function standingStill({ instances, logId }: DeliveryStore, older: readonly Older[]): Promise<readonly string[]> {
  if (older.length === 0) return [];
  const run = new Set((await instances.list()).filter(isLiving).flatMap(({ consumers = [] }) => consumers));
  return older
    .filter(({ projector, generation }) => !run.has(consumerId(logId, { consumer: projector.name, generation })))
    .map(
      ({ view, projector, generation }) =>
        `view "${view}" stands still: generation ${generation} is read until generation ${projector.generation} of "${projector.name}" is swapped in, and no process runs it; ` +
        'keep a worker with the older code, or give the projector its `previous`',
    );
}

/**
 * Why these are waited for, in words: their own version is not read, or was not seen level yet with the log as it was at the first
 * question, which comes with the start. Once it was, it may fall behind: clients that are here are not sent away for that.
 */
function awaitingLevel(store: DeliveryStore, awaited: readonly ProjectorModel[]) {
  const left = new Set(awaited);
  let goal: number | undefined;
  return async (notRead: readonly ProjectorModel[]): Promise<readonly string[]> => {
    const asked = awaited.filter((one) => left.has(one) || notRead.includes(one));
    if (asked.length === 0) return [];
    const atStart = goal ?? (await store.log.end());
    goal = atStart;
    const lags = await consumerLag(store, { consumers: asked });
    return asked.flatMap((projector, index) => {
      const { position = 0, end = 0 } = lags[index] ?? {};
      if (position >= atStart) left.delete(projector);
      const isRead = !notRead.includes(projector);
      if (isRead && !left.has(projector)) return [];
      const what = isRead ? 'is not level yet' : 'is not read yet';
      return [
        `waits for "${projector.name}" (READY_AFTER): generation ${projector.generation} ${what}; it has handled the log up to ${position} of ${end}`,
      ];
    });
  };
}

function checkReadyAfter(model: Model, names: readonly string[]): void {
  const known = [...model.projectorOf.values()].map(({ name }) => name);
  const unknown = names.find((name) => name !== 'all' && !known.includes(name));
  if (unknown === undefined) return;
  if ([...model.liveProjectorOf.values()].some(({ name }) => name === unknown)) {
    throw new MillraceError(
      'SETTINGS_INVALID',
      `READY_AFTER names "${unknown}", whose mode is 'live': it is folded when it is read, so there is nothing to wait for. Leave it out.`,
    );
  }
  throw new MillraceError(
    'SETTINGS_INVALID',
    `READY_AFTER names "${unknown}", which is no projector. There are: ${known.join(', ') || 'none'}; or say "all".`,
  );
}

const messages = {
  BEGUN: 'a view has documents and lacks declared indexes: the start waits until they are built',
  UNDER_WAY: 'indexes of a view are being built: the start waits for them',
  DONE: 'indexes of a view are built',
} as const;

/** A start that waits for an index says so, and how far it is. */
export const logIndexBuilds =
  (logger: Logger): OnIndexBuild =>
  ({ state, progress, ...fields }) => {
    const percent = state === 'UNDER_WAY' && progress !== undefined ? { percent: Math.round(progress * 100) } : {};
    logger[state === 'BEGUN' ? 'warn' : 'info']({ ...fields, ...percent }, messages[state]);
  };
