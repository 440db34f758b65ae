import type { Db } from 'mongodb';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { customProjector, module, type RunningApp, readSettings, start, view } from '../../src/index.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import type { LogDocument, ViewDocument } from '../../src/store/documents.ts';
import { spec } from '../../src/testing/index.ts';
import { type LeagueBug, leagueModule, player } from '../setup/league.ts';
import { patient } from '../setup/patient.ts';
import { testServers } from '../setup/servers.ts';
import { type SourceProcess, startSource } from '../setup/source-process.ts';
import { logger } from '../setup/test-worker.ts';
import { until } from '../setup/until.ts';

/** The promises of projectors, kept by one that writes any document of its view. */
const call = { reason: 'test', actor: null };

/** A database of its own and an app on it. */
async function league(bug: LeagueBug = {}, role: 'all' | 'gateway' = 'all') {
  const servers = testServers();
  const env = {
    MONGODB_URL: servers.mongoUrl,
    MONGODB_DATABASE: servers.database,
    REDIS_URL: servers.redisUrl,
    REDIS_PREFIX: servers.prefix,
    SWEEP_INTERVAL_MS: '250',
    JOB_LOCK_MS: '1000',
    JOB_STALLED_CHECK_MS: '500',
    LOG_LEVEL: 'error',
    LOG_PRETTY: 'false',
    ...patient,
  };
  const app = await start({ modules: [leagueModule(bug)], settings: readSettings(env), role, logger });
  const connection = await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' });
  opened.push({ app, connection });
  const { db } = connection;
  const send = (id: string, type: 'Join' | 'Score' | 'Leave', data: object = {}) =>
    app.send(player, id, { type, data } as never);
  return { app, db, env, send };
}
const opened: { app: RunningApp; connection: Connection }[] = [];
const workers = new Set<SourceProcess>();
afterEach(() => {
  for (const { child } of workers) child.kill('SIGKILL');
});
afterAll(async () => {
  for (const { app, connection } of opened) {
    await app.stop();
    await connection.db.dropDatabase().catch(() => undefined);
    await connection.client.close();
  }
});

const documents = async (db: Db): Promise<Map<string, ViewDocument>> => {
  const found = await db
    .collection<ViewDocument>('view_league_g1')
    .find({ _deleted: { $exists: false } })
    .toArray();
  return new Map(found.map((document) => [document._id, document]));
};
/** Every command is in the log, and handled. */
async function isLevel(app: RunningApp, db: Db): Promise<boolean> {
  const commits = await db.collection('commits').countDocuments();
  const [state] = await app.runtime.consumers();
  return state?.caughtUp === true && state.logEnd === commits;
}
const levelled = (app: RunningApp, db: Db, timeoutMs = 60_000): Promise<true> =>
  until('the view is level', async () => (await isLevel(app, db)) || undefined, { timeoutMs });

/** Teams as the log has them, counted here: total and members; who is best among equals depends on the order. */
async function expected(db: Db) {
  const players = new Map<string, { team: string; total: number }>();
  for await (const { type, data, stream } of db.collection<LogDocument>('events').find().sort({ _id: 1 })) {
    const id = `player/${stream.split('/')[2]}`;
    const { team, by } = data as { team: string; by: number };
    const known = players.get(id);
    if (type === 'Joined' && known === undefined) players.set(id, { team, total: 0 });
    else if (type === 'Scored' && known !== undefined) known.total += by;
    else if (type === 'Left') players.delete(id);
  }
  return players;
}
async function expectRight(db: Db): Promise<void> {
  const players = await expected(db);
  const found = await documents(db);
  const teams = new Set([...players.values()].map(({ team }) => team));
  expect([...found.keys()].sort()).toEqual([...players.keys(), ...[...teams].map((team) => `team/${team}`)].sort());
  for (const [id, { team, total }] of players) expect(found.get(id)).toMatchObject({ team, total });
  for (const team of teams) {
    const members = [...players].filter(([, one]) => one.team === team);
    const document = found.get(`team/${team}`);
    expect(new Set(document?.members as string[])).toEqual(new Set(members.map(([id]) => id)));
    expect(document?.total).toBe(members.reduce((sum, [, one]) => sum + one.total, 0));
    const most = Math.max(...members.map(([, one]) => one.total));
    expect(players.get(document?.best as string)?.total).toBe(most);
  }
}

let seed = 7;
const random = (below: number): number => {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
  return (seed >>> 8) % below;
};
async function play(send: Awaited<ReturnType<typeof league>>['send'], count: number): Promise<void> {
  for (let done = 0; done < count; done += 10) {
    await Promise.all(
      Array.from({ length: 10 }, () => {
        const id = `p${random(12)}`;
        const kind = random(10);
        if (kind < 2) return send(id, 'Join', { team: `t${random(3)}` });
        return kind === 2 ? send(id, 'Leave') : send(id, 'Score', { by: 1 + random(5) });
      }),
    );
  }
}

