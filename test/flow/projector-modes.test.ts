import { createHash, randomUUID } from 'node:crypto';
import { printSchema } from 'graphql';
import { createClient } from 'graphql-ws';
import { createSchemaBuilder, exposeModule } from 'millrace/graphql';
import { MongoClient } from 'mongodb';
import { afterAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { z } from 'zod';
import {
  aggregate,
  type CommandAccepted,
  module,
  type ProjectorMode,
  projector,
  query,
  type RunningApp,
  view,
} from '../../src/index.ts';
import { startCommandApp } from '../setup/command-app.ts';
import { post, socketUrl } from '../setup/gateway.ts';
import { type TestServers, testServers } from '../setup/servers.ts';
import { until } from '../setup/until.ts';

/*
 * Crates on shelves: one view by the crate's id (of two aggregates), one by a `key` of several ids. Every projector is made by one
 * function; nothing but the word `mode` differs.
 */
const POISON = 'poison';
const crate = aggregate({
  name: 'crate',
  events: {
    CrateMade: z.object({ shelf: z.string() }),
    CrateMoved: z.object({ from: z.string(), to: z.string() }),
    CrateBroken: z.object({ from: z.string() }),
  },
  commands: {
    MakeCrate: z.object({ shelf: z.string() }),
    MoveCrate: z.object({ to: z.string() }),
    BreakCrate: z.object({}),
  },
  initial: (): string | null => null,
  evolve: { CrateMade: (_s, { shelf }) => shelf, CrateMoved: (_s, { to }) => to, CrateBroken: () => null },
  // What makes no sense is accepted without an event.
  decide: {
    MakeCrate: (shelf, data) => (shelf === null ? { type: 'CrateMade', data } : []),
    MoveCrate: (from, { to }) => (from === null ? [] : { type: 'CrateMoved', data: { from, to } }),
    BreakCrate: (from) => (from === null ? [] : { type: 'CrateBroken', data: { from } }),
  },
});
const seal = aggregate({
  name: 'seal',
  events: { SealSet: z.object({ text: z.string() }) },
  commands: { SetSeal: z.object({ text: z.string() }) },
  initial: () => null,
  evolve: { SealSet: () => null },
  decide: { SetSeal: (_s, data) => ({ type: 'SealSet', data }) },
});
/** No view takes its events. */
const bell = aggregate({
  name: 'bell',
  events: { BellRung: z.object({}) },
  commands: { RingBell: z.object({}) },
  initial: () => null,
  evolve: { BellRung: () => null },
  decide: { RingBell: () => ({ type: 'BellRung', data: {} }) },
});
const without = (list: readonly string[] | undefined, id: string): string[] => (list ?? []).filter((one) => one !== id);

function partsIn(mode: ProjectorMode, prefix: string) {
  const crateView = view(
    `${prefix}Crate`,
    z.object({ id: z.string(), shelf: z.string(), moves: z.int(), seal: z.string().optional() }),
    { indexes: [{ shelf: 1 }] },
  );
  const crates = projector({
    name: `${prefix}Crates`,
    version: 1,
    mode,
    from: [crate, seal],
    into: crateView,
    attempts: 1,
    on: {
      CrateMade: (doc, { stream, data }) => doc ?? { id: stream.id, shelf: data.shelf, moves: 0 },
      CrateMoved: (doc, { data }) => {
        if (data.to === POISON) throw new Error('this shelf breaks the handler');
        return doc && { ...doc, shelf: data.to, moves: doc.moves + 1 };
      },
      CrateBroken: () => null,
      SealSet: (doc, { data }) => doc && { ...doc, seal: data.text },
    },
  });
  const shelfView = view(`${prefix}Shelf`, z.object({ id: z.string(), crates: z.array(z.string()) }));
  const left = (id: string, crates: string[]) => (crates.length === 0 ? null : { id, crates });
  const shelves = projector({
    name: `${prefix}Shelves`,
    version: 1,
    mode,
    from: [crate],
    into: shelfView,
    key: ({ type, data }) => {
      if (type === 'CrateMade') return data.shelf;
      return type === 'CrateMoved' ? [data.from, data.to] : data.from;
    },
    on: {
      CrateMade: (doc, { stream }, id) => ({ id, crates: without(doc?.crates, stream.id).concat(stream.id) }),
      CrateMoved: (doc, { stream, data }, id) => {
        const rest = without(doc?.crates, stream.id);
        return id === data.to ? { id, crates: rest.concat(stream.id) } : left(id, rest);
      },
      CrateBroken: (doc, { stream }, id) => left(id, without(doc?.crates, stream.id)),
    },
  });
  const onShelf = query({
    name: `${prefix}OnShelf`,
    input: z.object({ shelf: z.string() }),
    output: z.array(z.string()),
    run: async ({ shelf }, read) => (await read(crateView).list({ filter: { shelf } })).map(({ id }) => id),
  });
  const shelfOf = query({
    name: `${prefix}ShelfOf`,
    input: z.object({ id: z.string() }),
    output: z.string().nullable(),
    run: async ({ id }, read) => (await read(crateView).get(id))?.shelf ?? null,
  });
  return [crateView, crates, shelfView, shelves, onShelf, shelfOf];
}

type Part = Parameters<typeof module>[0]['parts'][number];
interface Config {
  readonly servers: TestServers;
  readonly parts: readonly Part[];
  readonly role?: 'all' | 'gateway';
  readonly env?: Readonly<Record<string, string>>;
}
function schemaOf(parts: readonly Part[]) {
  const builder = createSchemaBuilder();
  exposeModule(builder, module({ name: 'stock', parts: [crate, seal, bell, ...parts] }));
  return builder.toSchema();
}
const open = ({ servers, parts, ...options }: Config): Promise<RunningApp> =>
  startCommandApp(servers, [crate, seal, bell, ...parts], options);

const CRATES = Array.from({ length: 12 }, (_, n) => `c${n}`);
const SHELVES = Array.from({ length: 5 }, (_, n) => `s${n}`);
const oneOf = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)] as T;

