import type { Aggregate, CommandOf } from '../define/aggregate.ts';
import { aggregateModel } from '../define/aggregate-model.ts';
import { type DecidedEvent, decideCommand, foldEvents, type PlatformRejection } from '../define/decide.ts';
import type { EventMap, EventOf } from '../define/event.ts';
import type { DeepReadonly } from '../define/frozen.ts';
import type { AggregateModel, PlainEvent } from '../define/model.ts';
import { type Issue, parse, type SchemaMap } from '../define/schema.ts';
import { MillraceError } from '../errors.ts';
import { knownEvent, type SpecContext, type SpecOptions, specContext } from './context.ts';
import { deepFreeze } from './freeze.ts';

/** An event of an older version, as it was stored; its upcasts are run. */
export interface OldEvent<Type extends string> {
  readonly type: Type;
  readonly schemaVersion: number;
  readonly data: unknown;
}

/** What became of a command. Nothing but `state` is there for a command that was refused or invalid. */
export interface AggregateResult<E extends EventMap, S, R extends string> {
  /** What happened, in order; `[]` when nothing did. */
  readonly events: readonly EventOf<E>[];
  /** Code of the refusal, by the author (`rejections`) or the platform (`creates`, `closes`). */
  readonly rejected: R | PlatformRejection | undefined;
  readonly reason?: string;
  /** What the command's schema has against its data; `decide` was not asked. */
  readonly invalid?: readonly Issue[];
  /** The state after the events. */
  readonly state: S;
}

export interface AggregateSpecRunner<C extends SchemaMap, E extends EventMap, S, R extends string> {
  /** What happened before: events of today's version, or older ones with their `schemaVersion`. */
  given(...past: readonly (DeepReadonly<EventOf<E>> | OldEvent<keyof E & string>)[]): {
    /** Runs one command: its data is raw, as a client would send it. What `decide` throws passes. */
    when(command: DeepReadonly<CommandOf<Aggregate<string, C, E, S, R>>>): AggregateResult<E, S, R>;
  };
}

export function aggregateSpec<C extends SchemaMap, E extends EventMap, S, R extends string>(
  definition: Aggregate<string, C, E, S, R>,
  options: SpecOptions,
): AggregateSpecRunner<C, E, S, R> {
  const model = aggregateModel(definition, `aggregate "${definition.name}"`);
  const frozen: AggregateModel = {
    ...model,
    initial: () => deepFreeze(model.initial()),
    apply: (state, event) => deepFreeze(model.apply(state, deepFreeze(event))),
  };
  const context = specContext(options);
  return {
    given: (...past) => {
      const loaded = foldEvents(
        frozen,
        { state: frozen.initial(), version: 0, closed: false },
        past.map((event) => decodePast(model, event)),
      );
      return {
        when: (command) => {
          // The model is built from this definition: its states and events are of these types.
          const outcome = run(frozen, loaded, command, context);
          return outcome as AggregateResult<E, S, R>;
        },
      };
    },
  };
}

function decodePast(model: AggregateModel, event: PlainEvent & { readonly schemaVersion?: number }): PlainEvent {
  const eventModel = knownEvent(model.events, event.type, `aggregate "${model.name}"`);
  const data = eventModel.decode(event.schemaVersion ?? eventModel.version, structuredClone(event.data));
  return { type: event.type, data };
}

interface Outcome {
  readonly events: readonly PlainEvent[];
  readonly rejected: string | undefined;
  readonly reason?: string;
  readonly invalid?: readonly Issue[];
  readonly state: unknown;
}

function run(
  model: AggregateModel,
  loaded: ReturnType<typeof foldEvents>,
  command: PlainEvent,
  context: SpecContext,
): Outcome {
  const { state } = loaded;
  const commandModel = model.commands.get(command.type);
  if (commandModel === undefined) {
    throw new MillraceError('UNKNOWN_COMMAND', `Aggregate "${model.name}" has no command "${command.type}".`);
  }
  const parsed = parse(commandModel.schema, structuredClone(command.data));
  if (!parsed.ok) return { events: [], rejected: undefined, invalid: parsed.issues, state };

  let idCount = 0;
  const decision = decideCommand(
    model,
    loaded,
    { type: command.type, data: deepFreeze(parsed.value) },
    {
      id: context.id,
      version: loaded.version,
      commandId: context.commandId,
      now: new Date(context.now),
      newId: () => context.newId(++idCount),
    },
  );
  if (decision.kind === 'rejected') return { events: [], rejected: decision.code, reason: decision.reason, state };
  const events = decision.events.map(withoutVersion);
  return { events, rejected: undefined, state: foldEvents(model, loaded, events).state };
}

const withoutVersion = ({ type, data }: DecidedEvent): PlainEvent => ({ type, data });
