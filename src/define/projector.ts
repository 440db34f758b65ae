import type { Contract } from './aggregate.ts';
import type { AnyRecorded, EventMap, EventOf, Recorded } from './event.ts';
import type { SchemaMap } from './schema.ts';
import type { Doc, View } from './view.ts';

export type EventsFrom<A extends readonly Contract[]> = {
  [I in keyof A]: A[I] extends Contract<string, SchemaMap, infer E extends EventMap, string> ? EventOf<E> : never;
}[number];
type Message = { readonly type: string; readonly data: unknown };
type EventNamed<M extends Message, K> = Extract<M, { type: K }>;

/** The pure fold that keeps one view. */
export interface Projector {
  readonly kind: 'projector';
  readonly name: string;
  readonly version: number;
  readonly description: string | undefined;
  readonly from: readonly Contract[];
  readonly into: View;
  /** Document ids that an event concerns; default: the id of the event's aggregate. */
  readonly keysOf: (event: AnyRecorded) => readonly string[];
  /** Event types with a handler. */
  readonly handles: readonly string[];
  /** The document after the event; `null` removes it, `undefined` leaves it as it is. */
  readonly project: (doc: unknown, event: AnyRecorded, key: string) => unknown;
}

export interface ProjectorSpec<A extends readonly Contract[], V extends View> {
  readonly name: string;
  /** Raise it to build the view anew from the log with changed handlers. */
  readonly version: number;
  readonly description?: string;
  readonly from: A;
  readonly into: V;
  readonly key?: (event: Recorded<EventsFrom<A>>) => string | readonly string[];
  readonly on: {
    readonly [K in EventsFrom<A>['type']]?: (
      doc: Doc<V> | undefined,
      event: Recorded<EventNamed<EventsFrom<A>, K>>,
      key: string,
    ) => Doc<V> | null | undefined;
  };
}

export function projector<const A extends readonly Contract[], V extends View>(spec: ProjectorSpec<A, V>): Projector {
  const on: Readonly<Record<string, ((doc: never, event: never, key: string) => unknown) | undefined>> = spec.on;
  const { key } = spec;
  return {
    kind: 'projector',
    name: spec.name,
    version: spec.version,
    description: spec.description,
    from: spec.from,
    into: spec.into,
    keysOf: (event) => {
      if (key === undefined) return [event.stream.id];
      const keys = key(event as Recorded<EventsFrom<A>>);
      return typeof keys === 'string' ? [keys] : keys;
    },
    handles: Object.keys(spec.on).filter((type) => on[type] !== undefined),
    project: (doc, event, docKey) => {
      const handler = Object.hasOwn(on, event.type) ? on[event.type] : undefined;
      return handler === undefined ? undefined : handler(doc as never, event as never, docKey);
    },
  };
}
