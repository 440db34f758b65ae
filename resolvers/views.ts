import type { InputFieldMap } from '@pothos/core';
import {
  jsonSchemaOf,
  MillraceError,
  type SortInput,
  type View,
  type ViewChange,
  type ViewRecord,
} from '../src/index.ts';
import type { MillraceBuilder } from './builder.ts';
import { changeTypes } from './changes.ts';
import { connectionOf, pageArguments, pageInput } from './connections.ts';
import { described, type FieldExposures, implementObject, OF_PARENT_ONLY, type PlainObject } from './derive.ts';
import { filterInput, operatorsOf } from './filters.ts';
import { camelCase, checkedName, pascalCase, plural } from './names.ts';
import { asOfType, countFold, exposePast, readPast } from './past.ts';
import { receiptViewsType } from './receipt-views.ts';
import { claim, once, registryOf } from './registry.ts';
import { type ObjectShape, type Shape, shapeOf } from './shape.ts';

/** How a view is shown; every default comes from the view itself. */
export interface ViewExposure {
  /** Field that reads one document and, capitalised, its type. */
  readonly name?: string;
  /** Field that lists documents; default: the English plural of `name`. */
  readonly list?: string;
  readonly hidden?: boolean;
  readonly description?: string;
  readonly fields?: FieldExposures;
}

type ViewRef = ReturnType<typeof objectRefOf>;
const objectRefOf = (builder: MillraceBuilder, name: string) => builder.objectRef<PlainObject>(name);

export interface ExposedView {
  readonly view: View;
  readonly place: string;
  readonly one: string;
  readonly many: string;
  readonly typeName: string;
  readonly ref: ViewRef;
  readonly shape: ObjectShape;
  /** Fields that a declared index holds, and `id`. */
  readonly indexed: ReadonlyMap<string, Shape>;
  /** The document for GraphQL: with its id, also where the author's schema has none. */
  readonly node: (record: Pick<ViewRecord, 'id' | 'document'>) => PlainObject;
  readonly exposure: ViewExposure;
}

/** Takes the names of a view and makes its type known, before anything else is derived that may put out such documents. */
export function declareView(builder: MillraceBuilder, view: View, place: string, exposure: ViewExposure): ExposedView {
  const root = shapeOf(jsonSchemaOf(view.schema, 'output', place), 'output');
  if (root.kind !== 'object' || root.fields().length === 0) {
    throw new MillraceError(
      'SCHEMA_NOT_DERIVABLE',
      `${place}: its schema is not an object with named fields. Use an object schema, or hide the view in the options of exposeModule.`,
    );
  }
  const one = checkedName(exposure.name ?? camelCase(view.name), place);
  const many = checkedName(exposure.list ?? plural(one), place);
  const typeName = pascalCase(exposure.name ?? view.name);
  claim(builder, `type ${typeName}`, place);
  const ref = objectRefOf(builder, typeName);
  const hasId = root.fields().some((field) => field.name === 'id');
  const shape: ObjectShape = { ...root, fields: () => withId(root) };
  const byName = new Map(shape.fields().map((field) => [field.name, field.shape]));
  const names = ['id', ...view.indexes.flatMap((index) => Object.keys(index))];
  const indexed = new Map(
    names.flatMap((name) => {
      const known = byName.get(name);
      return known === undefined || exposure.fields?.[name]?.hidden === true ? [] : [[name, known] as const];
    }),
  );
  const { viewTypes } = registryOf(builder);
  // Two views of one shape: a query that puts out such documents cannot say which it means.
  if (hasId) viewTypes.set(root.fingerprint, viewTypes.has(root.fingerprint) ? 'ambiguous' : ref);
  const node = hasId
    ? (record: Pick<ViewRecord, 'document'>): PlainObject => record.document
    : (record: Pick<ViewRecord, 'id' | 'document'>): PlainObject => ({ ...record.document, id: record.id });
  return { view, place, one, many, typeName, ref, shape, indexed, node, exposure };
}

/** The id of a document is an ID whatever string its schema asks for. */
function withId(shape: ObjectShape): ReturnType<ObjectShape['fields']> {
  const id: Shape = { kind: 'scalar', scalar: 'ID', nullable: false, description: undefined };
  const others = shape.fields().filter((field) => field.name !== 'id');
  const own = shape.fields().find((field) => field.name === 'id');
  const about = own?.shape.description;
  return [{ name: 'id', required: true, shape: about === undefined ? id : { ...id, description: about } }, ...others];
}

