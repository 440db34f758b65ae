import { type Contract, handlerNames } from './aggregate.ts';
import { type ConsumerOptions, consumerOptionsOf, type EventNamed, type EventsFrom } from './consumer-spec.ts';
import type { Recorded } from './event.ts';
import type { DeepReadonly } from './frozen.ts';
import type { Projector, ProjectorMode, SwapRule } from './projector.ts';
import type { Doc, View } from './view.ts';

/** Documents of the view, with what the handler has done so far. Only while the handler runs. */
export interface Documents<D> {
  /** Frozen; undefined when there is none. */
  get(id: string): DeepReadonly<D> | undefined;
  put(id: string, document: DeepReadonly<D>): void;
  /** `change` gets the document (undefined while there is none); `null` removes it, `undefined` leaves it as it is. */
  update(id: string, change: (document: DeepReadonly<D> | undefined) => DeepReadonly<D> | null | undefined): void;
  remove(id: string): void;
}

export interface CustomProjectorSpec<A extends readonly Contract[], V extends View> extends ConsumerOptions {
  readonly name: string;
  /** Raise it to build the view anew from the log with changed handlers, beside the version that is read. */
  readonly version: number;
  readonly description?: string;
  readonly from: A;
  readonly into: V;
  /** As in `projector`. */
  readonly previous?: Projector;
  readonly swap?: SwapRule;
  /** As in `projector`, but never `live`: no document of it can be folded without all the others. */
  readonly mode?: Exclude<ProjectorMode, 'live'>;
  /** What waits behind an event that fails: later events with the same key. Default: the id of the event's aggregate. */
  readonly key?: (event: Recorded<EventsFrom<A>>) => string;
  readonly on: {
    readonly [K in EventsFrom<A>['type']]?: (
      event: Recorded<EventNamed<EventsFrom<A>, K>>,
      documents: Documents<Doc<V>>,
    ) => void;
  };
}

/**
 * Declares a projector for what a fold of one document cannot say: its handlers read and write any documents of the view. All that
 * a handler writes is stored in one transaction with the checkpoint, or nothing of it: effect once an event.
 *
 * Handlers are pure and synchronous. Where one asks for a document that is not in memory it is stopped, the document is read, and
 * it runs anew from its beginning. It has one partition: events are handled one after the other, in order of position (an event that
 * failed comes later, before those of its key). Use `projector` wherever it does: that one is spread over partitions, is read ahead
 * and has a past (`asOf`).
 */
export function customProjector<const A extends readonly Contract[], V extends View>(
  spec: CustomProjectorSpec<A, V>,
): Projector<A, V> {
  const on = new Map<string, (event: never, documents: never) => unknown>();
  for (const [type, handler] of Object.entries<unknown>(spec.on ?? {})) if (isHandler(handler)) on.set(type, handler);
  return {
    kind: 'projector',
    name: spec.name,
    version: spec.version,
    description: spec.description,
    from: spec.from,
    into: spec.into,
    options: consumerOptionsOf(spec),
    previous: spec.previous,
    swap: spec.swap ?? 'whenLevel',
    mode: spec.mode ?? 'async',
    routesById: spec.key === undefined,
    keysOf: (event) => [spec.key === undefined ? event.stream.id : spec.key(event as never)],
    handles: handlerNames(spec.on),
    project: () => undefined,
    write: (event, documents) => on.get(event.type)?.(event as never, documents as never),
  };
}

const isHandler = (value: unknown): value is (event: never, documents: never) => unknown => typeof value === 'function';