/** Sends random commands; how many events they caused. */
async function act(app: RunningApp, count: number): Promise<number> {
  let eventCount = 0;
  for (let n = 0; n < count; n += 10) {
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, () => {
        const id = oneOf(CRATES);
        const dice = Math.random();
        if (dice < 0.3) return app.send(crate, id, { type: 'MakeCrate', data: { shelf: oneOf(SHELVES) } });
        if (dice < 0.7) return app.send(crate, id, { type: 'MoveCrate', data: { to: oneOf(SHELVES) } });
        if (dice < 0.85) return app.send(crate, id, { type: 'BreakCrate', data: {} });
        return app.send(seal, id, { type: 'SetSeal', data: { text: randomUUID() } });
      }),
    );
    for (const outcome of outcomes) {
      if (outcome.kind !== 'accepted') throw new Error(`a command is ${outcome.kind}`);
      eventCount += outcome.events.length;
    }
  }
  return eventCount;
}

/** All consumers have handled so many events of the log. */
const levelled = (app: RunningApp, end: number) =>
  until('all is handled', async () => {
    const placed = (await app.runtime.events({}, { last: 1 })).edges[0]?.node.position ?? 0;
    const states = await app.runtime.consumers();
    return placed >= end && states.every(({ caughtUp }) => caughtUp) ? true : undefined;
  });

const sorted = (_key: string, value: unknown): unknown =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)))
    : value;

/** Of every document, by single reads: those are what each mode answers. */
async function contents(app: RunningApp, prefix: string) {
  const read = (name: string, ids: readonly string[]) =>
    Promise.all(ids.map(async (id) => [id, (await app.runtime.document(name, id))?.document ?? null]));
  const all = [...(await read(`${prefix}Crate`, CRATES)), ...(await read(`${prefix}Shelf`, SHELVES))];
  return {
    checksum: createHash('sha256').update(JSON.stringify(all, sorted)).digest('hex'),
    documentCount: all.filter(([, document]) => document !== null).length,
  };
}

