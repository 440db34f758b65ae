import { toStandardJsonSchema } from '@valibot/to-json-schema';
import { printSchema, printType } from 'graphql';
import { aggregate, type Module, module, projector, query, view } from 'millrace';
import { createSchemaBuilder, type ExposeOptions, exposeModule, schemaOf } from 'millrace/graphql';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

const shop = (commands: Parameters<typeof aggregateOf>[0]): Module =>
  module({ name: 'shop', parts: [aggregateOf(commands)] });
const aggregateOf = (commands: Record<string, z.ZodType | ReturnType<typeof toStandardJsonSchema>>) =>
  aggregate({
    name: 'order',
    events: { Placed: z.object({}) },
    commands,
    initial: () => null,
    evolve: { Placed: () => null },
    decide: Object.fromEntries(Object.keys(commands).map((type) => [type, () => []])),
  });
const withView = (schema: z.ZodObject, options = {}, more: Module['parts'] = []): Module => {
  const order = aggregateOf({});
  const orders = view('order', schema, options);
  return module({
    name: 'shop',
    parts: [
      order,
      orders,
      projector({ name: 'orders', version: 1, from: [order], into: orders, on: { Placed: () => undefined } }),
      ...more,
    ],
  });
};
const typeOf = (of: Module, name: string, options?: ExposeOptions): string => {
  const builder = createSchemaBuilder();
  exposeModule(builder, of, options);
  const type = builder.toSchema().getType(name);
  return type === undefined || type === null ? `no type ${name}` : printType(type);
};
const fieldOf = (of: Module, name: string, options?: ExposeOptions): string => {
  const builder = createSchemaBuilder();
  exposeModule(builder, of, options);
  const printed = printSchema(builder.toSchema())
    .replace(/"""[\s\S]*?"""\s*/g, '')
    .replace(/\s+/g, ' ');
  return new RegExp(`[{ ](${name}\\(.*?\\): [A-Za-z\\[\\]!]+)`).exec(printed)?.[1] ?? `no field ${name}`;
};
const codeOf = (make: () => unknown): string => {
  try {
    make();
  } catch (error) {
    if (error instanceof Error && 'code' in error) return `${String(error.code)}: ${error.message}`;
    throw error;
  }
  return 'nothing was refused';
};

