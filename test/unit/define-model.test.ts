import { toStandardJsonSchema } from '@valibot/to-json-schema';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { bank } from '../../examples/bank/module.ts';
import {
  type AggregateSpec,
  aggregate,
  buildModel,
  event,
  isMillraceError,
  type Module,
  module,
  projector,
  query,
  view,
} from '../../src/index.ts';

/** What a caller without types can do. */
const untyped = <T>(value: unknown): T => value as T;
type AnySpec = AggregateSpec<string, Record<string, never>, Record<string, never>, unknown, string>;

const counter = (change: Record<string, unknown> = {}) =>
  aggregate(
    untyped<AnySpec>({
      name: 'counter',
      events: { Counted: z.object({ by: z.int() }) },
      commands: { Count: z.object({ by: z.int() }) },
      initial: () => 0,
      evolve: { Counted: (sum: number, { by }: { by: number }) => sum + by },
      decide: { Count: (_sum: number, data: unknown) => ({ type: 'Counted', data }) },
      ...change,
    }),
  );
const totals = view('total', z.object({ id: z.string(), sum: z.int() }));
type AnyProjector = Parameters<typeof projector>[0];
const keep = (change: Record<string, unknown> = {}) =>
  projector(
    untyped<AnyProjector>({
      name: 'totals',
      version: 1,
      from: [counter()],
      into: totals,
      on: { Counted: () => null },
      ...change,
    }),
  );
const of = (...parts: unknown[]): Module => module({ name: 'm', parts: untyped(parts) });

