import type { Model } from '../define/model.ts';
import type { Logger } from '../logger.ts';
import type { Store } from '../store/open-store.ts';
import type { OnIndexBuild } from '../store/view-indexes.ts';
import type { Readiness } from './contract.ts';
import { deliveryHealth } from './delivery-health.ts';

/** What `/ready` says. Without MongoDB nothing can be served; anything else is a reason to look, not to turn clients away. */
export async function readiness(
  store: Pick<Store, 'ping' | 'delivery' | 'missingIndexes'>,
  model: Model,
  redisAvailable: boolean,
): Promise<Readiness> {
  try {
    await store.ping();
    const { reasons } = await deliveryHealth(store.delivery, model);
    const away = redisAvailable ? [] : ['Redis is away: views of other processes follow later'];
    const all = [...reasons, ...(await store.missingIndexes()), ...away];
    return { status: all.length === 0 ? 'ready' : 'degraded', reasons: all };
  } catch {
    return { status: 'unavailable', reasons: ['MongoDB does not answer'] };
  }
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
