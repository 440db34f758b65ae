import type { Contract } from '../define/aggregate.ts';
import type { AnyRecorded } from '../define/event.ts';
import { eventModel } from '../define/event-model.ts';
import type { DeepReadonly } from '../define/frozen.ts';
import type { EventModel } from '../define/model.ts';
import type { OldEvent } from './aggregate-spec.ts';
import { checkId, knownEvent, numberedUuid, SPEC_TENANT, type SpecContext } from './context.ts';

export type Message = { readonly type: string; readonly data: unknown };
/** An event for a projector or saga; what is left out is filled in the same way in every run. */
export type GivenEvent<M extends Message> = (DeepReadonly<M> | OldEvent<M['type']>) & {
  /** Id of the instance that it happened to. Default: the `id` of the options. Versions are counted for each. */
  readonly id?: string;
  /** Default: the `now` of the options; for a saga, its clock. */
  readonly at?: Date;
  readonly commandId?: string;
};

/** The events of all sources, by type. */
export function eventModels(from: readonly Contract[]): ReadonlyMap<string, EventModel> {
  const events = new Map<string, EventModel>();
  for (const source of from) {
    for (const [type, event] of Object.entries(source.events)) {
      const closes = source.closes.includes(type);
      events.set(type, eventModel(source.name, type, event, closes, `${source.name}, event "${type}"`));
    }
  }
  return events;
}

export type AnyGiven = Message & {
  readonly schemaVersion?: number;
  readonly id?: string;
  readonly at?: Date;
  readonly commandId?: string;
};

/** Places events one after the other, as the log would. */
export function recorder(
  events: ReadonlyMap<string, EventModel>,
  place: string,
  context: SpecContext,
): (event: AnyGiven, at: Date) => AnyRecorded {
  const versions = new Map<string, number>();
  let position = 0;
  return (given, at) => {
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
      at: new Date(at),
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
