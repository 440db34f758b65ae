import type { Contract } from '../define/aggregate.ts';
import { projectorModel } from '../define/consumer-model.ts';
import type { EventsFrom } from '../define/consumer-spec.ts';
import type { AnyRecorded } from '../define/event.ts';
import { eventModel } from '../define/event-model.ts';
import type { EventModel } from '../define/model.ts';
import { consumerKeys, projectDocument } from '../define/project.ts';
import type { Projector } from '../define/projector.ts';
import type { Doc, View } from '../define/view.ts';
import { checkView } from '../define/view-rules.ts';
import type { OldEvent } from './aggregate-spec.ts';
import {
  checkId,
  knownEvent,
  numberedUuid,
  SPEC_TENANT,
  type SpecContext,
  type SpecOptions,
  specContext,
} from './context.ts';
import { type DeepReadonly, deepFreeze } from './freeze.ts';

type Message = { readonly type: string; readonly data: unknown };
/** An event for a projector; what is left out is filled in the same way in every run. */
export type GivenEvent<M extends Message> = (DeepReadonly<M> | OldEvent<M['type']>) & {
  /** Id of the instance that it happened to. Default: the `id` of the options. Versions are counted for each. */
  readonly id?: string;
  /** Default: the `now` of the options. */
  readonly at?: Date;
  readonly commandId?: string;
};

export interface ProjectorResult<D> {
  /** The view after the events, by document id. */
  readonly documents: ReadonlyMap<string, D>;
}
export interface ProjectorSpecRunner<A extends readonly Contract[], V extends View> {
  /** Runs the events in order, of one or several streams. What a handler throws passes. */
  given(...events: readonly GivenEvent<EventsFrom<A>>[]): ProjectorResult<Doc<V>>;
}

export function projectorSpec<A extends readonly Contract[], V extends View>(
  definition: Projector<A, V>,
  options: SpecOptions,
): ProjectorSpecRunner<A, V> {
  const place = `projector "${definition.name}"`;
  const consumer = projectorModel(definition, place);
  checkView(definition.into, `view "${definition.into.name}"`);
  const events = new Map<string, EventModel>();
  for (const source of definition.from) {
    for (const [type, event] of Object.entries(source.events)) {
      const closes = source.closes.includes(type);
      events.set(type, eventModel(source.name, type, event, closes, `aggregate "${source.name}", event "${type}"`));
    }
  }
  const context = specContext(options);
  return {
    given: (...given) => {
      const documents = new Map<string, unknown>();
      const record = recorder(events, place, context);
      for (const event of given) {
        const recorded = deepFreeze(record(event));
        for (const key of consumerKeys(consumer, recorded)) {
          const next = projectDocument(definition, documents.get(key), recorded, key);
          if (next === null) documents.delete(key);
          else if (next !== undefined) documents.set(key, deepFreeze(next));
        }
      }
      // The view's schema has just put these documents out.
      return { documents: documents as ReadonlyMap<string, Doc<V>> };
    },
  };
}

type AnyGiven = Message & {
  readonly schemaVersion?: number;
  readonly id?: string;
  readonly at?: Date;
  readonly commandId?: string;
};

/** Places events one after the other, as the log would. */
function recorder(
  events: ReadonlyMap<string, EventModel>,
  place: string,
  context: SpecContext,
): (event: AnyGiven) => AnyRecorded {
  const versions = new Map<string, number>();
  let position = 0;
  return (given) => {
    const model = knownEvent(events, given.type, place);
    const id = given.id ?? context.id;
    checkId(id);
    const stream = `${model.aggregate}/${id}`;
    const version = (versions.get(stream) ?? 0) + 1;
    versions.set(stream, version);
    position++;
    const commandId = given.commandId ?? `command-${position}`;
    return {
      id: numberedUuid(position),
      type: given.type,
      data: model.decode(given.schemaVersion ?? model.version, structuredClone(given.data)),
      schemaVersion: model.version,
      stream: { tenant: SPEC_TENANT, aggregate: model.aggregate, id, version },
      position,
      commandId,
      at: new Date(given.at ?? context.now),
      meta: {
        correlationId: commandId,
        causationId: commandId,
        actor: null,
        tenant: SPEC_TENANT,
        traceparent: null,
        client: null,
      },
    };
  };
}
