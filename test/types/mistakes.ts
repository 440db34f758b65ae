/**
 * What must not compile, each mistake in its place. `npm run typecheck` is the test; test/types.test.ts reads the
 * error that each gives: it is short and holds what stands after the arrow.
 */
import { aggregate, command, customProjector, event, projector, query, saga, service, view } from 'millrace';
import { spec } from 'millrace/testing';
import { z } from 'zod';

type State = { status: 'none' | 'open'; tags: string[] };
const events = { Opened: z.object({ owner: z.string() }), Tagged: z.object({ tag: z.string() }) };
const commands = { Open: z.object({ owner: z.string() }), Tag: z.object({ tag: z.string() }) };
const initial = (): State => ({ status: 'none', tags: [] });
const evolve = { Opened: (s: State) => s, Tagged: (s: State) => s };
const decide = { Open: () => [], Tag: () => [] };
const good = { name: 'thing', events, commands, initial, evolve, decide } as const;
const thing = aggregate(good);

/* Events and commands */
aggregate({
  ...good,
  decide: {
    // @ts-expect-error an unknown event → "Opend"
    Open: () => ({ type: 'Opend', data: { owner: 'x' } }),
    // @ts-expect-error an unknown event in a list → "Taged"
    Tag: (_s, data) => [{ type: 'Taged', data }],
  },
});
aggregate({
  ...good,
  decide: {
    // @ts-expect-error wrong data → 'number' is not assignable to type 'string'
    Open: (_s, { owner }) => ({ type: 'Opened', data: { owner: owner.length } }),
    // @ts-expect-error data is missing a field → Property 'tag' is missing
    Tag: () => ({ type: 'Tagged', data: {} }),
  },
});
// @ts-expect-error a missing evolve → Property 'Tagged' is missing
aggregate({ ...good, evolve: { Opened: (s) => s } });
// @ts-expect-error a missing decide → Property 'Tag' is missing
aggregate({ ...good, decide: { Open: () => [] } });
aggregate({
  ...good,
  // @ts-expect-error evolve of an event that is not declared → 'Closed' does not exist
  evolve: { Opened: (s: State) => s, Tagged: (s: State) => s, Closed: (s: State) => s },
});
aggregate({
  ...good,
  evolve: {
    // @ts-expect-error a state that there is not → "opn"
    Opened: (s) => ({ ...s, status: 'opn' }),
    // @ts-expect-error a field of data that there is not → 'tga' does not exist
    Tagged: (s, { tga }) => ({ ...s, tags: [tga] }),
  },
});
// @ts-expect-error a command that is not declared cannot create → "Opn"
aggregate({ ...good, creates: ['Opn'] });
// @ts-expect-error an event that is not declared cannot close → "Open"
aggregate({ ...good, closes: ['Open'] });
// @ts-expect-error a field that the command does not have → 'pin' does not exist
aggregate({ ...good, fields: { Open: { pin: { store: false } } } });

/* Rejections */
aggregate({
  ...good,
  rejections: ['TAKEN', 'FULL'],
  decide: {
    // @ts-expect-error an unknown rejection → "TKAEN"
    Open: (_s, _data, { reject }) => reject('TKAEN', 'is taken'),
    Tag: (_s, _data, { reject }) => reject('FULL', 'is full'),
  },
});
aggregate({
  ...good,
  decide: {
    // @ts-expect-error no rejections are declared → "TAKEN"
    Open: (_s, _data, { reject }) => reject('TAKEN', 'is taken'),
    Tag: () => [],
  },
});

/* Schemas */
// @ts-expect-error a Date is not JSON → must be JSON
aggregate({ ...good, events: { ...events, Tagged: z.object({ at: z.date() }) } });
const deep = z.object({ a: z.array(z.object({ b: z.map(z.string(), z.int()) })) });
// @ts-expect-error a Map is not JSON, however deep → must be JSON
aggregate({ ...good, events: { ...events, Tagged: deep } });
// @ts-expect-error a bigint is not JSON, in a later version either → must be JSON
aggregate({ ...good, events: { ...events, Tagged: event(z.object({ n: z.bigint() }), { version: 1 }) } });
// @ts-expect-error an event schema must accept its own output → must accept its own output
aggregate({ ...good, events: { ...events, Tagged: z.object({ n: z.string().transform(Number) }) } });
// @ts-expect-error a client cannot send a Date → must take JSON
aggregate({ ...good, commands: { ...commands, Tag: z.object({ at: z.date() }) } });

/* Views */
const schema = z.object({ id: z.string(), kind: z.enum(['a', 'b']), tags: z.array(z.string()) });
const things = view('thing', schema, { indexes: [{ kind: 1 }] });
// @ts-expect-error an index on a field that there is not → 'knd' does not exist
view('thing', schema, { indexes: [{ knd: 1 }] });
// @ts-expect-error an index on a list → 'tags' does not exist
view('thing', schema, { indexes: [{ tags: 1 }] });
// @ts-expect-error a direction that there is not → '2' is not assignable
view('thing', schema, { indexes: [{ kind: 2 }] });
// @ts-expect-error a field of the platform's → no field may begin with _ or $
view('thing', z.object({ id: z.string(), _version: z.int() }));
// @ts-expect-error a document is an object → must be an object
view('thing', z.array(schema));
// @ts-expect-error a Date is not JSON → must be JSON
view('thing', z.object({ id: z.string(), at: z.date() }));