const accepted = (outcome: { readonly kind: string }): CommandAccepted => {
  if (outcome.kind !== 'accepted') throw new Error(`the command is ${outcome.kind}`);
  return outcome as CommandAccepted;
};
const codeOf = (asked: () => unknown): Promise<string> =>
  Promise.resolve()
    .then(asked)
    .then(
      () => 'no error',
      (error) => error.code,
    );

test('async, inline and live views of one definition hold the same documents, also after removals and with a key', async () => {
  const servers = testServers();
  const modes = ['async', 'inline', 'live'] as const;
  const app = await open({ servers, parts: modes.flatMap((mode) => partsIn(mode, mode)) });
  const end = await act(app, 200);
  await levelled(app, end);
  const found = await Promise.all(modes.map((mode) => contents(app, mode)));
  expect(new Set(found.map(({ checksum }) => checksum)).size).toBe(1);
  expect(found[0]?.documentCount).toBeGreaterThan(3);
  const states = await app.runtime.consumers();
  expect(states.map(({ name, mode }) => [name, mode])).toEqual([
    ['asyncCrates', 'async'],
    ['asyncShelves', 'async'],
    ['inlineCrates', 'inline'],
    ['inlineShelves', 'inline'],
  ]);
  // In every version that it had.
  const versions = new Set<number>();
  for (const share of [0.1, 0.4, 0.7, 1]) {
    const position = Math.floor(end * share);
    for (const id of CRATES) {
      const [first, ...others] = await Promise.all(
        modes.map((mode) => app.runtime.documentAsOf(`${mode}Crate`, id, { position })),
      );
      for (const other of others) expect(other?.document).toEqual(first?.document);
      const live = others.at(-1);
      if (typeof live?.version !== 'number') continue;
      versions.add(live.version);
      const again = await app.runtime.documentAsOf('liveCrate', id, { version: live.version });
      expect(again).toEqual(live);
    }
  }
  expect(versions.size).toBeGreaterThan(3);
});

