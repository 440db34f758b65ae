import type { Db } from 'mongodb';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createSchemaBuilder, exposeModule } from '../../resolvers/index.ts';
import {
  type AsOf,
  aggregate,
  event,
  type HistoryStep,
  module,
  projector,
  type RunningApp,
  readSettings,
  start,
  view,
} from '../../src/index.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import type { LogDocument } from '../../src/store/documents.ts';
import { post } from '../setup/gateway.ts';
import { testServers } from '../setup/servers.ts';
import { logger } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/*
 * Crates that are made, moved from shelf to shelf, sealed by another aggregate, broken and made again. What they were is checked
 * against a replay written here, which shares no code with the platform.
 */
const POISON = 'poison';
const crateEvents = {
  CrateMoved: z.object({ from: z.string(), to: z.string() }),
  CrateBroken: z.object({ from: z.string() }),
  CrateSeen: z.object({}),
};
const commands = {
  MakeCrate: z.object({ shelf: z.string() }),
  MoveCrate: z.object({ from: z.string(), to: z.string() }),
  BreakCrate: z.object({ from: z.string() }),
  SeeCrate: z.object({}),
};
const decide = {
  MoveCrate: (_s: null, data: { from: string; to: string }) => ({ type: 'CrateMoved', data }) as const,
  BreakCrate: (_s: null, data: { from: string }) => ({ type: 'CrateBroken', data }) as const,
  SeeCrate: () => ({ type: 'CrateSeen', data: {} }) as const,
};
const evolve = { CrateMade: () => null, CrateMoved: () => null, CrateBroken: () => null, CrateSeen: () => null };
/** As it was deployed first. */
const oldCrate = aggregate({
  name: 'crate',
  events: { CrateMade: z.object({ place: z.string() }), ...crateEvents },
  commands,
  initial: () => null,
  evolve,
  decide: { ...decide, MakeCrate: (_s, { shelf }) => ({ type: 'CrateMade', data: { place: shelf } }) },
});
const crate = aggregate({
  name: 'crate',
  events: {
    CrateMade: event(z.object({ shelf: z.string() }), {
      version: 2,
      upcast: { 1: (old) => ({ shelf: (old as { place: string }).place }) },
    }),
    ...crateEvents,
  },
  commands,
  initial: () => null,
  evolve,
  decide: { ...decide, MakeCrate: (_s, data) => ({ type: 'CrateMade', data }) },
});
const seal = aggregate({
  name: 'seal',
  events: { SealSet: z.object({ text: z.string() }) },
  commands: { SetSeal: z.object({ text: z.string() }) },
  initial: () => null,
  evolve: { SealSet: () => null },
  decide: { SetSeal: (_s, data) => ({ type: 'SealSet', data }) },
});
const crateView = view(
  'crate',
  z.object({ id: z.string(), shelf: z.string(), moves: z.int(), seal: z.string().optional(), secret: z.string() }),
);
const crates = projector({
  name: 'crates',
  version: 1,
  from: [crate, seal],
  into: crateView,
  attempts: 1,
  on: {
    CrateMade: (doc, { stream, data }) =>
      doc ?? { id: stream.id, shelf: data.shelf, moves: 0, secret: `secret of ${stream.id}` },
    CrateMoved: (doc, { data }) => {
      if (data.to === POISON) throw new Error('this shelf breaks the handler');
      return doc && { ...doc, shelf: data.to, moves: doc.moves + 1 };
    },
    CrateBroken: () => null,
    SealSet: (doc, { data }) => doc && { ...doc, seal: data.text },
  },
});
/** Several documents an event: the shelf that it leaves and the one that it comes to. */
const shelfView = view('shelf', z.object({ id: z.string(), crates: z.array(z.string()) }));
const shelves = projector({
  name: 'shelves',
  version: 1,
  from: [crate],
  into: shelfView,
  key: ({ type, data }) => {
    if (type === 'CrateMade') return data.shelf;
    if (type === 'CrateMoved') return [data.from, data.to];
    return type === 'CrateBroken' ? data.from : [];
  },
  on: {
    CrateMade: (doc, { stream, data }) => ({
      id: data.shelf,
      crates: without(doc?.crates, stream.id).concat(stream.id),
    }),
    CrateMoved: (doc, { stream, data }, key) => {
      const rest = without(doc?.crates, stream.id);
      if (key === data.to) return { id: key, crates: rest.concat(stream.id) };
      return rest.length === 0 ? null : { id: key, crates: rest };
    },
    CrateBroken: (doc, { stream, data }) => {
      const rest = without(doc?.crates, stream.id);
      return rest.length === 0 ? null : { id: data.from, crates: rest };
    },
  },
});
const without = (list: readonly string[] | undefined, id: string): string[] => (list ?? []).filter((one) => one !== id);

