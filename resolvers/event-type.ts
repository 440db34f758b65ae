import { type EventMeta, type ReceiptEvent, streamKey } from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { OF_PARENT_ONLY } from './derive.ts';
import { claim } from './registry.ts';

/** `Event` and `EventMeta`. */
export function eventType(builder: MillraceBuilder) {
  claim(builder, 'type EventMeta', 'a type of the platform');
  claim(builder, 'type Event', 'a type of the platform');
  const meta = builder.objectRef<EventMeta>('EventMeta').implement({
    description: 'How an event came to be.',
    extensions: OF_PARENT_ONLY,
    fields: (t) => ({
      correlationId: t.exposeID('correlationId', { nullable: false }),
      causationId: t.exposeID('causationId', { nullable: true }),
      actor: t.exposeString('actor', { nullable: true }),
      tenant: t.exposeString('tenant', { nullable: false }),
      traceparent: t.exposeString('traceparent', { nullable: true }),
      client: t.exposeString('client', { nullable: true }),
      baggage: t.string({
        nullable: true,
        description: 'What else the caller said, as the W3C `baggage` header has it.',
        resolve: ({ baggage }) => baggage ?? null,
      }),
      depth: t.int({
        nullable: false,
        description: 'How many commands of sagas and schedules lie between the entry and this.',
        resolve: ({ depth }) => depth ?? 0,
      }),
    }),
  });
  return builder.objectRef<ReceiptEvent>('Event').implement({
    description: 'A fact; never changed after it was stored.',
    extensions: OF_PARENT_ONLY,
    fields: (t) => ({
      id: t.exposeID('id', { nullable: false }),
      type: t.exposeString('type', { nullable: false }),
      schemaVersion: t.exposeInt('schemaVersion', { nullable: false }),
      streamId: t.id({ nullable: false, resolve: ({ stream }) => streamKey(stream) }),
      aggregate: t.string({ nullable: false, resolve: ({ stream }) => stream.aggregate }),
      aggregateId: t.id({ nullable: false, resolve: ({ stream }) => stream.id }),
      version: t.int({ nullable: false, description: 'Place in its stream.', resolve: ({ stream }) => stream.version }),
      position: t.string({
        nullable: true,
        description: 'Place in the log; null in a receipt that is given before the event has its place.',
        resolve: ({ position }) => (position === null ? null : String(position)),
      }),
      data: t.field({ type: 'JSON', nullable: false, resolve: ({ data }) => data }),
      meta: t.field({ type: meta, nullable: false, resolve: (event) => event.meta }),
      commandId: t.exposeID('commandId', { nullable: false }),
      at: t.field({ type: 'DateTime', nullable: false, resolve: ({ at }) => at }),
    }),
  });
}
