import type { ObserverModel } from '../../define/model.ts';
import type { Logger } from '../../logger.ts';
import type { DeliveryStore } from '../../store/delivery-store.ts';
import type { BreakerRecord } from '../../store/documents.ts';
import { storedError } from '../log/error-record.ts';
import type { RunnerOptions } from '../partitions/consumer-runner.ts';
import { ObserverRunner } from './observer-runner.ts';
import { ObserverTries, type TriesOptions } from './observer-tries.ts';

/** What observers need beside what every consumer needs. */
export type ObserverStore = Pick<DeliveryStore, 'logId' | 'consumers' | 'journal' | 'rateLimits'>;

/** An observer as this process runs it; whoever looks at consumers sees the state of its breaker. */
export function observerRunner(
  options: Omit<RunnerOptions, 'handler' | 'consumer'> & { readonly consumer: ObserverModel },
  deps: { readonly store: ObserverStore; readonly instanceId: string; readonly logger: Logger },
): ObserverRunner {
  const { consumer, logId, onTrouble } = options;
  const { store, instanceId, logger } = deps;
  const ref = { consumer: consumer.name, generation: consumer.generation };
  let told: Promise<void> = Promise.resolve();
  let isOpen = false;
  const onBreaker: TriesOptions['onBreaker'] = (state) => {
    const record = state && breakerRecord(state);
    isOpen = record !== undefined;
    if (record === undefined) logger.info({ consumer: consumer.name }, 'an observer works again');
    else if (record.state === 'OPEN') {
      const { code, failureCount, until } = record;
      logger.warn(
        { consumer: consumer.name, code, failureCount, until },
        'an observer fails again and again: it pauses',
      );
    }
    // One after the other: the last state must stand.
    told = told.then(() => store.consumers.tellBreaker(ref, instanceId, record)).catch(onTrouble);
  };
  const onStopped = (): Promise<void> => {
    told = told.then(() => (isOpen ? store.consumers.tellBreaker(ref, instanceId, undefined) : undefined));
    return told.catch(() => undefined);
  };
  const tries = new ObserverTries({ consumer, logId, store, onBreaker, onTrouble });
  return new ObserverRunner({ ...options, tries, onStopped, replayUntil: () => store.consumers.replayUntil(ref) });
}

const MESSAGE_MAX_LENGTH = 300;

function breakerRecord({
  state,
  since,
  until,
  failureCount,
  error,
}: NonNullable<Parameters<TriesOptions['onBreaker']>[0]>): BreakerRecord {
  const { code, message } = storedError(error);
  return { state, since, until, failureCount, code, message: message.slice(0, MESSAGE_MAX_LENGTH) };
}