/* Projectors */
const from = [thing] as const;
// @ts-expect-error an event that no source has → 'Taged' does not exist
projector({ name: 'p', version: 1, from, into: things, on: { Taged: () => null } });
projector({
  name: 'p',
  version: 1,
  from,
  into: things,
  on: {
    // @ts-expect-error a document that does not fit → '"c"' is not assignable
    Opened: () => ({ id: 'x', kind: 'c', tags: [] }),
    // @ts-expect-error a field of data that there is not → 'tga' does not exist
    Tagged: (doc, { data }) => doc && { ...doc, tags: [data.tga] },
  },
});
projector({
  name: 'p',
  version: 1,
  from,
  into: things,
  // @ts-expect-error a projector has nothing to send with → provides too few arguments
  on: { Opened: (_doc, _event, _key, { send }) => send(thing, 'x', { type: 'Open', data: { owner: 'x' } }) },
});

// @ts-expect-error a mode that there is not → '"lazy"' is not assignable
projector({ name: 'p', version: 1, from, into: things, mode: 'lazy', on: { Opened: () => null } });
// @ts-expect-error a custom projector cannot be folded alone → '"live"' is not assignable
customProjector({ name: 'p', version: 1, from, into: things, mode: 'live', on: { Opened: () => undefined } });

/* Sagas */
const reacting = { name: 's', from, initial: () => ({ count: 0 }) } as const;
// @ts-expect-error an event that no source has → 'Taged' does not exist
saga({ ...reacting, on: { Taged: () => undefined } });
// @ts-expect-error a state that there is not → Property 'count' is missing
saga({ ...reacting, on: { Opened: (state) => ({ state: { cuont: state.count + 1 } }) } });
// @ts-expect-error a field of a reaction that there is not → has no properties in common
saga({ ...reacting, on: { Opened: () => ({ sned: [] }) } });
// @ts-expect-error a saga is pure → Type 'Promise<{ end: boolean; }>'
saga({ ...reacting, on: { Opened: async () => ({ end: true }) } });
// @ts-expect-error an event that starts nothing → "Opend"
saga({ ...reacting, starts: ['Opend'], on: { Opened: () => undefined } });
saga({
  ...reacting,
  // @ts-expect-error a command that the aggregate does not have → "Opne"
  on: { Opened: () => ({ send: [command(thing, 'x', { type: 'Opne', data: { owner: 'x' } })] }) },
});
// @ts-expect-error a field of an event's data that there is not → 'ownr' does not exist
saga({ ...reacting, key: ({ data }) => data.ownr, on: { Opened: () => undefined } });

/* Queries */
const input = z.object({ limit: z.int() });
const output = z.array(schema);
// @ts-expect-error a typo in the input → 'limt' does not exist
query({ name: 'q', input, output, run: ({ limt }, read) => read(things).list({ limit: limt }) });
// @ts-expect-error a filter on a field that there is not → 'knd' does not exist
query({ name: 'q', input, output, run: (_input, read) => read(things).list({ filter: { knd: 'a' } }) });
// @ts-expect-error a filter with a value that there is not → "c"
query({ name: 'q', input, output, run: (_input, read) => read(things).list({ filter: { kind: 'c' } }) });
// @ts-expect-error a sort by a field that there is not → 'knd' does not exist
query({ name: 'q', input, output, run: (_input, read) => read(things).list({ sort: { knd: 1 } }) });
// @ts-expect-error a query has no way to write → 'put' does not exist
query({ name: 'q', input, output, run: (_input, read) => read(things).put({ id: 'x' }) });
// @ts-expect-error another output than declared → is not assignable to type 'string'
query({ name: 'q', input, output: z.array(z.string()), run: (_input, read) => read(things).list() });

/* Specs */
const given = spec(thing).given({ type: 'Opened', data: { owner: 'x' } });
// @ts-expect-error an unknown command → "Opne"
given.when({ type: 'Opne', data: { owner: 'x' } });
// @ts-expect-error an unknown event → "Opend"
spec(thing).given({ type: 'Opend', data: { owner: 'x' } });
// @ts-expect-error a projector is not commanded → 'when' does not exist
spec(projector({ name: 'p', version: 1, from, into: things, on: { Opened: () => null } })).given().when;

/* Services */
const card = {
  name: 'card',
  events: { Charged: z.object({ sum: z.number() }) },
  commands: { Charge: z.object({ sum: z.number() }) },
  rejections: ['DECLINED'],
} as const;
service({
  ...card,
  handle: {
    // @ts-expect-error a service answers with an unknown event → "Chargd"
    Charge: async (data) => ({ type: 'Chargd', data }),
  },
});
service({
  ...card,
  handle: {
    // @ts-expect-error a service answers with wrong data → 'string' is not assignable to type 'number'
    Charge: async ({ sum }) => ({ type: 'Charged', data: { sum: String(sum) } }),
  },
});
service({
  ...card,
  handle: {
    // @ts-expect-error a service refuses with an undeclared code → "DECLIND"
    Charge: async (_data, { reject }) => reject('DECLIND', 'no money'),
  },
});
// @ts-expect-error a service without a handler → Property 'Charge' is missing
service({ ...card, handle: {} });
const cards = service({ ...card, handle: { Charge: async (data) => ({ type: 'Charged', data }) } });
// @ts-expect-error a command of a service with wrong data → 'string' is not assignable to type 'number'
command(cards, 'c', { type: 'Charge', data: { sum: '1' } });