describe('inline', () => {
  const servers = testServers();
  const parts = partsIn('inline', '');
  const move = `mutation($id: ID!, $to: String!, $commandId: ID) { moveCrate(id: $id, input: { to: $to }, commandId: $commandId) {
    ... on CommandAccepted { duplicate behind events { type } } } }`;
  const ask = async (app: RunningApp, text: string, variables: object = {}) => {
    const { data, errors } = await post(app.url ?? '', JSON.stringify({ query: text, variables }));
    expect(errors).toEqual([]);
    return data;
  };

  test('a plain read at another gateway, right after the answer, shows the command', async () => {
    // Whoever waits for it to pass waits longer than the test may take.
    const gateways = [
      await open({ servers, parts, env: { AT_LEAST_TIMEOUT_MS: '60000' } }),
      await open({ servers, parts, role: 'gateway', env: { AT_LEAST_TIMEOUT_MS: '60000' } }),
    ] as const;
    await gateways[0].send(crate, 'a', { type: 'MakeCrate', data: { shelf: 'start' } });
    for (let n = 1; n <= 200; n++) {
      const [sender, reader] = n % 2 === 0 ? gateways : [gateways[1], gateways[0]];
      const { moveCrate } = await ask(sender, move, { id: 'a', to: `shelf${n % 7}` });
      const read = await ask(reader, `{ crate(id: "a") { moves shelf } shelf(id: "shelf${n % 7}") { crates } }`);
      expect(moveCrate).toMatchObject({ behind: [], events: [{ type: 'CrateMoved' }] });
      expect(read).toEqual({ crate: { moves: n, shelf: `shelf${n % 7}` }, shelf: { crates: ['a'] } });
    }
    await Promise.all(gateways.map((app) => app.stop()));
  });

  test('a view that does not come in time is named in the receipt, and the command is accepted; a repeat waits anew', async () => {
    const gateway = await open({ servers, parts, role: 'gateway', env: { AT_LEAST_TIMEOUT_MS: '200' } });
    const sent = { id: 'a', to: 'late', commandId: randomUUID() };
    const { moveCrate } = await ask(gateway, move, sent);
    expect({ ...moveCrate, behind: [...moveCrate.behind].sort() }).toEqual({
      duplicate: false,
      behind: ['Crate', 'Shelf'],
      events: [{ type: 'CrateMoved' }],
    });
    const behind = async (outcome: Promise<{ readonly kind: string }>) => accepted(await outcome).behind;
    expect(await behind(gateway.send(seal, 'a', { type: 'SetSeal', data: { text: 'x' } }))).toEqual(['Crate']);
    // No view shows less than before: nothing happened, nothing was written, or nobody takes it.
    expect(await behind(gateway.send(crate, 'none', { type: 'BreakCrate', data: {} }))).toEqual([]);
    const message = { type: 'MoveCrate', data: { to: 'x' } } as const;
    expect(await behind(gateway.send(crate, 'a', message, { dryRun: true }))).toEqual([]);
    expect(await behind(gateway.send(bell, 'a', { type: 'RingBell', data: {} }))).toEqual([]);
    const worker = await open({ servers, parts, env: { AT_LEAST_TIMEOUT_MS: '60000' } });
    const repeated = await ask(worker, move, sent);
    expect(repeated.moveCrate).toEqual({ duplicate: true, behind: [], events: [{ type: 'CrateMoved' }] });
    expect(await ask(worker, '{ crate(id: "a") { shelf } }')).toEqual({ crate: { shelf: 'late' } });
    const status = await worker.runtime.findCommand('crate', 'a', sent.commandId);
    expect(status?.receipt).toMatchObject({ kind: 'accepted', behind: [] });
    await Promise.all([gateway, worker].map((app) => app.stop()));
  });

  test('a key that waits behind a failed event is not waited for, nor a projector that is paused', async () => {
    const app = await open({ servers, parts, env: { AT_LEAST_TIMEOUT_MS: '60000' } });
    expect((await ask(app, move, { id: 'a', to: POISON })).moveCrate.behind).toEqual(['Crate']);
    expect((await ask(app, move, { id: 'a', to: 's1' })).moveCrate.behind).toEqual(['Crate']);
    await app.send(crate, 'b', { type: 'MakeCrate', data: { shelf: 's1' } });
    expect((await ask(app, move, { id: 'b', to: 's2' })).moveCrate.behind).toEqual([]);
    const call = { reason: 'test', actor: null };
    await app.runtime.operators.pauseConsumer('Shelves', call);
    expect((await ask(app, move, { id: 'b', to: 's3' })).moveCrate.behind).toEqual(['Shelf']);
    await app.runtime.operators.resumeConsumer('Shelves', call);
    expect((await ask(app, move, { id: 'b', to: 's4' })).moveCrate.behind).toEqual([]);
    expect(await ask(app, '{ s3: shelf(id: "s3") { id } shelf(id: "s4") { crates } }')).toEqual({
      s3: null,
      shelf: { crates: ['b'] },
    });
    await app.stop();
  });
});

