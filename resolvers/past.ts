import type { GatewayContext } from '../src/gateway/context.ts';
import {
  type AsOf,
  type FieldChange,
  type HistoryStep,
  MillraceError,
  type View,
  type ViewRecord,
} from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { connectionOf } from './connections.ts';
import { described, type PlainObject } from './derive.ts';
import { eventType } from './event-type.ts';
import { positionOf } from './positions.ts';
import { claim, once } from './registry.ts';
import { timeOf } from './times.ts';
import type { ExposedView } from './views.ts';

/** Each folds a document from the log: the cost limit knows nothing of that. */
const OPERATION_MAX_COUNT = 10;
const asked = new WeakMap<GatewayContext, number>();

/** Counts a question about the past for its operation. Throws QUERY_TOO_COMPLEX. */
function countPast(context: GatewayContext): void {
  const count = (asked.get(context) ?? 0) + 1;
  if (count > OPERATION_MAX_COUNT) {
    throw new MillraceError(
      'QUERY_TOO_COMPLEX',
      `One operation may ask ${OPERATION_MAX_COUNT} times about the past ("asOf" and histories) and for documents of live views: each folds a document from the log. Ask the rest in other operations.`,
    );
  }
  asked.set(context, count);
}

/** Counts a read of a document that is folded, too, since its view is live. Throws QUERY_TOO_COMPLEX. */
export function countFold({ name }: Pick<View, 'name'>, context: GatewayContext): void {
  if (context.runtime.model.liveProjectorOf.has(name)) countPast(context);
}

export function asOfType(builder: MillraceBuilder) {
  claim(builder, 'type AsOf', 'a type of the platform');
  return builder.inputType('AsOf', {
    isOneOf: true,
    description:
      'Which past of a document is meant. It is folded from the log, from its first event on; at most HISTORY_MAX_EVENTS (default 10,000) events are looked at, else the error is HISTORY_TOO_LONG.',
    fields: (t) => ({
      position: t.string({ description: 'After the event at this position of the log and all before it.' }),
      time: t.field({
        type: 'DateTime',
        description: 'After its events up to this time. Of the last few seconds the answer may still change.',
      }),
      version: t.int({ description: 'The version that subscriptions showed, up to the current one.' }),
    }),
  });
}

interface GivenAsOf {
  readonly position?: string | null | undefined;
  readonly time?: string | null | undefined;
  readonly version?: number | null | undefined;
}

/** GraphQL lets exactly one through. Throws BAD_INPUT. */
function asOfInput({ position, time, version }: GivenAsOf): AsOf {
  const at = timeOf('asOf.time', time);
  if (at !== undefined) return { time: at };
  return position == null ? { version: version ?? 0 } : { position: positionOf('asOf.position', position) };
}

/** The document as it was. Throws BAD_INPUT together with `atLeast`: the one reads the log, the other waits for the view. */
export async function readPast(
  { view, node }: ExposedView,
  id: string,
  asOf: GivenAsOf,
  atLeast: string | null | undefined,
  context: GatewayContext,
): Promise<PlainObject | null> {
  if (atLeast != null) {
    throw new MillraceError('BAD_INPUT', '`asOf` is read from the log and waits for no view. Leave `atLeast` out.');
  }
  countPast(context);
  const found = await context.runtime.documentAsOf(view.name, id, asOfInput(asOf), { signal: context.signal });
  return found === undefined ? null : node(found);
}

/** `accountHistory` and its types. */
export function exposePast(builder: MillraceBuilder, exposed: ExposedView): void {
  const { view, one, typeName, ref, place, node } = exposed;
  const event = once(builder, eventType);
  const change = once(builder, fieldChangeType);
  const name = `${typeName}History`;
  claim(builder, `type ${name}Step`, place);
  const step = builder.objectRef<Step>(`${name}Step`).implement({
    description: `One event that changed a document of the view "${view.name}".`,
    fields: (t) => ({
      node: t.field({
        type: ref,
        nullable: true,
        description: 'The document after the event; null when it was removed.',
        resolve: ({ record }) => (record === undefined ? null : node(record)),
      }),
      changes: t.field({
        type: [change],
        nullable: { list: false, items: false },
        description: 'Top-level fields that the event changed.',
        resolve: ({ changes }) => shownChanges(exposed, changes),
      }),
      version: t.exposeInt('version', {
        nullable: true,
        description: 'Of the document; null where it is not known any more.',
      }),
      event: t.field({ type: event, nullable: false, resolve: (parent) => parent.event }),
      position: t.string({ nullable: false, resolve: (parent) => String(parent.event.position) }),
      at: t.field({ type: 'DateTime', nullable: false, resolve: (parent) => parent.event.at }),
      actor: t.string({ nullable: true, resolve: (parent) => parent.event.meta.actor }),
      commandId: t.id({ nullable: false, resolve: (parent) => parent.event.commandId }),
    }),
  });
  const connection = connectionOf(builder, name, step, place);
  claim(builder, `Query.${one}History`, place);
  builder.queryField(`${one}History`, (t) =>
    t.field({
      type: connection,
      nullable: false,
      ...described(
        `What changed one document of the view "${view.name}", oldest first. Every page is folded from the document's first event on; at most HISTORY_MAX_EVENTS (default 10,000) events are looked at, else the error is HISTORY_TOO_LONG.`,
      ),
      args: {
        id: t.arg.id({ required: true }),
        first: t.arg.int({ description: 'So many, at most 1,000; default 50.' }),
        after: t.arg({ type: 'Cursor' }),
      },
      resolve: async (_root, { id, first, after }, context) => {
        countPast(context);
        const { signal } = context;
        const page = await context.runtime.documentHistory(view.name, id, { first, after, signal });
        return { ...page, edges: page.edges.map(({ cursor, node: found }) => ({ cursor, node: stepOf(id, found) })) };
      },
    }),
  );
}

interface Step extends Omit<HistoryStep, 'document'> {
  readonly record: Pick<ViewRecord, 'id' | 'document'> | undefined;
}
const stepOf = (id: string, { document, ...step }: HistoryStep): Step => ({
  ...step,
  record: document === null ? undefined : { id, document },
});

function fieldChangeType(builder: MillraceBuilder) {
  claim(builder, 'type FieldChange', 'a type of the platform');
  return builder.objectRef<FieldChange>('FieldChange').implement({
    fields: (t) => ({
      field: t.exposeString('field', { nullable: false }),
      before: t.field({ type: 'JSON', nullable: true, resolve: ({ before }) => before ?? null }),
      after: t.field({ type: 'JSON', nullable: true, resolve: ({ after }) => after ?? null }),
    }),
  });
}

/** By the names that the document's type has; what is hidden there is hidden here. */
function shownChanges({ shape, exposure }: ExposedView, changes: readonly FieldChange[]): readonly FieldChange[] {
  const shown = new Set(shape.fields().map(({ name }) => name));
  return changes.flatMap((change) => {
    const own = Object.hasOwn(exposure.fields ?? {}, change.field) ? exposure.fields?.[change.field] : undefined;
    if (!shown.has(change.field) || own?.hidden === true) return [];
    return [{ ...change, field: own?.name ?? change.field }];
  });
}