const parts = module({ name: 'stock', parts: [crate, seal, crateView, crates, shelfView, shelves] });
const builder = createSchemaBuilder();
exposeModule(builder, parts, {
  views: { crate: { fields: { secret: { hidden: true }, moves: { name: 'moveCount' } } } },
});
const schema = builder.toSchema();

const servers = testServers();
const MAX_EVENTS = 400;
const settings = readSettings({
  MONGODB_URL: servers.mongoUrl,
  MONGODB_DATABASE: servers.database,
  REDIS_URL: servers.redisUrl,
  REDIS_PREFIX: servers.prefix,
  SWEEP_INTERVAL_MS: '250',
  HISTORY_MAX_EVENTS: String(MAX_EVENTS),
  PORT: '0',
});
const CRATES = ['a', 'b', 'c', 'd'];
const SHELVES = ['s1', 's2', 's3'];

let app: RunningApp;
let connection: Connection;
let db: Db;
/** Shelf of each crate that there is. */
const at = new Map<string, string>();

/** A seeded generator: a run that fails can be run again. */
let seed = 20_261;
const random = (below: number): number => {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
  return (seed >>> 8) % below;
};
const oneOf = (list: readonly string[]): string => list[random(list.length)] as string;

async function act(running: RunningApp, made: typeof crate | typeof oldCrate): Promise<void> {
  const id = oneOf(CRATES);
  const from = at.get(id);
  const to = oneOf(SHELVES);
  const send = async (type: keyof typeof commands, data: object): Promise<void> => {
    const outcome = await running.send(made, id, { type, data } as never);
    expect(outcome.kind).toBe('accepted');
  };
  if (from === undefined) {
    await send('MakeCrate', { shelf: to });
    at.set(id, to);
  } else if (random(8) === 0) {
    await send('BreakCrate', { from });
    at.delete(id);
  } else if (random(10) === 0) await send('SeeCrate', {});
  else if (from !== to) {
    await send('MoveCrate', { from, to });
    at.set(id, to);
  } else if (made === crate) {
    await running.send(seal, id, { type: 'SetSeal', data: { text: `seal ${random(100)}` } });
  }
}

const end = async (): Promise<number> => (await db.collection<LogDocument>('events').countDocuments()) || 0;
const levelled = (): Promise<true> =>
  until('the views are level with the commits', async () => {
    const commits = await db.collection('commits').countDocuments({ version: { $exists: true } });
    const states = await app.runtime.consumers();
    return states.every(({ caughtUp, logEnd }) => caughtUp && logEnd === commits) || undefined;
  });

/** The replay: what both views hold after the event at `position`. */
async function replay(position: number): Promise<{ crates: Map<string, object>; shelves: Map<string, object> }> {
  const found = { crates: new Map<string, object>(), shelves: new Map<string, object>() };
  const events = db
    .collection<LogDocument>('events')
    .find({ _id: { $lte: position } })
    .sort({ _id: 1 });
  const held = new Map<string, string[]>();
  for await (const { type, data, stream } of events) {
    const id = stream.split('/')[2] as string;
    const { shelf, place, from, to, text } = data as Record<string, string>;
    const known = found.crates.get(id) as Record<string, unknown> | undefined;
    const leave = (name: string): void => {
      held.set(
        name,
        (held.get(name) ?? []).filter((one) => one !== id),
      );
    };
    const enter = (name: string): void => {
      leave(name);
      held.get(name)?.push(id);
    };
    if (type === 'CrateMade') {
      const name = (shelf ?? place) as string;
      if (known === undefined) found.crates.set(id, { id, shelf: name, moves: 0, secret: `secret of ${id}` });
      enter(name);
    } else if (type === 'CrateMoved') {
      if (known !== undefined) found.crates.set(id, { ...known, shelf: to, moves: (known.moves as number) + 1 });
      leave(from as string);
      enter(to as string);
    } else if (type === 'CrateBroken') {
      found.crates.delete(id);
      leave(from as string);
    } else if (type === 'SealSet' && known !== undefined) found.crates.set(id, { ...known, seal: text });
  }
  for (const [name, list] of held) if (list.length > 0) found.shelves.set(name, { id: name, crates: list });
  return found;
}