describe('a command in GraphQL', () => {
  test('its input is what its schema says, with descriptions, in the order of letters', () => {
    const place = z.object({
      item: z.string().describe('what'),
      count: z.int().positive().max(9),
      price: z.number(),
      gift: z.boolean().optional(),
      note: z.string().nullable(),
      size: z.enum(['S', 'M']),
      code: z.enum(['a-b', 'c']),
      tags: z.array(z.string()),
      to: z.object({ street: z.string(), since: z.iso.datetime() }),
      extra: z.record(z.string(), z.number()),
      either: z.union([z.string(), z.number()]),
      many: z.array(z.array(z.string())),
    });
    expect(typeOf(shop({ Place: place }), 'PlaceInput')).toBe(
      [
        'input PlaceInput {',
        '  code: String!',
        '  count: SafeInt!',
        '  either: JSON!',
        '  extra: JSON!',
        '  gift: Boolean',
        '',
        '  """what"""',
        '  item: String!',
        '  many: JSON!',
        '  note: String',
        '  price: Float!',
        '  size: PlaceSize!',
        '  tags: [String!]!',
        '  to: PlaceToInput!',
        '}',
      ].join('\n'),
    );
    expect(typeOf(shop({ Place: place }), 'PlaceToInput')).toContain('since: DateTime!');
    expect(typeOf(shop({ Place: place }), 'PlaceSize')).toContain('enum PlaceSize');
  });

  test('the same shape in valibot gives the same input as in zod', () => {
    const inValibot = toStandardJsonSchema(
      v.object({
        item: v.string(),
        count: v.pipe(v.number(), v.integer()),
        note: v.nullable(v.string()),
        kind: v.picklist(['A', 'B']),
        gift: v.optional(v.boolean()),
      }),
    );
    const inZod = z.object({
      item: z.string(),
      count: z.int(),
      note: z.string().nullable(),
      kind: z.enum(['A', 'B']),
      gift: z.boolean().optional(),
    });
    expect(typeOf(shop({ Place: inValibot }), 'PlaceInput')).toBe(typeOf(shop({ Place: inZod }), 'PlaceInput'));
  });

  test('a schema that contains itself becomes an input that contains itself', () => {
    const node = z.object({
      name: z.string(),
      get children() {
        return z.array(node);
      },
    });
    expect(typeOf(shop({ Plant: node }), 'PlantInput')).toContain('children: [PlantInput!]!');
    expect(typeOf(shop({ Plant: z.object({ tree: node }) }), 'PlantTreeInput')).toContain(
      'children: [PlantTreeInput!]!',
    );
  });

  test('one without data takes no input; one that is no object takes what it is', () => {
    expect(fieldOf(shop({ Cancel: z.object({}) }), 'cancel')).toBe(
      'cancel( commandId: ID dryRun: Boolean expectedVersion: Int id: ID! mode: CommandMode sendAt: DateTime ): CommandOutcome!',
    );
    expect(fieldOf(shop({ Rename: z.string() }), 'rename')).toContain('input: String!');
  });

  test('the id may be left out only where the command creates', () => {
    const order = {
      ...aggregateOf({ Place: z.object({ a: z.string() }), Pay: z.object({ a: z.string() }) }),
      creates: ['Place'],
    };
    const of = module({ name: 'shop', parts: [order] });
    expect(fieldOf(of, 'place')).toContain(' id: ID input:');
    expect(fieldOf(of, 'pay')).toContain(' id: ID! input:');
  });

  test('it can be renamed, hidden and described', () => {
    const of = shop({ Place: z.object({ a: z.string() }), Pay: z.object({ a: z.string() }) });
    const options = {
      commands: { Place: { name: 'placeOrder', description: 'Places it' }, 'order.Pay': { hidden: true } },
    };
    expect(fieldOf(of, 'placeOrder', options)).toContain('input: PlaceOrderInput!');
    expect(fieldOf(of, 'place', options)).toBe('no field place');
    expect(fieldOf(of, 'pay', options)).toBe('no field pay');
  });
});

describe('a view in GraphQL', () => {
  const document = z.object({
    id: z.string(),
    owner: z.string(),
    total: z.int(),
    rank: z.int32(),
    kind: z.enum(['A', 'B']),
    note: z.string().optional(),
  });
  const indexed = withView(document, { indexes: [{ owner: 1 }, { kind: 1, total: -1 }] });

  test('its type holds the fields of its schema; money is a SafeInt, an integer of 32 bits an Int', () => {
    expect(typeOf(indexed, 'Order').replace(/\s+/g, ' ')).toBe(
      'type Order { id: ID! kind: OrderKind! note: String owner: String! rank: Int! total: SafeInt! }',
    );
  });

  test('lists filter and sort by declared indexes and the id, by nothing else', () => {
    expect(
      typeOf(indexed, 'OrderFilter')
        .replace(/"""[^"]*"""\s/, '')
        .replace(/\s+/g, ' '),
    ).toBe('input OrderFilter { id: IDFilter kind: OrderKindFilter owner: StringFilter total: SafeIntFilter }');
    expect(typeOf(indexed, 'OrderSortField').replace(/\s+/g, ' ')).toBe('enum OrderSortField { id kind owner total }');
    expect(typeOf(indexed, 'StringFilter')).toContain('in: [String!]');
  });

  test('a query that puts out its documents has its type; other objects get one of their own', () => {
    const richest = query({
      name: 'richest',
      input: z.object({ limit: z.number().int().max(100) }),
      output: z.array(document),
      run: async () => [],
    });
    const totals = query({
      name: 'totals',
      input: z.object({}),
      output: z.object({ total: z.int(), by: z.array(z.object({ kind: z.string() })) }),
      run: async () => ({ total: 0, by: [] }),
    });
    const of = withView(document, {}, [richest, totals]);
    expect(fieldOf(of, 'richest')).toBe('richest( atLeast: Token limit: Int! timeoutMs: Int ): [Order!]!');
    expect(fieldOf(of, 'totals')).toContain(': TotalsResult!');
    expect(typeOf(of, 'TotalsResult')).toContain('by: [TotalsResultBy!]!');
  });

  test('a document without an id gets the one of its key', () => {
    expect(typeOf(withView(z.object({ owner: z.string() })), 'Order')).toContain('id: ID!');
  });

  test('it can be renamed; fields can be hidden, and are then no filter either', () => {
    const options = {
      views: {
        order: { name: 'purchase', list: 'allPurchases', fields: { owner: { hidden: true }, total: { name: 'sum' } } },
      },
    };
    expect(typeOf(indexed, 'Purchase', options).replace(/\s+/g, ' ')).toBe(
      'type Purchase { id: ID! kind: PurchaseKind! note: String rank: Int! sum: SafeInt! }',
    );
    expect(typeOf(indexed, 'PurchaseFilter', options)).not.toContain('owner');
    expect(fieldOf(indexed, 'allPurchases', options)).toContain('PurchaseConnection!');
    expect(typeOf(indexed, 'Subscription', options)).toContain('allPurchasesChanged(');
  });
});

