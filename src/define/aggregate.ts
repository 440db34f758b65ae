import type { EventData, EventMap, EventOf, MessageOf } from './event.ts';
import type { CommandChecks, EventChecks } from './json.ts';
import type { Literal } from './literal.ts';
import type { SchemaInput, SchemaMap, SchemaOutput } from './schema.ts';
import { type SnapshotOptions, type SnapshotRule, snapshotRule } from './snapshot-rule.ts';

type Name<M> = keyof M & string;

/** A refusal by business rules: a value, not an error. */
export interface Rejection<Code extends string = string> {
  readonly rejected: Code;
  readonly reason: string;
}

/** What `decide` may look at besides state and data: no clock and no random of its own. */
export interface DecideContext<Code extends string> {
  /** Id of the aggregate instance. */
  readonly id: string;
  /** Version of the stream that `state` was folded from; 0 when nothing happened yet. */
  readonly version: number;
  readonly commandId: string;
  /** The time of this decision; use it instead of `new Date()`. */
  readonly now: Date;
  /** A new UUIDv7; use it instead of `randomUUID()`. */
  readonly newId: () => string;
  readonly reject: (code: Code, reason: string) => Rejection<Code>;
}

/** How one field of a command is treated. */
export interface FieldOptions {
  /** `false`: the value is used to decide and never stored; only the hash of the whole input is kept. */
  readonly store?: boolean;
}

/** What others may know of an aggregate or service: names and schemas, no behaviour. */
export interface Contract<
  N extends string = string,
  C extends SchemaMap = SchemaMap,
  E extends EventMap = EventMap,
  R extends string = string,
> {
  readonly kind: 'aggregate' | 'service';
  readonly name: N;
  readonly description: string | undefined;
  readonly commands: C;
  readonly events: E;
  readonly rejections: readonly R[];
  readonly creates: readonly string[];
  readonly closes: readonly string[];
  readonly fields: Readonly<Record<string, Readonly<Record<string, FieldOptions | undefined>> | undefined>>;
}

/** Names that have a handler; at start they are compared with what is declared. */
export interface AggregateHandlers {
  readonly evolve: readonly string[];
  readonly decide: readonly string[];
}

export interface Aggregate<N extends string, C extends SchemaMap, E extends EventMap, S, R extends string>
  extends Contract<N, C, E, R> {
  readonly kind: 'aggregate';
  readonly handlers: AggregateHandlers;
  readonly snapshot: SnapshotRule | undefined;
  readonly initial: () => S;
  readonly apply: (state: S, event: EventOf<E>) => S;
  readonly handle: (
    state: S,
    command: MessageOf<C>,
    ctx: DecideContext<R>,
  ) => EventOf<E> | readonly EventOf<E>[] | Rejection<R>;
}

/** `never` parameters make this the top type: every Aggregate is assignable, with no `any`. */
export interface AnyAggregate extends Contract {
  readonly kind: 'aggregate';
  readonly handlers: AggregateHandlers;
  readonly snapshot: SnapshotRule | undefined;
  readonly initial: () => unknown;
  readonly apply: (state: never, event: never) => unknown;
  readonly handle: (state: never, command: never, ctx: never) => unknown;
}

export interface AggregateSpec<N extends string, C extends SchemaMap, E extends EventMap, S, R extends string> {
  /** Wire name, part of every stream key: never change it once events are stored. */
  readonly name: N;
  readonly description?: string;
  /** What can happen. A bare schema is version 1; see `event()` for later ones. Data is JSON. */
  readonly events: E & EventChecks<E>;
  /** What can be asked for. The schemas may transform: `decide` gets their output. */
  readonly commands: C & CommandChecks<C>;
  /** Codes that `decide` may refuse with. */
  readonly rejections?: readonly R[];
  /**
   * Commands that start an instance: refused with ALREADY_EXISTS when it exists; the id may be left out. When this list
   * is not empty, every other command is refused with NOT_FOUND as long as the instance does not exist.
   */
  readonly creates?: readonly Name<C>[];
  /** Events that end an instance: afterwards every command is refused with CLOSED and its id is never used again. */
  readonly closes?: readonly Name<E>[];
  readonly fields?: { readonly [K in Name<C>]?: { readonly [F in keyof SchemaInput<C[K]> & string]?: FieldOptions } };
  /**
   * For streams of thousands of events: the state is kept from time to time, and a load that finds no state in memory begins there.
   * The state must be plain JSON. Default: none; a stream is folded from its beginning.
   */
  readonly snapshot?: SnapshotOptions;
  readonly initial: () => S;
  /** State after an event. Pure; returns a new value, never changes the old one (states are cached and shared). */
  readonly evolve: { readonly [K in Name<E>]: Evolve<E[K], S, E> };
  /** The events that a command causes, `[]` for none, or a refusal. Pure. Throwing means a technical failure. */
  readonly decide: { readonly [K in Name<C>]: Decide<C[K], E, S, R, C> };
}

