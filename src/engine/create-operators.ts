import type { Model } from '../define/model.ts';
import type { DeliveryStore } from '../store/delivery-store.ts';
import { operationMatch } from './audit/operator-input.ts';
import type { Operators, RetryPreview } from './contract/operators.ts';
import type { DecodeOnce } from './log/decode-once.ts';
import type { HintBus } from './log/hint-bus.ts';
import { createConsumerControls } from './operators/consumer-controls.ts';
import { createDeadLetterOperations, unknownDeadLetter } from './operators/dead-letter-operations.ts';
import { dryRun } from './operators/dry-run.ts';
import { createOperatorReads } from './operators/operator-reads.ts';
import { createOperatorWatch } from './operators/operator-watch.ts';
import { createRebuilds } from './rebuild/rebuilds.ts';

export interface OperatorDeps {
  readonly model: Model;
  readonly store: DeliveryStore;
  readonly decode: DecodeOnce;
  readonly hints: Pick<HintBus, 'publish'>;
  /** Of what a saga's command may be, for dry runs. */
  readonly dataMaxBytes: number;
  readonly maxDepth: number;
}

/** What operators see and do in this process. The store belongs to the caller. */
export function createOperators(deps: OperatorDeps): Operators & { readonly close: () => void } {
  const { model, decode, hints, dataMaxBytes, maxDepth } = deps;
  const { logId, operators: store, partitions, deadLetters, leases, log, sagas, instances } = deps.store;
  const rehearsal = { logId, model, partitions, deadLetters, decode, sagas, limits: { dataMaxBytes, maxDepth } };
  const reads = createOperatorReads({ logId, store, decode });
  const { close, ...watches } = createOperatorWatch(reads);
  const previewRetry = async (filter: Parameters<Operators['previewRetry']>[0]): Promise<RetryPreview> => {
    const match = operationMatch(filter);
    const [id] = match.ids?.length === 1 ? match.ids : [];
    const letter = id === undefined ? undefined : await store.deadLetters.find(id);
    if (id !== undefined && letter === undefined) throw unknownDeadLetter(id);
    const totals = await store.deadLetters.totals(match);
    return {
      keyCount: totals.count,
      eventCount: totals.count + totals.parkedCount,
      oldest: totals.oldest,
      consumers: totals.consumers.map(({ name, count, parkedCount }) => ({
        name,
        keyCount: count,
        eventCount: count + parkedCount,
      })),
      dryRun: letter === undefined ? null : await dryRun(rehearsal, letter),
    };
  };
  return {
    ...reads,
    ...watches,
    previewRetry,
    ...createDeadLetterOperations({ logId, store, leases, instances }),
    ...createRebuilds({ model, store: deps.store, hints }),
    ...createConsumerControls({ logId, model, store, partitions, instances, leases, end: log.end, hints }),
    close,
  };
}