describe('live', () => {
  const servers = testServers();
  const mongo = new MongoClient(servers.mongoUrl);
  const db = mongo.db(servers.database);
  afterAll(() => mongo.close());
  const live = partsIn('live', '');
  const collections = async () => (await db.listCollections().toArray()).map(({ name }) => name);

  test('nothing is stored and no consumer runs; reads wait for a token in the log, and show it', async () => {
    const app = await open({ servers, parts: live });
    await app.send(crate, 'a', { type: 'MakeCrate', data: { shelf: 's0' } });
    for (let n = 1; n <= 30; n++) {
      const { token } = accepted(await app.send(crate, 'a', { type: 'MoveCrate', data: { to: `s${n % 5}` } }));
      const options = { atLeast: token };
      expect(await app.runtime.document('Crate', 'a', options)).toEqual({
        id: 'a',
        version: n + 1,
        document: { id: 'a', shelf: `s${n % 5}`, moves: n },
      });
      const shelf = await app.runtime.document('Shelf', `s${n % 5}`, options);
      expect(shelf?.document).toEqual({ id: `s${n % 5}`, crates: ['a'] });
      expect(await app.runtime.ask('ShelfOf', { id: 'a' }, options)).toBe(`s${n % 5}`);
    }
    const mutation =
      'mutation { breakCrate(id: "a") { ... on CommandAccepted { behind view { crate { id } shelf(id: "s0") { crates } } } } }';
    const { data, errors } = await post(app.url ?? '', JSON.stringify({ query: mutation }));
    expect(errors).toEqual([]);
    expect(data.breakCrate).toEqual({ behind: [], view: { crate: null, shelf: null } });
    const { edges } = await app.runtime.documentHistory('Crate', 'a');
    expect(edges.map(({ node }) => node.version)).toEqual(Array.from({ length: 32 }, (_, n) => n + 1));
    expect(edges.at(-1)?.node.document).toBeNull();
    // A removed document goes on counting.
    const { token } = accepted(await app.send(crate, 'a', { type: 'MakeCrate', data: { shelf: 's1' } }));
    expect(await app.runtime.document('Crate', 'a', { atLeast: token })).toMatchObject({ version: 33 });
    expect(await app.runtime.documentAsOf('Crate', 'a', { version: 33 })).toMatchObject({ document: { moves: 0 } });
    expect(await app.runtime.documentAsOf('Crate', 'a', { version: 32 })).toBeUndefined();
    expect(await app.runtime.consumers({ unused: true })).toEqual([]);
    expect((await collections()).filter((name) => name.startsWith('view_'))).toEqual([]);
    await expect(app.runtime.operators.pauseConsumer('Crates', { reason: 'test', actor: null })).rejects.toMatchObject({
      code: 'UNKNOWN_CONSUMER',
      message: expect.stringContaining("mode 'live'"),
    });
    await app.stop();
  });

  test('lists, counts and subscriptions are refused with VIEW_NOT_STORED', async () => {
    const app = await open({ servers, parts: live, role: 'gateway' });
    const url = app.url ?? '';
    const code = async (text: string) => (await post(url, JSON.stringify({ query: text }))).errors[0]?.extensions.code;
    expect(await code('{ crates { edges { node { id } } } }')).toBe('VIEW_NOT_STORED');
    expect(await code('{ crates(first: 0, filter: { shelf: { eq: "s1" } }) { totalCount } }')).toBe('VIEW_NOT_STORED');
    expect(await code('{ onShelf(shelf: "s1") }')).toBe('VIEW_NOT_STORED');
    const client = createClient({ url: socketUrl(url), webSocketImpl: WebSocket, retryAttempts: 0 });
    for (const field of ['crateChanged(id: "a") { signal }', 'cratesChanged { signal }']) {
      const answer = await new Promise((resolve, reject) => {
        client.subscribe(
          { query: `subscription { ${field} }` },
          { next: resolve, error: reject, complete: () => reject(new Error('it ended without an error')) },
        );
      });
      expect(answer).toMatchObject({ errors: [{ extensions: { code: 'VIEW_NOT_STORED', view: 'Crate' } }] });
    }
    await client.dispose();
    expect(await codeOf(() => app.runtime.countDocuments('Shelf', {}))).toBe('VIEW_NOT_STORED');
    const many = Array.from({ length: 11 }, (_, n) => `c${n}: crate(id: "c${n}") { id }`).join(' ');
    expect(await code(`{ ${many} }`)).toBe('QUERY_TOO_COMPLEX');
    await app.stop();
    expect(await codeOf(() => open({ servers, parts: live, env: { READY_AFTER: 'Crates' } }))).toBe('SETTINGS_INVALID');
  });

  test('equal reads of one turn are one fold; without a sequencer a token is not there; a long or failing fold is refused', async () => {
    const app = await open({
      servers,
      parts: live,
      role: 'gateway',
      env: { HISTORY_MAX_EVENTS: '20', AT_LEAST_TIMEOUT_MS: '100' },
    });
    await db.command({ profile: 2 });
    const ids = Array.from({ length: 90 }, (_, n) => `d${n % 3}`);
    await Promise.all(ids.map((id) => app.runtime.document('Crate', id)));
    await db.command({ profile: 0 });
    const scans = await db
      .collection('system.profile')
      .countDocuments({ ns: `${servers.database}.events`, 'command.filter.stream': { $exists: true } });
    // Three documents, of two streams each.
    expect(scans).toBe(6);
    expect(await codeOf(() => app.runtime.document('Crate', 'a'))).toBe('HISTORY_TOO_LONG');
    expect(await codeOf(() => app.runtime.document('Shelf', 's1'))).toBe('HISTORY_TOO_LONG');
    const { token } = accepted(await app.send(crate, 'd0', { type: 'MakeCrate', data: { shelf: 's0' } }));
    await expect(app.runtime.document('Crate', 'd0', { atLeast: token })).rejects.toMatchObject({
      code: 'VIEW_BEHIND',
      details: { reason: 'PLACING' },
    });
    await app.stop();
    const placing = await open({ servers, parts: live });
    const poisoned = accepted(await placing.send(crate, 'd0', { type: 'MoveCrate', data: { to: POISON } }));
    await expect(placing.runtime.document('Crate', 'd0', { atLeast: poisoned.token })).rejects.toMatchObject({
      code: 'VIEW_BEHIND',
      message: expect.stringMatching(/fails at that\. Mend it\.$/),
    });
    await placing.stop();
  });
});