/** `account`, `accounts`, `accountChanged`, `accountsChanged` and their types. */
export function exposeView(builder: MillraceBuilder, exposed: ExposedView): void {
  const { view, ref, shape, typeName, place, exposure } = exposed;
  const description = exposure.description ?? view.description;
  implementObject(builder, ref, shape, typeName, place, exposure.fields ?? {}, description);
  const filter = filterTypeOf(builder, exposed);
  exposeReads(builder, exposed, filter);
  exposeAfterCommand(builder, exposed);
  exposeChanges(builder, exposed, filter);
  exposePast(builder, exposed);
}

function exposeReads(builder: MillraceBuilder, exposed: ExposedView, filter: ReturnType<typeof filterTypeOf>): void {
  const { view, ref, one, many, place, node, indexed } = exposed;
  const connection = connectionOf(builder, exposed.typeName, ref, place, true);
  const sort = sortTypeOf(builder, exposed);
  claim(builder, `Query.${one}`, place);
  builder.queryField(one, (t) =>
    t.field({
      type: ref,
      nullable: true,
      ...described(`One document of the view "${view.name}" by its id; null when there is none.`),
      args: {
        id: t.arg.id({ required: true }),
        asOf: t.arg({ type: once(builder, asOfType), description: 'The document as it was then, not as it is.' }),
        ...readArguments(builder),
      },
      resolve: async (_root, { id, asOf, ...options }, context) => {
        if (asOf != null) return readPast(exposed, id, asOf, options.atLeast, context);
        countFold(view, context);
        const record = await context.runtime.document(view.name, id, readOptions(options, context.signal));
        return record === undefined ? null : node(record);
      },
    }),
  );
  claim(builder, `Query.${many}`, place);
  builder.queryField(many, (t) =>
    t.field({
      type: connection,
      nullable: false,
      ...described(`Documents of the view "${view.name}", filtered and sorted by its declared indexes.`),
      args: {
        filter: t.arg({ type: filter, required: false }),
        sort: t.arg({ type: [sort], required: false }),
        ...pageArguments(builder),
        ...readArguments(builder),
      },
      resolve: async (_root, args, context) => {
        const list = {
          filter: filterInput(args.filter, indexed),
          sort: args.sort?.map(
            ({ field, direction }): SortInput => ({ field, direction: direction === 'DESC' ? -1 : 1 }),
          ),
          ...readOptions(args, context.signal),
        };
        const page = await context.runtime.documents(view.name, { ...list, ...pageInput(args, context) });
        const edges = page.edges.map((edge) => ({ cursor: edge.cursor, node: node(edge.node) }));
        return { ...page, edges, count: () => context.runtime.countDocuments(view.name, list) };
      },
    }),
  );
}

/** The view in a receipt's `view`: its document once the command is applied. */
function exposeAfterCommand(builder: MillraceBuilder, { view, ref, one, place, node }: ExposedView): void {
  claim(builder, `ReceiptViews.${one}`, place);
  builder.objectField(once(builder, receiptViewsType), one, (t) =>
    t.field({
      type: ref,
      nullable: true,
      description: `One document of the view "${view.name}"; null when there is none.`,
      args: { id: t.arg.id({ description: 'Default: the id in the receipt.' }) },
      resolve: async (receipt, args, context) => {
        const { token, timeoutMs } = receipt;
        const options = readOptions({ atLeast: token, timeoutMs }, context.signal);
        countFold(view, context);
        const record = await context.runtime.document(view.name, args.id ?? receipt.id, options);
        return record === undefined ? null : node(record);
      },
    }),
  );
}

const goOn = 'Pass it as `after` to go on from here, over any connection to any gateway.';
const afterwards =
  'Cursor of the last message that came: what was missed, CAUGHT_UP, then changes; or GAP and a snapshot if it does not fit.';

