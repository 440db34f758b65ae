import type { Schema, SchemaMap, SchemaOutput } from './schema.ts';

/** Old data in, data of the next version out. Pure. */
export type Upcast = (old: never) => unknown;

/** A versioned event schema; a bare schema in an `events` map means version 1. */
export interface EventDefinition<S extends Schema = Schema> {
  readonly kind: 'event';
  readonly schema: S;
  readonly version: number;
  readonly upcast: Readonly<Record<number, Upcast>>;
}
export type EventSource = Schema | EventDefinition;
export type EventMap = Readonly<Record<string, EventSource>>;
export type EventSchema<D> = D extends EventDefinition<infer S> ? S : D extends Schema ? D : never;
export type EventData<D> = SchemaOutput<EventSchema<D>>;

/**
 * A later version of an event. `upcast[n]` turns data of version n into data of version n + 1; every version from 1 to
 * `version - 1` needs one (a gap is refused at start). Applied on every read path; the result must pass `schema`.
 *
 *     event(z.object({ amount: z.int(), currency: z.string() }), { version: 2, upcast: { 1: (old) => ({ ...old, currency: 'EUR' }) } })
 */
export function event<S extends Schema>(
  schema: S,
  options: {
    readonly version: number;
    readonly upcast?: Readonly<Record<number, (old: Record<string, unknown>) => unknown>>;
  },
): EventDefinition<S> {
  return { kind: 'event', schema, version: options.version, upcast: options.upcast ?? {} };
}

type Name<M> = keyof M & string;

/** One message: `type` is the wire name, `data` what its schema outputs. */
export type EventOf<E extends EventMap> = {
  [K in Name<E>]: { readonly type: K; readonly data: EventData<E[K]> };
}[Name<E>];
export type MessageOf<M extends SchemaMap> = {
  [K in Name<M>]: { readonly type: K; readonly data: SchemaOutput<M[K]> };
}[Name<M>];

/** Facts about how an event came to be. `null` where nobody said. */
export interface EventMeta {
  /** Same for everything that one entry (request, webhook, schedule) set in motion. */
  readonly correlationId: string;
  /** Id of what caused the command, or null. The command that caused an event is its `commandId`. */
  readonly causationId: string | null;
  readonly actor: string | null;
  readonly tenant: string;
  readonly traceparent: string | null;
  readonly client: string | null;
  /** How many commands of sagas, services and schedules lie between this one and the entry; absent: 0. */
  readonly depth?: number | undefined;
  /** What else the caller said, as the W3C `baggage` header has it: `key=value,…`; see `baggageOf`. */
  readonly baggage?: string | undefined;
}

/** Which instance an event belongs to. `version` counts the events of one stream: 1, 2, 3, … */
export interface StreamRef {
  readonly tenant: string;
  readonly aggregate: string;
  readonly id: string;
  readonly version: number;
}

/** An event as handlers receive it: upcast to today's version, checked, placed in the log. */
export type Recorded<M extends { readonly type: string; readonly data: unknown }> = M & {
  readonly id: string;
  readonly schemaVersion: number;
  readonly stream: StreamRef;
  /** Place in the log: gapless, increasing. */
  readonly position: number;
  readonly commandId: string;
  readonly at: Date;
  readonly meta: EventMeta;
};
export type AnyRecorded = Recorded<{ readonly type: string; readonly data: unknown }>;
