import type { AnyRecorded } from '../../define/event.ts';
import { type ConsumerModel, eventModelOf, type Model } from '../../define/model.ts';
import { partitionOf } from '../../define/partition.ts';
import { consumerKeys } from '../../define/project.ts';
import { parseStreamKey } from '../../define/stream-key.ts';
import type { LogDocument } from '../../store/documents.ts';
import type { DecodeOnce } from './decode-once.ts';

export interface RouteTarget {
  readonly key: string;
  readonly partition: number;
}
export type Route =
  /** None of this consumer's business. */
  | { readonly kind: 'skip' }
  | { readonly kind: 'run'; readonly event: AnyRecorded; readonly targets: readonly RouteTarget[] }
  /**
   * The event concerns this consumer, but not even its keys can be told. With keys of the author's own, no partition may go
   * past it (`all`); else only the one of its stream's id, or of its own id where nothing is kept in order.
   */
  | { readonly kind: 'stuck'; readonly error: unknown; readonly target: RouteTarget; readonly all: boolean };

const SKIP: Route = { kind: 'skip' };

/** Which documents and partitions of a consumer an event concerns. Depends on event and code alone: every process says the same. */
export function routeEvent(
  model: Model,
  consumer: ConsumerModel,
  partitionCount: number,
  decode: DecodeOnce,
  document: LogDocument,
): Route {
  const stuck = (error: unknown): Route => {
    const unordered = consumer.kind === 'observer' && !consumer.run.ordered;
    const key = unordered ? document.id : parseStreamKey(document.stream).id;
    return {
      kind: 'stuck',
      error,
      target: { key, partition: partitionOf(key, partitionCount) },
      all: !consumer.routesById,
    };
  };
  if (!consumer.handles.has(document.type)) {
    // A type that no module declares may be one that newer code of this projector handles: never skip it in silence.
    if (model.events.has(document.type)) return SKIP;
    const { aggregate } = parseStreamKey(document.stream);
    if (!consumer.sources.has(aggregate)) return SKIP;
  }
  try {
    eventModelOf(model, document.type);
    const decoded = decode(document);
    if (!decoded.ok) return stuck(decoded.error);
    const { event } = decoded;
    const keys = consumerKeys(consumer, event);
    return { kind: 'run', event, targets: keys.map((key) => ({ key, partition: partitionOf(key, partitionCount) })) };
  } catch (error) {
    return stuck(error);
  }
}
