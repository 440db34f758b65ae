import type { EventDelivery, EventFilterInput } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { changeTypes } from './changes.ts';
import { connectionOf, pageArguments, pageInput } from './connections.ts';
import { OF_PARENT_ONLY } from './derive.ts';
import { eventType } from './event-type.ts';
import { claim, once } from './registry.ts';
import { timeOf } from './times.ts';

/** The log, read (`Query.events`) and live (`Subscription.events`). */
export function exposeEvents(builder: MillraceBuilder): true {
  const event = once(builder, eventType);
  const filter = eventFilter(builder);
  const { signal } = once(builder, changeTypes);
  const connection = connectionOf(builder, 'Event', event, 'a type of the platform');
  claim(builder, 'Query.events', 'a field of the platform');
  builder.queryField('events', (t) =>
    t.field({
      type: connection,
      nullable: false,
      description: 'Events of the log, in order of their position.',
      args: { filter: t.arg({ type: filter, required: false }), ...pageArguments(builder) },
      resolve: (_root, args, context) =>
        context.runtime.events(eventFilterInput(args.filter), pageInput(args, context)),
    }),
  );
  claim(builder, 'type EventDelivery', 'a type of the platform');
  const delivery = builder.objectRef<EventDelivery>('EventDelivery').implement({
    extensions: OF_PARENT_ONLY,
    fields: (t) => ({
      signal: t.field({ type: signal, nullable: false, resolve: (parent) => parent.signal }),
      cursor: t.expose('cursor', { type: 'Cursor', nullable: false }),
      event: t.field({ type: event, nullable: true, resolve: (parent) => parent.event }),
    }),
  });
  claim(builder, 'Subscription.events', 'a field of the platform');
  builder.subscriptionField('events', (t) =>
    t.field({
      type: delivery,
      nullable: false,
      description:
        'Every event of the log, once and in order: after a cursor, else from `filter.since`, else from now on.',
      args: { filter: t.arg({ type: filter, required: false }), after: t.arg({ type: 'Cursor', required: false }) },
      subscribe: (_root, args, { runtime, signal: client, lastEventId }) => {
        const wanted = eventFilterInput(args.filter);
        const after = lastEventId ?? args.after ?? undefined;
        return runtime.watchEvents(wanted, after, client);
      },
      resolve: (delivered) => delivered,
      extensions: OF_PARENT_ONLY,
    }),
  );
  return true;
}

function eventFilter(builder: MillraceBuilder) {
  claim(builder, 'type EventFilter', 'a type of the platform');
  return builder.inputType('EventFilter', {
    description:
      'All that is given must match. The query refuses what no index serves (INDEX_MISSING); the subscription takes any.',
    fields: (t) => ({
      types: t.stringList(),
      aggregate: t.string(),
      aggregateId: t.id(),
      correlationId: t.id(),
      actor: t.id({ description: 'Who sent the command.' }),
      since: t.field({ type: 'DateTime' }),
      until: t.field({ type: 'DateTime' }),
    }),
  });
}

interface GivenFilter extends Omit<EventFilterInput, 'since' | 'until'> {
  readonly since?: string | null | undefined;
  readonly until?: string | null | undefined;
}

function eventFilterInput(given: GivenFilter | null | undefined): EventFilterInput {
  if (given === null || given === undefined) return {};
  const { since, until, ...rest } = given;
  return { ...rest, since: timeOf('filter.since', since), until: timeOf('filter.until', until) };
}