/** `string` is what TypeScript infers where there are no `rejections`: then no code is one. (A default for `R` would undo literal.ts.) */
type Codes<R extends string> = string extends R ? never : R;
/** Conditional types on purpose: see literal.ts. */
type Evolve<D, S, E> = [E] extends [unknown]
  ? (state: NoInfer<S>, data: EventData<D>) => NoInfer<S>
  : (state: NoInfer<S>, data: EventData<D>) => Literal;
type Decide<D, E extends EventMap, S, R extends string, C> = [C] extends [unknown]
  ? (
      state: NoInfer<S>,
      data: SchemaOutput<D>,
      ctx: DecideContext<Codes<R>>,
    ) => EventOf<E> | readonly EventOf<E>[] | Rejection<Codes<R>>
  : (state: NoInfer<S>, data: SchemaOutput<D>, ctx: DecideContext<Codes<R>>) => Literal;

/**
 * Declares an aggregate: commands in, events out, one stream an instance. See docs/getting-started.md.
 * Checked when the modules are started: DEFINITION_INVALID or SCHEMA_NOT_DERIVABLE.
 */
export function aggregate<const N extends string, C extends SchemaMap, E extends EventMap, S, const R extends string>(
  spec: AggregateSpec<N, C, E, S, R>,
): Aggregate<N, C, E, S, Codes<R>> {
  // Conditional types whose condition always holds: what TypeScript cannot see here.
  const evolve = spec.evolve as { readonly [K in Name<E>]: (state: S, data: EventData<E[K]>) => S };
  const decide = spec.decide as {
    readonly [K in Name<C>]: (
      state: S,
      data: SchemaOutput<C[K]>,
      ctx: DecideContext<Codes<R>>,
    ) => EventOf<E> | readonly EventOf<E>[] | Rejection<Codes<R>>;
  };
  return {
    kind: 'aggregate',
    name: spec.name,
    description: spec.description,
    commands: spec.commands,
    events: spec.events,
    rejections: (spec.rejections ?? []) as readonly Codes<R>[],
    creates: spec.creates ?? [],
    closes: spec.closes ?? [],
    fields: { ...spec.fields },
    handlers: { evolve: handlerNames(evolve), decide: handlerNames(decide) },
    snapshot: snapshotRule(spec.snapshot, { ...spec, closes: spec.closes ?? [] }),
    initial: spec.initial,
    apply: (state, event) => evolve[event.type as Name<E>](state, event.data as EventData<E[Name<E>]>),
    handle: (state, command, ctx) =>
      decide[command.type as Name<C>](state, command.data as SchemaOutput<C[Name<C>]>, ctx),
  };
}

/** Names of own functions; tolerant of callers without types, whose mistakes are told at start, all in one way. */
export function handlerNames(map: Readonly<Record<string, unknown>> | undefined): readonly string[] {
  return Object.entries(map ?? {}).flatMap(([name, handler]) => (typeof handler === 'function' ? [name] : []));
}

/** A command for `app.send` and for sagas: raw input, as a client would send it. */
export type CommandOf<A> =
  A extends Contract<string, infer C, infer _E, infer _R>
    ? { [K in Name<C>]: { readonly type: K; readonly data: SchemaInput<C[K]> } }[Name<C>]
    : never;
export type RejectionOf<A> = A extends Contract<string, infer _C, infer _E, infer R> ? R : never;

/** A command with its address. */
export interface Dispatch {
  /** Name of the aggregate or service. */
  readonly aggregate: string;
  readonly id: string;
  readonly type: string;
  readonly data: unknown;
}
export function command<A extends Contract>(to: A, id: string, message: CommandOf<A>): Dispatch {
  return { aggregate: to.name, id, type: message.type, data: message.data };
}