describe('a custom projector', () => {
  let one: Awaited<ReturnType<typeof league>>;
  beforeAll(async () => {
    one = await league();
  });

  test('writes and removes several documents an event, by what it reads of others', async () => {
    await play(one.send, 300);
    await levelled(one.app, one.db);
    await expectRight(one.db);
    const tombstones = await one.db.collection('view_league_g1').countDocuments({ _deleted: { $exists: true } });
    expect(tombstones).toBeGreaterThan(0);
    for (const { _partition, _version, _revision, _position, _origins } of (await documents(one.db)).values()) {
      expect({ _partition, _version, _revision, _position }).toEqual({
        _partition: 0,
        _version: expect.any(Number),
        _revision: expect.any(Number),
        _position: expect.any(Number),
      });
      expect(_origins.length).toBeGreaterThan(0);
    }
  });
  test('subscribers of a document that other events write end with its last state, and atLeast waits for all of them', async () => {
    const stop = new AbortController();
    const seen: { version: number; total: unknown }[] = [];
    const watching = (async () => {
      for await (const { node } of one.app.runtime.watchDocument('league', 'team/watched', undefined, stop.signal)) {
        if (node !== null) seen.push({ version: node.version, total: node.document.total });
      }
    })();
    await one.send('w1', 'Join', { team: 'watched' });
    await one.send('w2', 'Join', { team: 'watched' });
    const scored = await one.send('w2', 'Score', { by: 4 });
    if (scored.kind !== 'accepted') throw new Error(scored.kind);
    const read = await one.app.runtime.document('league', 'team/watched', { atLeast: scored.token });
    expect(read).toMatchObject({ version: 3, document: { total: 4, best: 'player/w2' } });
    await until('the last state is seen', () => (seen.at(-1)?.total === 4 ? true : undefined), { seen: () => seen });
    stop.abort();
    await watching;
    const versions = seen.map(({ version }) => version);
    expect(versions).toEqual([...new Set(versions)].sort((a, b) => a - b));
  });
  test('is reset and builds the same again, with nothing in memory', async () => {
    const before = await documents(one.db);
    const { operators } = one.app.runtime;
    await operators.pauseConsumer('league', call);
    await operators.resetConsumer('league', { position: 0 }, call);
    expect((await documents(one.db)).size).toBe(0);
    await operators.resumeConsumer('league', call);
    await levelled(one.app, one.db);
    const authors = (all: Map<string, ViewDocument>) =>
      [...all]
        .map(([id, { total, team, members, best }]) => ({ id, total, team, members, best }))
        .sort((a, b) => (a.id < b.id ? -1 : 1));
    expect(authors(await documents(one.db))).toEqual(authors(before));
    await expectRight(one.db);
  });
  test('has no past', async () => {
    const asked = one.app.runtime.documentAsOf('league', 'team/t1', { position: 1 });
    await expect(asked).rejects.toMatchObject({
      code: 'BAD_INPUT',
      message: expect.stringContaining('custom projector'),
    });
  });
});