const asOf = async (name: string, id: string, when: AsOf): Promise<unknown> =>
  (await app.runtime.documentAsOf(name, id, when))?.document;
const codeOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'no error',
    (error: { code?: unknown }) => error.code,
  );
async function wholeHistory(name: string, id: string, first: number): Promise<readonly HistoryStep[]> {
  const steps: HistoryStep[] = [];
  for (let after: string | null = null; ; ) {
    const page = await app.runtime.documentHistory(name, id, { first, after });
    expect(page.pageInfo.hasPreviousPage).toBe(after !== null);
    steps.push(...page.edges.map(({ node }) => node));
    after = page.pageInfo.endCursor;
    if (!page.pageInfo.hasNextPage) return steps;
    expect(page.edges).toHaveLength(first);
  }
}
const ask = (query: string) => post(app.url ?? '', JSON.stringify({ query }));

beforeAll(async () => {
  connection = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  db = connection.db;
  const old = await start({
    modules: [module({ name: 'stock', parts: [oldCrate] })],
    settings,
    role: 'gateway',
    logger,
  });
  for (let count = 0; count < 40; count++) await act(old, oldCrate);
  await old.stop();
  app = await start({ modules: [parts], schema, settings, logger });
  for (let count = 0; count < 220; count++) await act(app, crate);
  await levelled();
});
afterAll(async () => {
  await app?.stop();
  await connection?.client.close();
});

describe('a document as of a position', () => {
  test('equals a replay of the log up to there, for 100 positions, documents that were removed and made again, several keys an event, and events of an older version', async () => {
    const last = await end();
    const stored = await db.collection<LogDocument>('events').distinct('schemaVersion', { type: 'CrateMade' });
    expect(stored.sort()).toEqual([1, 2]);
    const seen = { there: 0, gone: 0 };
    for (let count = 0; count < 100; count++) {
      const position = random(last + 1);
      const expected = await replay(position);
      await Promise.all([
        ...[oneOf(CRATES), oneOf(CRATES)].map(async (id) => {
          const found = await asOf('crate', id, { position });
          expect(found, `crate ${id} at ${position}`).toEqual(expected.crates.get(id));
          seen[found === undefined ? 'gone' : 'there']++;
        }),
        ...[oneOf(SHELVES)].map(async (id) => {
          expect(await asOf('shelf', id, { position }), `shelf ${id} at ${position}`).toEqual(expected.shelves.get(id));
        }),
      ]);
    }
    expect(seen.there).toBeGreaterThan(50);
    expect(seen.gone).toBeGreaterThan(10);
  });
  test('at the end of the log equals what the view holds', async () => {
    const position = await end();
    for (const id of CRATES) {
      expect(await asOf('crate', id, { position })).toEqual((await app.runtime.document('crate', id))?.document);
    }
  });
  test('before its first event, and for an id that never was, there is none', async () => {
    expect(await asOf('crate', 'a', { position: 0 })).toBeUndefined();
    expect(await asOf('crate', 'nobody', { position: await end() })).toBeUndefined();
  });
});

