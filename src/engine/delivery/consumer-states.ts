import type { ConsumerModel, Model } from '../../define/model.ts';
import type { DeadLetterCount } from '../../store/dead-letter-reads.ts';
import type { DeliveryStore } from '../../store/delivery-store.ts';
import type { ConsumerDocument } from '../../store/documents.ts';
import type { OperatorStore } from '../../store/operator-store.ts';
import type { ConsumerState } from '../contract/runtime.ts';
import { type ConsumerLag, consumerLag } from './delivery-health.ts';

/**
 * How far each consumer of the modules is, and what is wrong with it. `unused`: also generations that were created before and
 * are in these modules no more.
 */
export async function consumerStates(
  store: Pick<DeliveryStore, 'log' | 'partitions'>,
  operators: Pick<OperatorStore, 'deadLetters' | 'consumers'>,
  model: Pick<Model, 'consumers'>,
  options: { readonly unused?: boolean } = {},
): Promise<readonly ConsumerState[]> {
  const [documents, counts] = await Promise.all([operators.consumers.list(), operators.deadLetters.counts()]);
  const inUse = new Set(model.consumers.map(({ name, generation }) => `${name}/${generation}`));
  const known = new Map(documents.map((document) => [`${document.consumer}/${document.generation}`, document]));
  const used = model.consumers.map((consumer) => {
    const { name, version, generation, kind } = consumer;
    return { name, version, generation, kind, mode: modeOf(consumer) };
  });
  const unused = documents
    .filter(({ consumer, generation }) => !inUse.has(`${consumer}/${generation}`))
    .map(({ consumer, version, generation, kind = 'projector' }) => {
      return { name: consumer, version, generation, kind, mode: null };
    });
  const shown = options.unused === true ? [...used, ...unused] : used;
  const lags = await consumerLag(store, { consumers: shown });
  const waiting = lags.filter(({ caughtUp }) => !caughtUp).map(({ position }) => position + 1);
  const times = waiting.length === 0 ? new Map<number, Date>() : await operators.consumers.timesAt(waiting);
  return shown.flatMap((consumer, index) => {
    const lag = lags[index];
    if (lag === undefined) return [];
    const { name, generation } = consumer;
    const of = `${name}/${generation}`;
    const count = counts.find((one) => one.consumer === name && one.generation === generation);
    return [stateOf(consumer, lag, known.get(of), count, times.get(lag.position + 1), !inUse.has(of))];
  });
}

function modeOf(consumer: ConsumerModel): ConsumerState['mode'] {
  if (consumer.kind !== 'projector') return null;
  return consumer.projector.mode === 'inline' ? 'inline' : 'async';
}

function stateOf(
  consumer: Pick<ConsumerState, 'name' | 'version' | 'generation' | 'kind' | 'mode'>,
  { position, end, eventCount, caughtUp, partitions }: ConsumerLag,
  document: ConsumerDocument | undefined,
  count: DeadLetterCount | undefined,
  oldestWaiting: Date | undefined,
  unused: boolean,
): ConsumerState {
  const failures = partitions.flatMap(({ partition, failure }) =>
    failure === undefined ? [] : [{ ...failure, partition }],
  );
  const since = [...failures.map((failure) => failure.since), ...(count === undefined ? [] : [count.since])];
  const paused = document?.paused;
  const running = unused ? 'UNUSED' : 'RUNNING';
  return {
    ...consumer,
    state: document?.resetting !== undefined ? 'RESETTING' : paused !== undefined ? 'PAUSED' : running,
    paused: paused ?? null,
    position,
    logEnd: end,
    lag: eventCount,
    lagMs: caughtUp || oldestWaiting === undefined ? 0 : Math.max(0, Date.now() - oldestWaiting.getTime()),
    caughtUp,
    retryingCount: count?.retryingCount ?? 0,
    deadCount: count?.deadCount ?? 0,
    parkedCount: count?.parkedCount ?? 0,
    breaker: breakerOf(document),
    failingSince: since.reduce<Date | null>((least, at) => (least !== null && least < at ? least : at), null),
    failures,
  };
}

/** Of whichever process: the one that opened first. One that is not renewed belongs to a process that died. */
function breakerOf(document: ConsumerDocument | undefined): ConsumerState['breaker'] {
  const alive = Object.values(document?.breakers ?? {}).filter(({ until }) => until.getTime() > Date.now() - STALE_MS);
  const [first] = alive.sort((one, other) => one.since.getTime() - other.since.getTime());
  return first ?? null;
}
const STALE_MS = 60_000;