function refusal(build: () => unknown): { readonly code: string; readonly message: string } {
  try {
    build();
  } catch (error) {
    if (isMillraceError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('expected a refusal, nothing was refused');
}
const refused = (...parts: unknown[]) => refusal(() => buildModel([of(...parts)]));
const invalid = (message: RegExp) => ({ code: 'DEFINITION_INVALID', message: expect.stringMatching(message) });

test('the bank is a model', () => {
  const model = buildModel([bank]);
  expect([...model.aggregates.keys()]).toEqual(['account', 'transfer']);
  expect([...model.services.keys()]).toEqual(['cardProcessor']);
  expect(model.events.get('MoneyDeposited')?.aggregate).toBe('account');
  expect([...model.views.keys()]).toEqual(['account', 'movement', 'transfer']);
  expect(model.consumers.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
    'projector balances',
    'projector statement',
    'projector transfers',
    'saga moneyTransfer',
    'observer notify',
    'saga cardTopUp',
  ]);
  expect(model.projectorOf.get('movement')?.name).toBe('statement');
});

test('zod and valibot live in one module', () => {
  const mixed = aggregate({
    name: 'mixed',
    events: {
      ByZod: z.object({ a: z.string() }),
      ByValibot: toStandardJsonSchema(v.object({ n: v.pipe(v.number(), v.integer()) })),
    },
    commands: { Go: toStandardJsonSchema(v.object({ n: v.number() })) },
    initial: () => ({ sum: 0 }),
    evolve: { ByZod: (s) => s, ByValibot: (s, { n }) => ({ sum: s.sum + n }) },
    decide: {
      Go: (_s, { n }) => [
        { type: 'ByValibot', data: { n } },
        { type: 'ByZod', data: { a: 'x' } },
      ],
    },
  });
  expect(
    buildModel([of(mixed)])
      .aggregates.get('mixed')
      ?.commands.has('Go'),
  ).toBe(true);
});

describe('modules and names', () => {
  test('what is no module or no part is refused by its place', () => {
    expect(refusal(() => buildModel(untyped([{}])))).toEqual(invalid(/modules\[0\]: is no module/));
    expect(refused(counter(), undefined)).toEqual(invalid(/module "m": parts\[1\] is undefined.*import circle/));
    expect(refused({ kind: 'thing' })).toEqual(invalid(/parts\[0\] is no part/));
    expect(refusal(() => buildModel([module(untyped({ name: 'm' }))]))).toEqual(invalid(/`parts` is undefined/));
  });
  test.each(['', '1a', 'a b', '$a', 'a/b', '__proto__', 'a'.repeat(65), undefined])('%j is no name', (name) => {
    expect(refused(counter({ name }))).toEqual(invalid(/is no name for a aggregate|is no name/));
  });
  test('two things with one name are refused', () => {
    const taken = (message: RegExp) => ({ code: 'NAME_TAKEN', message: expect.stringMatching(message) });
    expect(refused(counter(), counter())).toEqual(taken(/two aggregates named "counter"/));
    expect(refused(counter(), counter({ name: 'other' }))).toEqual(
      taken(/"other": there are two events named "Counted"/),
    );
    expect(refused(counter(), totals, totals, keep())).toEqual(taken(/two views named "total"/));
    expect(refused(counter(), totals, keep(), keep())).toEqual(taken(/two projectors named "totals"/));
    expect(refused(counter(), totals, keep(), keep({ name: 'again' }))).toEqual(
      taken(/View "total" has two projectors, "totals" and "again"/),
    );
    expect(refusal(() => buildModel([of(), of()]))).toEqual(taken(/two modules named "m"/));
  });
  test('one command name in two aggregates is fine', () => {
    const other = counter({
      name: 'other',
      events: { OtherCounted: z.object({}) },
      evolve: { OtherCounted: (sum: number) => sum },
    });
    expect(buildModel([of(counter(), other)]).aggregates.size).toBe(2);
  });
});

describe('aggregates', () => {
  test('a missing handler is refused by its name', () => {
    expect(refused(counter({ evolve: {} }))).toEqual(
      invalid(/aggregate "counter": event "Counted" has no handler. Add the function `evolve.Counted`/),
    );
    expect(refused(counter({ decide: undefined }))).toEqual(
      invalid(/command "Count" has no handler. Add the function `decide.Count`/),
    );
    expect(refused(counter({ decide: { Count: 'no function' } }))).toEqual(invalid(/command "Count" has no handler/));
    expect(refused(counter({ commands: { constructor: z.object({}) }, decide: {} }))).toEqual(
      invalid(/command "constructor" has no handler/),
    );
    expect(refused(counter({ initial: 0 }))).toEqual(invalid(/`initial` is number/));
  });
  test('a handler, a `creates`, a `closes` or a field of something that is not declared is refused', () => {
    const handler = () => [];
    expect(refused(counter({ decide: { Count: handler, Cuont: handler } }))).toEqual(
      invalid(/`decide` names "Cuont", which is not declared/),
    );
    expect(refused(counter({ creates: ['Start'] }))).toEqual(invalid(/`creates` names "Start"/));
    expect(refused(counter({ closes: ['Ended'] }))).toEqual(invalid(/`closes` names "Ended"/));
    expect(refused(counter({ fields: { Start: {} } }))).toEqual(invalid(/`fields` names "Start"/));
    expect(refused(counter({ fields: { Count: { pin: { store: false } } } }))).toEqual(
      invalid(/command "Count": `fields` names "pin", which its input does not have/),
    );
  });
  test('maps, lists and schemas must be some', () => {
    expect(refused(counter({ events: undefined }))).toEqual(invalid(/`events` is undefined/));
    expect(refused(counter({ commands: [] }))).toEqual(invalid(/`commands` is object/));
    expect(refused(counter({ creates: 'Count' }))).toEqual(invalid(/`creates` is string/));
    expect(refused(counter({ events: { Counted: {} } }))).toEqual(invalid(/event "Counted": is no Standard Schema/));
    expect(refused(counter({ events: { Counted: undefined } }))).toEqual(invalid(/event "Counted": is no Standard/));
    expect(refused(counter({ commands: { Count: null } }))).toEqual(invalid(/command "Count": is no Standard Schema/));
  });
  test('a code of the platform that senders act on is no rejection', () => {
    expect(refused(counter({ rejections: ['IDEMPOTENCY_CONFLICT'] }))).toEqual(invalid(/belongs to the platform/));
    expect(refused(counter({ rejections: [''] }))).toEqual(invalid(/`rejections` holds ''/));
  });
});

describe('schemas', () => {
  const withEvent = (schema: unknown) => refused(counter({ events: { Counted: schema } }));
  const underivable = (message: RegExp) => ({
    code: 'SCHEMA_NOT_DERIVABLE',
    message: expect.stringMatching(message),
  });

  test('event data that is not JSON is refused', () => {
    const place = /aggregate "counter", event "Counted": no JSON Schema can be derived/;
    for (const field of [
      z.date(),
      z.bigint(),
      z.map(z.string(), z.string()),
      z.set(z.string()),
      z.symbol(),
      z.file(),
    ]) {
      expect(withEvent(z.object({ field }))).toEqual(underivable(place));
    }
    expect(withEvent(toStandardJsonSchema(v.object({ at: v.date() })))).toEqual(underivable(place));
  });
  test('event schemas that transform are refused', () => {
    expect(withEvent(z.object({ n: z.string().transform(Number) }))).toEqual(underivable(/Transforms cannot/));
    const other = invalid(/event "Counted": puts out something else than it takes in/);
    expect(withEvent(z.object({ n: z.string().transform(Number).pipe(z.number()) }))).toEqual(other);
    expect(withEvent(z.object({ yes: z.stringbool() }))).toEqual(other);
    const piped = v.object({ n: v.pipe(v.string(), v.transform(Number), v.number()) });
    expect(withEvent(toStandardJsonSchema(piped))).toEqual(other);
  });
  test('defaults, optional and nullable fields, recursion and unions are fine', () => {
    const tree = z.object({
      name: z.string().default('leaf'),
      note: z.string().nullable().optional(),
      get children() {
        return z.array(tree);
      },
    });
    const either = z.discriminatedUnion('kind', [
      z.object({ kind: z.literal('a'), tree }),
      z.object({ kind: z.literal('b'), any: z.unknown() }),
    ]);
    expect(() => buildModel([of(counter({ events: { Counted: either } }))])).not.toThrow();
  });
  test('a schema without Standard JSON Schema is refused with the cure', () => {
    expect(withEvent(v.object({ n: v.number() }))).toEqual(underivable(/toStandardJsonSchema\(\)/));
  });
  test('command schemas may transform, from JSON', () => {
    const commands = { Count: z.object({ by: z.string().transform(Number) }) };
    expect(() => buildModel([of(counter({ commands }))])).not.toThrow();
    expect(refused(counter({ commands: { Count: z.object({ at: z.date() }) } }))).toEqual(
      underivable(/command "Count".*Date/),
    );
  });
});

describe('event versions', () => {
  const schema = z.object({ by: z.int(), unit: z.string() });
  const versioned = (options: unknown) => counter({ events: { Counted: event(schema, untyped(options)) } });

  test('old data is led through every version, and checked', () => {
    const model = buildModel([
      of(
        versioned({
          version: 3,
          upcast: {
            1: (old: Record<string, unknown>) => ({ by: old.amount }),
            2: (old: Record<string, unknown>) => ({ ...old, unit: 'piece' }),
          },
        }),
      ),
    ]);
    const counted = model.events.get('Counted');
    expect(counted?.decode(1, { amount: 2 })).toEqual({ by: 2, unit: 'piece' });
    expect(counted?.decode(2, { by: 2 })).toEqual({ by: 2, unit: 'piece' });
    expect(counted?.decode(3, { by: 2, unit: 'box' })).toEqual({ by: 2, unit: 'box' });
    expect(refusal(() => counted?.decode(1, { sum: 2 })).code).toBe('EVENT_INVALID');
    for (const version of [4, 0, 1.5, Number.NaN]) {
      expect(refusal(() => counted?.decode(version, {})).code).toBe('UNKNOWN_EVENT');
    }
  });
  test('a gap, a surplus upcast and a version that is no version are refused', () => {
    const step = (old: unknown) => old;
    expect(refused(versioned({ version: 3, upcast: { 1: step } }))).toEqual(invalid(/no upcast from version 2 to 3/));
    expect(refused(versioned({ version: 2, upcast: { 1: 'x' } }))).toEqual(invalid(/no upcast from version 1 to 2/));
    expect(refused(versioned({ version: 2, upcast: { 1: step, 2: step } }))).toEqual(invalid(/upcast 2 leads nowhere/));
    expect(refused(versioned({ version: 1, upcast: { one: step } }))).toEqual(invalid(/upcast one leads nowhere/));
    for (const version of [0, 1.5, '2', undefined]) {
      expect(refused(versioned({ version }))).toEqual(invalid(/event "Counted": version is/));
    }
  });
});

describe('views, projectors and queries', () => {
  const withView = (schema: unknown, indexes: unknown = []) => {
    const into = view('total', untyped<typeof totals.schema>(schema), { indexes: untyped(indexes) });
    return refused(counter(), into, keep({ into }));
  };

  test('a view is an object of named fields that leave the marks of the platform alone', () => {
    expect(withView(z.string())).toEqual(invalid(/view "total": its schema is no object/));
    expect(withView(z.record(z.string(), z.string()))).toEqual(invalid(/is no object with fields known by name/));
    expect(withView(z.looseObject({ a: z.string() }))).toEqual(invalid(/is no object with fields known by name/));
    for (const name of ['_version', '$set', 'a.b']) {
      expect(withView(z.object({ [name]: z.string() }))).toEqual(invalid(/begins with "_" or "\$" or holds a dot/));
    }
    expect(withView(z.object({ id: z.number() }))).toEqual(invalid(/field "id" is no string/));
    expect(withView(z.object({ at: z.date() })).code).toBe('SCHEMA_NOT_DERIVABLE');
  });
  test('an index names top-level fields with one value', () => {
    const schema = z.object({ id: z.string(), kind: z.enum(['a', 'b']).nullable(), tags: z.array(z.string()) });
    expect(withView(schema, [{ knd: 1 }])).toEqual(invalid(/indexes\[0\]: field "knd" is not in the view's schema/));
    expect(withView(schema, [{ 'tags.x': 1 }])).toEqual(invalid(/Copy the nested value into a field of its own/));
    expect(withView(schema, [{ tags: 1 }])).toEqual(invalid(/field "tags" holds more than one value/));
    expect(withView(schema, [{ kind: 2 }])).toEqual(invalid(/direction 2. Use 1 or -1/));
    expect(withView(schema, [{}])).toEqual(invalid(/indexes\[0\]: names no field/));
    expect(withView(schema, [{ kind: 1 }, { kind: 1 }])).toEqual(invalid(/declared twice/));
    expect(withView(schema, { kind: 1 })).toEqual(invalid(/`indexes` is object/));
  });
  test('a projector has handlers, for events of its sources, and keeps a view of its module', () => {
    expect(refused(counter(), totals, keep({ on: {} }))).toEqual(invalid(/projector "totals": handles no event/));
    expect(refused(counter(), totals, keep({ on: undefined }))).toEqual(invalid(/handles no event/));
    expect(refused(counter(), totals, keep({ on: { Cuonted: () => null } }))).toEqual(
      invalid(/has a handler for "Cuonted", which none of its sources has/),
    );
    expect(refused(totals, keep())).toEqual(invalid(/reads from aggregate "counter", which is in no module/));
    expect(refused(counter(), keep())).toEqual(invalid(/writes view "total", which is in no module/));
    expect(refused(counter(), view('total', totals.schema), keep())).toEqual(invalid(/writes another view "total"/));
    expect(refused(counter(), totals)).toEqual(invalid(/View "total": has no projector/));
    expect(refused(counter(), totals, keep({ version: 0 }))).toEqual(invalid(/version is 0/));
    expect(refused(counter(), totals, keep({ from: [undefined] }))).toEqual(invalid(/`from` holds something/));
    expect(refused(counter(), totals, keep({ into: undefined }))).toEqual(invalid(/`into` is no view/));
  });
  test('a projector has a mode; a live one is stored by nobody, so it has nothing that only a stored one can have', () => {
    expect(refused(counter(), totals, keep({ mode: 'lazy' }))).toEqual(invalid(/`mode` must be 'async', 'inline' or/));
    const built = (mode?: string) => buildModel([of(counter(), totals, keep({ mode }))]);
    expect(built().consumers).toMatchObject([{ name: 'totals', projector: { mode: 'async' } }]);
    expect(built('inline').projectorOf.get('total')).toMatchObject({ projector: { mode: 'inline' } });
    const live = built('live');
    expect([live.consumers, [...live.projectorOf], [...live.liveProjectorOf.keys()]]).toEqual([[], [], ['total']]);
    const keepLive = (change: object) => refused(counter(), totals, keep({ mode: 'live', ...change }));
    expect(keepLive({ version: 2, previous: keep() })).toEqual(invalid(/has mode 'live' and a `previous`/));
    expect(keepLive({ startFrom: 'now' })).toEqual(invalid(/has mode 'live' and a `startFrom`/));
    const stored = keep({ version: 2, previous: keep({ mode: 'live' }) });
    expect(refused(counter(), totals, stored)).toEqual(invalid(/`previous` has mode 'live'/));
    const custom = { ...keep({ mode: 'live' }), write: () => undefined };
    expect(refused(counter(), totals, custom)).toEqual(invalid(/custom projector with mode 'live'/));
    const again = keep({ name: 'again' });
    expect(refused(counter(), totals, keep({ mode: 'live' }), again)).toMatchObject({ code: 'NAME_TAKEN' });
  });
  test('a query has schemas that can be derived and something to run', () => {
    type AnyQuerySpec = Parameters<typeof query>[0];
    const ask = (change: object) =>
      refused(
        query(untyped<AnyQuerySpec>({ name: 'q', input: z.object({}), output: z.string(), run: () => '', ...change })),
      );
    expect(ask({ run: undefined })).toEqual(invalid(/query "q": `run` is undefined/));
    expect(ask({ input: undefined })).toEqual(invalid(/query "q", input: is no Standard Schema/));
    expect(ask({ output: z.date() }).code).toBe('SCHEMA_NOT_DERIVABLE');
  });
});