test('the mode of a deployment can be switched: same schema, same documents, and a generation that was stored goes on or begins anew', async () => {
  const servers = testServers();
  const mongo = new MongoClient(servers.mongoUrl);
  const db = mongo.db(servers.database);
  const [async, inline, live] = (['async', 'inline', 'live'] as const).map((mode) => partsIn(mode, ''));
  if (async === undefined || inline === undefined || live === undefined) throw new Error('a mode is missing');
  expect(printSchema(schemaOf(inline))).toBe(printSchema(schemaOf(async)));
  expect(printSchema(schemaOf(live))).toBe(printSchema(schemaOf(async)));
  let eventCount = 0;
  /** The same log in another mode; then more of it. */
  const inMode = async (parts: readonly Part[], before: { readonly checksum: string } | undefined) => {
    const app = await open({ servers, parts });
    await levelled(app, eventCount);
    if (before !== undefined) expect((await contents(app, '')).checksum).toBe(before.checksum);
    eventCount += await act(app, 50);
    await levelled(app, eventCount);
    return { app, after: await contents(app, '') };
  };
  const first = await inMode(async, undefined);
  await first.app.stop();
  const second = await inMode(inline, first.after);
  await second.app.stop();
  const third = await inMode(live, second.after);
  const { runtime } = third.app;
  const unused = await runtime.consumers({ unused: true });
  expect(unused.map(({ name, generation, state, mode }) => [name, generation, state, mode]).sort()).toEqual([
    ['Crates', 1, 'UNUSED', null],
    ['Shelves', 1, 'UNUSED', null],
  ]);
  // One is retired, the other left where it is. It looks as if nobody had written it for an hour.
  await db.collection('partitions').updateMany({}, { $set: { updatedAt: new Date(Date.now() - 3_600_000) } });
  await runtime.operators.retireConsumer('Shelves', 1, { reason: 'test', actor: null });
  const names = (await db.listCollections().toArray()).map(({ name }) => name).filter((name) => /^view_/.test(name));
  expect(names).toEqual(['view_Crate_g1']);
  await third.app.stop();
  const fourth = await inMode(async, third.after);
  const counts = await Promise.all(['Crate', 'Shelf'].map((name) => fourth.app.runtime.countDocuments(name, {})));
  expect(counts.reduce((sum: number, count) => sum + (count ?? 0), 0)).toBe(fourth.after.documentCount);
  await fourth.app.stop();
  expect((await inMode(live, fourth.after)).after.documentCount).toBeGreaterThan(3);
  await mongo.close();
});