describe('a document as of a version or a time', () => {
  test('the versions are those of subscriptions, and the steps of its history', async () => {
    const shown = new Map<number, unknown>();
    const stop = new AbortController();
    const watching = (async () => {
      for await (const { node } of app.runtime.watchDocument('crate', 'watched', undefined, stop.signal)) {
        if (node !== null) shown.set(node.version, node.document);
      }
    })();
    const send = (type: keyof typeof commands, data: object) => app.send(crate, 'watched', { type, data } as never);
    for (let round = 0; round < 3; round++) {
      await send('MakeCrate', { shelf: 's1' });
      await send('MoveCrate', { from: 's1', to: 's2' });
      await send('BreakCrate', { from: 's2' });
    }
    await send('MakeCrate', { shelf: 's3' });
    await until('the last version is shown', () => shown.get(10));
    stop.abort();
    await watching;
    expect(await app.runtime.document('crate', 'watched')).toMatchObject({ version: 10 });
    for (const [version, document] of shown) expect(await asOf('crate', 'watched', { version })).toEqual(document);
    expect(await asOf('crate', 'watched', { version: 0 })).toBeUndefined();
    expect(await asOf('crate', 'watched', { version: 3 })).toBeUndefined();
    const steps = await wholeHistory('crate', 'watched', 4);
    expect(steps.map(({ version }) => version)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    for (const { version, document } of steps) {
      expect((await asOf('crate', 'watched', { version: version as number })) ?? null).toEqual(document);
    }
    await levelled();
  });
  test('a time means all events of the document up to then', async () => {
    for (const { event: one, document } of await wholeHistory('crate', 'watched', 100)) {
      const next = await db
        .collection<LogDocument>('events')
        .findOne({ stream: 'default/crate/watched', version: one.stream.version + 1 });
      if (next !== null && next.at.getTime() === one.at.getTime()) continue;
      expect((await asOf('crate', 'watched', { time: one.at })) ?? null).toEqual(document);
    }
    expect(await asOf('crate', 'watched', { time: new Date(0) })).toBeUndefined();
  });
  test('what has not come yet is refused, naming what there is', async () => {
    const last = await end();
    const refused = app.runtime.documentAsOf('crate', 'watched', { position: last + 1 });
    await expect(refused).rejects.toMatchObject({
      code: 'BAD_INPUT',
      message: expect.stringContaining(`ends at ${last}`),
    });
    const version = app.runtime.documentAsOf('crate', 'watched', { version: 11 });
    await expect(version).rejects.toMatchObject({
      code: 'BAD_INPUT',
      message: expect.stringContaining('version is 10'),
    });
    const future = new Date(Date.now() + 60_000);
    expect(await codeOf(app.runtime.documentAsOf('crate', 'watched', { time: future }))).toBe('BAD_INPUT');
  });
  test.each([
    {},
    { position: 1, version: 1 },
    { position: -1 },
    { position: 1.5 },
    { time: new Date('no') },
    { version: '1' },
    { moment: 1 },
  ])('asOf %j is no past', async (when) => {
    expect(await codeOf(app.runtime.documentAsOf('crate', 'a', when as never))).toBe('BAD_INPUT');
  });
});

describe('a history', () => {
  test('pages hold every step once, whatever their size, with the fields that changed, the event and its command', async () => {
    const whole = await wholeHistory('crate', 'a', 1_000);
    expect(await wholeHistory('crate', 'a', 7)).toEqual(whole);
    const positions = whole.map((step) => step.event.position);
    expect(positions).toEqual([...new Set(positions)].sort((one, other) => one - other));
    let before: Readonly<Record<string, unknown>> = {};
    for (const { document, changes, event: one } of whole) {
      expect(one.commandId).toEqual(expect.any(String));
      for (const change of changes) expect(change.before).toEqual(before[change.field]);
      const after: Record<string, unknown> = { ...before };
      for (const change of changes) after[change.field] = change.after;
      for (const field of Object.keys(after)) if (after[field] === undefined) delete after[field];
      expect(after).toEqual(document ?? {});
      before = document ?? {};
    }
    expect(whole.some(({ document }) => document === null)).toBe(true);
  });
  test('cursors of other documents are refused', async () => {
    const page = await app.runtime.documentHistory('crate', 'a', { first: 1 });
    const other = app.runtime.documentHistory('crate', 'b', { after: page.pageInfo.endCursor });
    expect(await codeOf(other)).toBe('BAD_CURSOR');
  });
});

describe('over GraphQL', () => {
  test('fields have the names of the type, and what is hidden stays hidden', async () => {
    const { data, errors } = await ask(
      '{ crateHistory(id: "watched", first: 2) { edges { cursor node { node { id moveCount } version changes { field before after } event { type } position at actor commandId } } pageInfo { hasNextPage } } }',
    );
    expect(errors).toEqual([]);
    expect(data.crateHistory.pageInfo).toEqual({ hasNextPage: true });
    const [made, moved] = data.crateHistory.edges.map(({ node }: { node: unknown }) => node);
    expect(made).toMatchObject({
      node: { id: 'watched', moveCount: 0 },
      version: 1,
      event: { type: 'CrateMade' },
      actor: null,
    });
    expect(made.changes.map(({ field }: { field: string }) => field).sort()).toEqual(['id', 'moveCount', 'shelf']);
    expect(moved.changes).toEqual([
      { field: 'shelf', before: 's1', after: 's2' },
      { field: 'moveCount', before: 0, after: 1 },
    ]);
    const before = await ask(`{ crate(id: "watched", asOf: { position: "${moved.position}" }) { shelf } }`);
    expect(before.data).toEqual({ crate: { shelf: 's2' } });
  });
  test('asOf names exactly one past, no token beside it, and an operation asks ten times at most', async () => {
    const code = async (query: string) => (await ask(query)).errors[0]?.extensions.code;
    expect(await code('{ crate(id: "a", asOf: { version: 1, position: "1" }) { id } }')).toBe(
      'GRAPHQL_VALIDATION_FAILED',
    );
    expect(await code('{ crate(id: "a", asOf: { position: "x" }) { id } }')).toBe('BAD_INPUT');
    expect(await code('{ crate(id: "a", asOf: { time: "2999-01-01T00:00:00Z" }) { id } }')).toBe('BAD_INPUT');
    expect(await code('{ crate(id: "a", atLeast: "x", asOf: { version: 1 }) { id } }')).toBe('BAD_INPUT');
    const many = Array.from({ length: 11 }, (_, index) => `c${index}: crate(id: "a", asOf: { position: "1" }) { id }`);
    expect(await code(`{ ${many.join(' ')} }`)).toBe('QUERY_TOO_COMPLEX');
  });
});

describe('what operators did', () => {
  test('the fold stops where the projector fails; once that event is skipped it is left out, like in the view', async () => {
    const send = (type: keyof typeof commands, data: object) => app.send(crate, 'broken', { type, data } as never);
    await send('MakeCrate', { shelf: 's1' });
    await send('MoveCrate', { from: 's1', to: POISON });
    await send('MoveCrate', { from: POISON, to: 's2' });
    const letter = await until('the crate has a dead letter', () =>
      db
        .collection('dead_letters')
        .findOne({ key: 'broken', state: 'DEAD' })
        .then((found) => found ?? undefined),
    );
    const last = await until('all is placed', async () =>
      (await end()) > Number(letter.position) ? end() : undefined,
    );
    await expect(app.runtime.documentAsOf('crate', 'broken', { position: last })).rejects.toMatchObject({
      code: 'VIEW_BEHIND',
      details: { reason: 'PARKED' },
    });
    const known = await app.runtime.documentHistory('crate', 'broken');
    expect(known.edges.map(({ node }) => node.event.type)).toEqual(['CrateMade']);
    expect(known.pageInfo.hasNextPage).toBe(true);
    await app.runtime.operators.skipDeadLetter(String(letter._id), { reason: 'test', actor: null });
    await until('the crate flows', async () =>
      (await app.runtime.document('crate', 'broken'))?.version === 2 ? true : undefined,
    );
    expect(await asOf('crate', 'broken', { position: last })).toMatchObject({ shelf: 's2', moves: 1 });
    expect(await asOf('crate', 'broken', { version: 2 })).toMatchObject({ shelf: 's2', moves: 1 });
    expect((await wholeHistory('crate', 'broken', 10)).map(({ version }) => version)).toEqual([1, 2]);
  });
  test('after a reset versions go on where subscriptions saw them, and events before its position are not known', async () => {
    const { operators } = app.runtime;
    const call = { reason: 'test', actor: null };
    const versionOf = async () => (await app.runtime.document('crate', 'watched'))?.version;
    const reset = async (position: number) => {
      await operators.pauseConsumer('crates', call);
      await operators.resetConsumer('crates', { position }, call);
      await operators.resumeConsumer('crates', call);
    };
    await reset(0);
    // Ten steps before it, the reset itself, and the same ten again.
    await until('the view is built anew', async () => ((await versionOf()) === 21 ? true : undefined));
    const steps = await wholeHistory('crate', 'watched', 3);
    expect(steps.map(({ version }) => version)).toEqual([12, 13, 14, 15, 16, 17, 18, 19, 20, 21]);
    expect(await asOf('crate', 'watched', { version: 13 })).toEqual(steps[1]?.document);
    await expect(app.runtime.documentAsOf('crate', 'watched', { version: 5 })).rejects.toMatchObject({
      code: 'BAD_INPUT',
      message: expect.stringContaining('begin at 12'),
    });
    // The crate whose event was skipped fails again: its dead letter went with the reset.
    expect(await codeOf(app.runtime.documentAsOf('crate', 'broken', { position: await end() }))).toBe('VIEW_BEHIND');
    const seventh = steps[6]?.event.position ?? 0;
    await reset(seventh - 1);
    await until('the view is built anew', async () => ((await versionOf()) === 26 ? true : undefined));
    expect((await wholeHistory('crate', 'watched', 2)).map(({ version }) => version)).toEqual([23, 24, 25, 26]);
    expect(await asOf('crate', 'watched', { position: seventh - 1 })).toBeUndefined();
  });
});

test('a past that would take too many events is refused, naming the limit; what lies before it is answered', async () => {
  const before = await end();
  for (let count = 0; count < MAX_EVENTS + 5; count += 5) {
    await Promise.all(
      Array.from({ length: 5 }, (_, index) =>
        app.send(
          crate,
          'long',
          index === 0 && count === 0
            ? { type: 'MakeCrate', data: { shelf: 's1' } }
            : { type: 'MoveCrate', data: { from: 's1', to: 's1' } },
        ),
      ),
    );
  }
  await until('all is placed', async () => ((await end()) >= before + MAX_EVENTS + 5 ? true : undefined));
  const last = await end();
  await expect(app.runtime.documentAsOf('crate', 'long', { position: last })).rejects.toMatchObject({
    code: 'HISTORY_TOO_LONG',
    details: { maximum: MAX_EVENTS },
  });
  expect(await asOf('crate', 'long', { position: before + 1 })).toMatchObject({ moves: 0 });
  const page = await app.runtime.documentHistory('crate', 'long', { first: 1_000 });
  expect(page.edges).toHaveLength(MAX_EVENTS);
  expect(page.pageInfo.hasNextPage).toBe(true);
  const next = app.runtime.documentHistory('crate', 'long', { after: page.pageInfo.endCursor });
  expect(await codeOf(next)).toBe('HISTORY_TOO_LONG');
});

test('while a new version is built beside it, the past is that of the version that is read', async () => {
  await app.send(crate, 'kept', { type: 'MakeCrate', data: { shelf: 's1' } });
  const position = await until(
    'it is placed',
    async () => (await db.collection<LogDocument>('events').findOne({ stream: /\/kept$/ }))?._id,
  );
  await app.send(crate, 'kept', { type: 'MoveCrate', data: { from: 's1', to: 's2' } });
  await levelled();
  const before = { id: 'kept', shelf: 's1', moves: 0, secret: 'secret of kept' };
  expect(await asOf('crate', 'kept', { position })).toEqual(before);
  await app.stop();
  const moved = view('crate', z.object({ id: z.string(), place: z.string() }));
  const next = projector({
    name: 'crates',
    version: 2,
    previous: crates,
    swap: 'byOperator',
    from: [crate],
    into: moved,
    on: { CrateMade: (_doc, { stream, data }) => ({ id: stream.id, place: data.shelf }) },
  });
  app = await start({ modules: [module({ name: 'stock', parts: [crate, seal, moved, next] })], settings, logger });
  expect(await asOf('crate', 'kept', { position })).toEqual(before);
});