function exposeChanges(builder: MillraceBuilder, exposed: ExposedView, filter: ReturnType<typeof filterTypeOf>): void {
  const { view, ref, one, many, place, node, typeName, indexed } = exposed;
  const { signal, gap, describe } = once(builder, changeTypes);
  claim(builder, `type ${typeName}Change`, place);
  const change = builder.objectRef<ViewChange>(`${typeName}Change`).implement({
    description: describe(view.name),
    extensions: OF_PARENT_ONLY,
    fields: (t) => ({
      signal: t.field({ type: signal, nullable: false, resolve: (parent) => parent.signal }),
      cursor: t.expose('cursor', { type: 'Cursor', nullable: false, description: goOn }),
      gap: t.field({
        type: gap,
        nullable: true,
        description: 'Set when `signal` is GAP.',
        resolve: (parent) => parent.gap,
      }),
      id: t.exposeID('id', { nullable: true }),
      node: t.field({
        type: ref,
        nullable: true,
        resolve: ({ node: record }) => (record === null ? null : node(record)),
      }),
      version: t.int({ nullable: true, resolve: (parent) => parent.node?.version ?? null }),
      origins: t.idList({
        nullable: { list: false, items: false },
        description: 'Ids of the commands that are merged into this change, oldest first, at most 10.',
        resolve: (parent) => [...parent.origins],
      }),
    }),
  });
  claim(builder, `Subscription.${one}Changed`, place);
  builder.subscriptionField(`${one}Changed`, (t) =>
    t.field({
      type: change,
      nullable: false,
      description: `One document of the view "${view.name}": first as it is, then each change.`,
      args: {
        id: t.arg.id({ required: true }),
        after: t.arg({ type: 'Cursor', required: false, description: afterwards }),
      },
      subscribe: (_root, { id, after }, { runtime, signal: client, lastEventId }) =>
        runtime.watchDocument(view.name, id, lastEventId ?? after ?? undefined, client),
      resolve: (delivered) => delivered,
      extensions: OF_PARENT_ONLY,
    }),
  );
  claim(builder, `Subscription.${many}Changed`, place);
  builder.subscriptionField(`${many}Changed`, (t) =>
    t.field({
      type: change,
      nullable: false,
      description: `Documents of the view "${view.name}": first each as it is, then CAUGHT_UP, then each change.`,
      args: {
        filter: t.arg({ type: filter, required: false }),
        after: t.arg({ type: 'Cursor', required: false, description: afterwards }),
      },
      subscribe: (_root, args, { runtime, signal: client, lastEventId }) => {
        const wanted = filterInput(args.filter, indexed);
        const after = lastEventId ?? args.after ?? undefined;
        return runtime.watchDocuments(view.name, wanted, after, client);
      },
      resolve: (delivered) => delivered,
      extensions: OF_PARENT_ONLY,
    }),
  );
}

function filterTypeOf(builder: MillraceBuilder, { typeName, place, indexed }: ExposedView) {
  const name = `${typeName}Filter`;
  claim(builder, `type ${name}`, place);
  const fields = [...indexed].flatMap(([field, shape]) => {
    const type = operatorsOf(builder, shape, typeName + pascalCase(field), place);
    return type === undefined ? [] : [{ field, type }];
  });
  return builder.inputType(name, {
    description: 'Fields that a declared index of the view holds; all that are given must match.',
    fields: (t): InputFieldMap =>
      Object.fromEntries(fields.map(({ field, type }) => [field, t.field({ type, required: false })])),
  });
}

function sortTypeOf(builder: MillraceBuilder, { typeName, place, indexed }: ExposedView) {
  const direction = once(builder, sortDirection);
  claim(builder, `type ${typeName}SortField`, place);
  claim(builder, `type ${typeName}Sort`, place);
  const field = builder.enumType(`${typeName}SortField`, { values: [...indexed.keys()] });
  return builder.inputType(`${typeName}Sort`, {
    fields: (t) => ({
      field: t.field({ type: field, required: true }),
      direction: t.field({ type: direction, required: true, defaultValue: 'ASC' }),
    }),
  });
}
function sortDirection(builder: MillraceBuilder) {
  claim(builder, 'type SortDirection', 'a type of the platform');
  return builder.enumType('SortDirection', { values: ['ASC', 'DESC'] as const });
}

/** `atLeast` and `timeoutMs` for a field that reads views. */
export const readArguments = (builder: MillraceBuilder) =>
  builder.args((t) => ({
    atLeast: t.field({
      type: 'Token',
      description: 'Token of a receipt: the answer holds what that command wrote, or is the error VIEW_BEHIND.',
    }),
    timeoutMs: t.int({ description: 'How long `atLeast` may wait, 60,000 at most; default AT_LEAST_TIMEOUT_MS.' }),
  }));
/** They end with `signal`: nobody waits for what a client that left has asked. */
export const readOptions = (
  {
    atLeast,
    timeoutMs,
  }: { readonly atLeast?: string | null | undefined; readonly timeoutMs?: number | null | undefined },
  signal: AbortSignal,
) => ({ atLeast: atLeast ?? undefined, timeoutMs: timeoutMs ?? undefined, signal });