describe('a handler that fails', () => {
  test('leaves nothing of its event, holds back its key alone, and is made up for in order', async () => {
    const bug: LeagueBug = { breaks: (by) => by === 13 };
    const { app, db, env, send } = await league(bug);
    await send('a', 'Join', { team: 't' });
    await send('b', 'Join', { team: 't' });
    await send('a', 'Score', { by: 13 });
    await send('a', 'Score', { by: 1 });
    const later = await send('b', 'Score', { by: 5 });
    if (later.kind !== 'accepted') throw new Error(later.kind);
    const team = await app.runtime.document('league', 'team/t', { atLeast: later.token });
    expect(team?.document).toMatchObject({ total: 5, best: 'player/b' });
    expect((await app.runtime.document('league', 'player/a'))?.document.total).toBe(0);
    const letter = await until('a waits with one event behind it', async () => {
      const found = await db.collection('dead_letters').findOne({ state: 'DEAD', parkedCount: 1 });
      return found ?? undefined;
    });
    expect(letter).toMatchObject({ key: 'a', consumer: 'league' });
    // Mended code in a new process, which has nothing in memory.
    await app.stop();
    const mended = await start({ modules: [leagueModule()], settings: readSettings(env), logger });
    opened.push({
      app: mended,
      connection: await connect({ url: env.MONGODB_URL, database: env.MONGODB_DATABASE, appName: 'test' }),
    });
    const preview = await mended.runtime.operators.previewRetry({ ids: [String(letter._id)] });
    expect(preview.dryRun).toMatchObject({ result: 'WOULD_SUCCEED' });
    expect((await documents(db)).get('player/a')).toMatchObject({ total: 0 });
    await mended.runtime.operators.retryDeadLetters({ ids: [String(letter._id)] }, undefined, call);
    await until('a has been made up for', async () =>
      (await db.collection('dead_letters').countDocuments()) === 0 ? true : undefined,
    );
    await expectRight(db);
    expect((await mended.runtime.document('league', 'team/t'))?.document).toMatchObject({
      total: 19,
      best: 'player/a',
    });
  });
  test.each([
    ['is asynchronous', async () => undefined, 'synchronous'],
    [
      'puts what does not fit',
      (documents: { put(id: string, document: never): void }) => documents.put('x', { id: 'x' } as never),
      'does not fit',
    ],
    [
      'puts another id',
      (documents: { put(id: string, document: never): void }) => documents.put('x', { id: 'y', n: 1 } as never),
      'must be its key',
    ],
  ])('one that %s says so', (_what, run, says) => {
    const into = view('one', z.object({ id: z.string(), n: z.int() }));
    const bad = customProjector({
      name: 'bad',
      version: 1,
      from: [player],
      into,
      on: { Left: (_event, documents) => run(documents) as never },
    });
    expect(() => spec(bad).given({ type: 'Left', data: {} })).toThrow(
      expect.objectContaining({ code: 'VIEW_DOCUMENT_INVALID', message: expect.stringContaining(says) }),
    );
  });
  test('one that catches the request for a document is run again all the same', async () => {
    const servers = testServers();
    const into = view('caught', z.object({ id: z.string(), n: z.int() }));
    const catching = customProjector({
      name: 'catching',
      version: 1,
      from: [player],
      into,
      on: {
        Scored: (_event, documents) => {
          let n = 0;
          try {
            n = documents.get('sum')?.n ?? 0;
          } catch {
            n = -1_000;
          }
          documents.put('sum', { id: 'sum', n: n + 1 });
        },
      },
    });
    const settings = readSettings({
      MONGODB_URL: servers.mongoUrl,
      MONGODB_DATABASE: servers.database,
      REDIS_URL: servers.redisUrl,
      REDIS_PREFIX: servers.prefix,
    });
    const app = await start({ modules: [module({ name: 'm', parts: [player, into, catching] })], settings, logger });
    opened.push({
      app,
      connection: await connect({ url: servers.mongoUrl, database: servers.database, appName: 'test' }),
    });
    for (let count = 0; count < 3; count++) await app.send(player, 'p', { type: 'Score', data: { by: 1 } });
    await until('all are counted', async () =>
      (await app.runtime.document('caught', 'sum'))?.document.n === 3 ? true : undefined,
    );
  });
});

test('the effect of each event happens once, wherever its worker is killed', async () => {
  const { app, db, env, send } = await league({}, 'gateway');
  await send('k', 'Join', { team: 'k' });
  const deaths = ['before-transaction', 'before-commit', 'after-commit#2'];
  for (const death of deaths) {
    await play(send, 20);
    await send('k', 'Score', { by: 1 });
    const worker = startSource('test/setup/processes/run-league.ts', [], {
      PATH: process.env.PATH,
      ...env,
      MILLRACE_CRASH: death,
    });
    workers.add(worker);
    await worker.line().catch(() => undefined);
    // More than one transaction, for those that die in their second.
    for (let count = 0; death.endsWith('#2') && count < 5; count++)
      await send('k', 'Score', { by: 1 }).then(() =>
        until(
          'it is handled or the worker is gone',
          async () => worker.child.signalCode !== null || (await isLevel(app, db)) || undefined,
        ),
      );
    expect(await worker.exited, `${death}: ${worker.errors()}`).toBe(null);
  }
  const last = startSource('test/setup/processes/run-league.ts', [], { PATH: process.env.PATH, ...env });
  workers.add(last);
  // Two deaths or more: what follows is handled with care, a few events at a time.
  await levelled(app, db, 60_000);
  await expectRight(db);
}, 300_000);

test('spec() runs one in memory', () => {
  const [parts] = [leagueModule().parts.find((part) => part.kind === 'projector')];
  if (parts?.kind !== 'projector') throw new Error('no projector');
  const found = spec(parts).given(
    { type: 'Joined', data: { team: 't' }, id: 'a' },
    { type: 'Joined', data: { team: 't' }, id: 'b' },
    { type: 'Scored', data: { by: 3 }, id: 'a' },
    { type: 'Left', data: {}, id: 'a' },
  );
  expect([...found.documents.keys()]).toEqual(['team/t', 'player/b']);
  expect(found.documents.get('team/t')).toMatchObject({ total: 0, best: 'player/b' });
});