describe('refused at start, with place and cure', () => {
  test('a schema that is no JSON', () => {
    const refused = codeOf(() => schemaOf([shop({ Place: z.object({ at: z.date() }) })]));
    expect(refused).toMatch(
      /^SCHEMA_NOT_DERIVABLE: module "shop", aggregate "order", command "Place": .*Date.*Use JSON types/,
    );
  });

  test('a schema of a family that offers no JSON Schema', () => {
    const bare = v.object({ a: v.string() });
    const refused = codeOf(() => schemaOf([shop({ Place: bare as never })]));
    expect(refused).toMatch(/^SCHEMA_NOT_DERIVABLE: .*valibot.*toStandardJsonSchema/);
  });

  test('a property that GraphQL cannot name', () => {
    const refused = codeOf(() => schemaOf([shop({ Place: z.object({ 'first-name': z.string() }) })]));
    expect(refused).toMatch(/^SCHEMA_NOT_DERIVABLE: .*command "Place".*"first-name".*rename it, or hide it/);
  });

  test('a view whose schema is no object with fields', () => {
    const refused = codeOf(() => schemaOf([withView(z.object({}))]));
    expect(refused).toMatch(/^SCHEMA_NOT_DERIVABLE: module "shop", view "order": .*hide the view/);
  });

  test('two commands of one name in two aggregates, naming both', () => {
    const one = aggregateOf({ Close: z.object({}) });
    const other = { ...aggregateOf({ Close: z.object({}) }), name: 'shelf' };
    const refused = codeOf(() => schemaOf([module({ name: 'shop', parts: [one, other] })]));
    expect(refused).toMatch(
      /^NAME_TAKEN: .*aggregate "shelf", command "Close".*"Mutation.close".*aggregate "order", command "Close"/,
    );
  });

  test('a view that would take a name of the platform', () => {
    const order = aggregateOf({});
    const event = view('event', z.object({ id: z.string() }));
    const into = projector({ name: 'p', version: 1, from: [order], into: event, on: { Placed: () => undefined } });
    const refused = codeOf(() => schemaOf([module({ name: 'shop', parts: [order, event, into] })]));
    expect(refused).toMatch(/^NAME_TAKEN: module "shop", view "event" .*type of the platform/);
  });

  test('a hand-written field that has the name of a derived one', () => {
    const builder = createSchemaBuilder();
    exposeModule(builder, shop({ Place: z.object({}) }));
    builder.mutationField('place', (t) => t.boolean({ resolve: () => true }));
    expect(codeOf(() => builder.toSchema())).toMatch(/^NAME_TAKEN: .*place/);
  });

  test('a query input with an argument of the platform', () => {
    const bad = query({
      name: 'bad',
      input: z.object({ atLeast: z.string() }),
      output: z.string(),
      run: async () => '',
    });
    expect(codeOf(() => schemaOf([module({ name: 'shop', parts: [bad] })]))).toMatch(
      /^NAME_TAKEN: .*query "bad".*atLeast/,
    );
  });

  test('an option that names nothing', () => {
    const options = { commands: { Plaec: { hidden: true } } };
    const refused = codeOf(() => exposeModule(createSchemaBuilder(), shop({ Place: z.object({}) }), options));
    expect(refused).toMatch(/^DEFINITION_INVALID: .*"Plaec".*It has: Place/);
  });
});
