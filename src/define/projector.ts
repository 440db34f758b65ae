import { type Contract, handlerNames } from './aggregate.ts';
import {
  type ConsumerOptions,
  consumerOptionsOf,
  type EventNamed,
  type EventsFrom,
  keysFunction,
  type Message,
} from './consumer-spec.ts';
import type { Documents } from './custom-projector.ts';
import type { AnyRecorded, Recorded } from './event.ts';
import type { Literal } from './literal.ts';
import type { Doc, View } from './view.ts';

/** The pure fold that keeps one view. */
export interface Projector<A extends readonly Contract[] = readonly Contract[], V extends View = View> {
  readonly kind: 'projector';
  readonly name: string;
  readonly version: number;
  readonly description: string | undefined;
  readonly from: A;
  readonly into: V;
  readonly options: ConsumerOptions;
  /** The version before this one, which this code keeps level until nobody reads it any more. */
  readonly previous: Projector | undefined;
  /** When reads go over from the version before to this one. */
  readonly swap: SwapRule;
  readonly mode: ProjectorMode;
  /** True when the spec has no `key`: an event concerns the document with its aggregate's id. */
  readonly routesById: boolean;
  /** Document ids that an event concerns; default: the id of the event's aggregate. */
  readonly keysOf: (event: AnyRecorded) => readonly string[];
  /** Event types with a handler. */
  readonly handles: readonly string[];
  /** The document after the event; `null` removes it, `undefined` leaves it as it is. */
  readonly project: (doc: unknown, event: AnyRecorded, key: string) => unknown;
  /** Of a custom projector, instead of `project`. */
  readonly write?: (event: AnyRecorded, documents: Documents<unknown>) => unknown;
}

/** `whenLevel`: by itself, as soon as it has handled the log and no key of it waits. `byOperator`: when an operator says so. */
export type SwapRule = 'whenLevel' | 'byOperator';

/**
 * How the view is kept. `async`: by workers, soon after the command was answered. `inline`: by workers too, and the answer of a
 * command waits for them, AT_LEAST_TIMEOUT_MS at most. `live`: not at all; a document is folded from the log when it is read.
 */
export type ProjectorMode = 'async' | 'inline' | 'live';

export interface ProjectorSpec<A extends readonly Contract[], V extends View> extends ConsumerOptions {
  readonly name: string;
  /**
   * Raise it to build the view anew from the log with changed handlers: beside the version that is read, and read from when it
   * is level (docs/operations.md, Rebuilds).
   */
  readonly version: number;
  readonly description?: string;
  readonly from: A;
  readonly into: V;
  /**
   * The projector of the version before, as it was: same name, same name of the view (its schema may be another). Processes with
   * this code keep it level until reads have gone over and no process reads it; without it only processes with older code do.
   */
  readonly previous?: Projector;
  /** Default `whenLevel`. */
  readonly swap?: SwapRule;
  /**
   * Default `async`. What a document holds is the same in each, and so is the schema. A `live` view answers for single documents
   * (of at most HISTORY_MAX_EVENTS events), with their past; its lists, counts and subscriptions are VIEW_NOT_STORED. It takes
   * no `previous`, and no `startFrom` but the start.
   */
  readonly mode?: ProjectorMode;
  /** Ids of the documents that an event concerns; a document's id may have up to 1,024 characters. */
  readonly key?: (event: Recorded<EventsFrom<A>>) => string | readonly string[];
  readonly on: { readonly [K in EventsFrom<A>['type']]?: Project<EventNamed<EventsFrom<A>, K>, V> };
}

type Project<M extends Message, V extends View> = [V] extends [View]
  ? (doc: Doc<V> | undefined, event: Recorded<M>, key: string) => Doc<V> | null | undefined
  : (doc: Doc<V> | undefined, event: Recorded<M>, key: string) => Literal;

/**
 * Declares the projector of a view. Its handlers are pure: they get the document (frozen; undefined while there is none) and the
 * event, and return the document after it, `null` to remove it, `undefined` to leave it. Effect once an event, in order
 * for each document. A handler throws only for a technical failure: it is tried again (`attempts`, `backoff`), and the later
 * events of that document wait behind it.
 */
export function projector<const A extends readonly Contract[], V extends View>(
  spec: ProjectorSpec<A, V>,
): Projector<A, V> {
  const { key } = spec;
  const handles = handlerNames(spec.on);
  const on = new Map<string, (doc: never, event: never, key: string) => unknown>();
  for (const [type, handler] of Object.entries<unknown>(spec.on ?? {})) {
    if (isHandler(handler)) on.set(type, handler);
  }
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
    routesById: key === undefined,
    keysOf: keysFunction(key),
    handles,
    project: (doc, event, docKey) => on.get(event.type)?.(doc as never, event as never, docKey),
  };
}

const isHandler = (value: unknown): value is (doc: never, event: never, key: string) => unknown =>
  typeof value === 'function';
