/**
 * Acceptance: a view of 1,000,000 events is rebuilt beside the old one while commands and queries go on.
 *
 *     node --conditions=millrace-source --import tsx test/acceptance/rebuild.ts [EVENTS]
 *
 * The log is inserted raw, in bulk (appending so many takes longer than what this is about). A gateway and a worker with the old code
 * and, for the rebuild, two with the new code beside them, all with the settings of production, on MongoDB and Redis of their own; 50 commands a
 * second and two clients that read without a pause. Prints queries' p99 before (with the new gateway, without the new worker) and
 * during, events a second, the diff, the swap, and whether what was built is what a fold of the log by itself gives. Ends with 1 when a read failed or was empty, or when it is not.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { Db } from 'mongodb';
import { findMongod, findRedisServer, startMongo, startRedis } from '../../src/services/index.ts';
import { freePort } from '../../src/services/server-process.ts';
import { connect } from '../../src/store/connect.ts';
import { DEPOSIT, OPEN, post } from '../setup/role-processes.ts';
import { startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';
import { atRate, spreadOf } from './stage.ts';

const EVENTS = Number(process.argv[2] ?? 1_000_000);
const ACCOUNTS = 2_000;
const WRITTEN = 50;
const IDLE_MS = 10_000;
const BOTH = ['worker', 'gateway'] as const;
const closers: (() => Promise<unknown>)[] = [];

async function startServers() {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-rebuild-'));
  closers.push(() => rm(dataDir, { recursive: true, force: true }));
  const mongo = await startMongo((await findMongod()).path, { dataDir, cacheGB: 0.5, oplogMB: 512 });
  closers.push(() => mongo.kill());
  const redis = await startRedis((await findRedisServer()).path, { dataDir });
  closers.push(() => redis.kill());
  const connection = await connect({ url: mongo.url, database: 'rebuild', appName: 'acceptance' });
  closers.push(() => connection.client.close());
  /** The port is that of the gateway. */
  const start = async (
    version: 1 | 2,
    roles: readonly ('worker' | 'gateway')[],
  ): Promise<{ readonly port: number; readonly stop: () => Promise<unknown> }> => {
    const port = await freePort();
    const sources = roles.map((role) => {
      const args = ['start', '--role', role, '--app', 'test/acceptance/rebuild-app.ts'];
      return startSource('test/setup/processes/cli.ts', args, {
        ...{ PATH: process.env.PATH, NODE_ENV: 'production', LOG_LEVEL: 'error', LOG_PRETTY: 'false' },
        ...{ MONGODB_URL: mongo.url, MONGODB_DATABASE: 'rebuild', REDIS_URL: redis.url, REDIS_PREFIX: 'rebuild' },
        ...{ PORT: role === 'gateway' ? String(port) : '0', REBUILD_VERSION: String(version) },
      });
    });
    for (const { child } of sources) closers.push(async () => child.kill('SIGKILL'));
    const answers = async () => (await fetch(`http://127.0.0.1:${port}/ready`).catch(() => undefined))?.ok || undefined;
    const errors = () => sources.map((one) => one.errors()).join('\n');
    if (roles.includes('gateway')) {
      await until(`version ${version} answers`, answers, { timeoutMs: 60_000, seen: errors });
    }
    const stop = async (): Promise<unknown> => {
      for (const { child } of sources) child.kill('SIGTERM');
      return Promise.all(sources.map(({ exited }) => exited));
    };
    return { port, stop };
  };
  return { db: connection.db, start };
}

/** As commands would have left it in the log. */
async function fillLog(db: Db): Promise<void> {
  const meta = { correlationId: 'raw', causationId: null, actor: null, tenant: 'default' };
  const documentAt = (position: number) => {
    const n = position - 1;
    const id = `raw-${n % ACCOUNTS}`;
    const version = Math.floor(n / ACCOUNTS) + 1;
    const [type, data] =
      version === 1 ? ['AccountOpened', { owner: 'Ada Lovelace', currency: 'EUR' }] : ['MoneyDeposited', { amount: 1 }];
    const of = { schemaVersion: 1, stream: `default/account/${id}`, version, data, meta, at: new Date() };
    return { _id: position, id: `e${position}`, type, ...of, commandId: `c${position}` };
  };
  const events = db.collection<{ _id: number }>('events');
  for (let from = 1; from <= EVENTS; from += 10_000) {
    const count = Math.min(10_000, EVENTS - from + 1);
    await events.insertMany(Array.from({ length: count }, (_, n) => documentAt(from + n)));
  }
}

interface Read {
  readonly timesMs: readonly number[];
  readonly problems: readonly string[];
}

/** Reads a document and a list in turn, without a pause, and counts what is wrong with the answers. */
function reader(port: number) {
  const timesMs: number[] = [];
  const problems: string[] = [];
  let reading = true;
  const read = async (): Promise<void> => {
    for (let n = 0; reading; n++) {
      const begun = performance.now();
      try {
        const answer =
          n % 2 === 0
            ? await post<{ account: object | null }>(port, `{ account(id: "raw-${n % ACCOUNTS}") { balance } }`)
            : await post<{ accounts: { edges: object[] } }>(port, '{ accounts(first: 10) { edges { node { id } } } }');
        const isEmpty = 'account' in answer ? answer.account === null : answer.accounts.edges.length < 10;
        if (isEmpty) problems.push('empty');
      } catch (error) {
        problems.push(String(error));
      }
      timesMs.push(performance.now() - begun);
    }
  };
  const ended = read();
  return async (): Promise<Read> => {
    reading = false;
    await ended;
    return { timesMs, problems };
  };
}

interface Shown {
  readonly state: string;
  readonly percent: number;
  readonly position: string;
  readonly eventsPerSecond: number | null;
  readonly etaSeconds: number | null;
}
const rebuildOf = async (port: number): Promise<Shown | undefined> =>
  (
    await post<{ rebuilds: Shown[] }>(port, '{ rebuilds { state percent position eventsPerSecond etaSeconds } }')
  ).rebuilds.at(-1);
const untilLevel = (port: number, what: string) =>
  until(
    what,
    async () =>
      (await post<{ consumers: { caughtUp: boolean }[] }>(port, '{ consumers { caughtUp } }')).consumers.every(
        ({ caughtUp }) => caughtUp,
      ) || undefined,
    { timeoutMs: 900_000 },
  );

async function diff(port: number): Promise<Record<string, number>> {
  const query = `query($after: Cursor) { rebuildDiff(projector: "balances", after: $after) {
    sameCount changedCount onlyOldCount onlyNewCount unsettledCount next oldPosition newPosition } }`;
  const sum: Record<string, number> = {};
  for (let after: string | null | undefined; after !== null; ) {
    const { rebuildDiff } = await post<{ rebuildDiff: Record<string, unknown> }>(port, query, { after });
    for (const [name, value] of Object.entries(rebuildDiff)) {
      if (typeof value === 'number') sum[name] = (sum[name] ?? 0) + value;
    }
    after = rebuildDiff.next as string | null;
  }
  return sum;
}

/** Of generation 2 as stored, and of a fold of the log that knows nothing of Millrace. */
async function checksums(db: Db): Promise<readonly [string, string]> {
  const of = (rows: Iterable<readonly [string, string, number]>): string => {
    const hash = createHash('sha256');
    for (const row of [...rows].sort(([one], [other]) => (one < other ? -1 : 1))) hash.update(JSON.stringify(row));
    return hash.digest('hex').slice(0, 16);
  };
  const stored: [string, string, number][] = [];
  for await (const one of db.collection<{ _id: string; owner: string; balance: number }>('view_account_g2').find()) {
    stored.push([one._id, one.owner, one.balance]);
  }
  const folded = new Map<string, [string, string, number]>();
  const events = db.collection<{ _id: number; type: string; stream: string; data: { owner: string; amount: number } }>(
    'events',
  );
  for await (const { type, stream, data } of events.find().sort({ _id: 1 })) {
    const id = stream.slice(stream.lastIndexOf('/') + 1);
    const owner = id.endsWith('7') ? data.owner?.toUpperCase() : data.owner;
    const [, known, balance] = folded.get(id) ?? [id, '', 0];
    folded.set(id, type === 'AccountOpened' ? [id, owner, 0] : [id, known, balance + data.amount]);
  }
  return [of(stored), of(folded.values())];
}

async function play(): Promise<void> {
  const { db, start } = await startServers();
  await (await start(1, BOTH)).stop();
  await fillLog(db);
  const builtMs = performance.now();
  const old = await start(1, BOTH);
  await untilLevel(old.port, 'the old version is built');
  console.log(`old version: ${EVENTS} events in ${Math.round((performance.now() - builtMs) / 1_000)} s from its start`);
  for (let n = 0; n < 20; n++) await post(old.port, OPEN, { id: `new-${n}` });
  const writing = new AbortController();
  const write = (n: number) => post(old.port, DEPOSIT, { id: `new-${n % 20}`, amount: 1, commandId: randomUUID() });
  const writes = atRate(WRITTEN, writing.signal, write);
  // What is compared is the same but for the rebuild: the processes are there, and as many read.
  const fresh = await start(2, ['gateway']);
  const bothRead = () => [reader(old.port), reader(fresh.port)];
  const told = (when: string, ends: readonly Read[]): void => {
    for (const [index, { timesMs }] of ends.entries()) {
      console.log(`queries ${when}, ${index === 0 ? 'old' : 'new'} gateway`, JSON.stringify(spreadOf(timesMs)));
    }
  };
  const ended = (readers: ReturnType<typeof bothRead>) => Promise.all(readers.map((end) => end()));
  const idle = bothRead();
  await wait(IDLE_MS);
  const before = await ended(idle);
  told('before', before);

  await start(2, ['worker']);
  const beginAt = await until('the rebuild has begun', async () => {
    const position = Number((await rebuildOf(fresh.port))?.position ?? 0);
    return position > 0 ? position : undefined;
  });
  const begun = performance.now();
  const during = bothRead();
  let toldAtMs = 0;
  await until(
    'the new version is ready',
    async () => {
      const found = await rebuildOf(fresh.port);
      if (performance.now() - toldAtMs > 5_000) console.log(JSON.stringify(found));
      if (performance.now() - toldAtMs > 5_000) toldAtMs = performance.now();
      await wait(200);
      // While commands come it is never quite at the end.
      return found !== undefined && Number(found.position) > EVENTS + ACCOUNTS / 100 ? true : undefined;
    },
    { timeoutMs: 900_000 },
  );
  const seconds = (performance.now() - begun) / 1_000;
  const count = EVENTS - beginAt;
  console.log(`rebuild: ${count} events in ${Math.round(seconds)} s, ${Math.round(count / seconds)} events/s`);
  const ends = await ended(during);
  told('during', ends);

  console.log('diff', JSON.stringify(await diff(fresh.port)));
  const across = bothRead();
  const swapBegun = performance.now();
  await post(fresh.port, 'mutation { swapRebuild(projector: "balances", reason: "acceptance") { state } }');
  console.log(`swap: ${Math.round(performance.now() - swapBegun)} ms`);
  await until('the new gateway reads the new version', async () => {
    const { account } = await post<{ account: { owner: string } }>(fresh.port, '{ account(id: "raw-7") { owner } }');
    return account.owner === 'ADA LOVELACE' || undefined;
  });
  await wait(2_000);
  ends.push(...before, ...(await ended(across)));
  writing.abort();
  await writes;
  await untilLevel(fresh.port, 'all is handled');
  const problems = ends.flatMap((one) => one.problems);
  const reads = ends.reduce((sum, { timesMs }) => sum + timesMs.length, 0);
  console.log(`${reads} reads, ${problems.length} failed or empty ${problems.slice(0, 3).join('; ')}`);
  const [stored, folded] = await checksums(db);
  console.log(`checksum of the rebuilt view ${stored}, of a fold of the log ${folded}`);
  if (problems.length > 0 || stored !== folded) process.exitCode = 1;
}

try {
  await play();
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  for (const close of closers.reverse()) await close();
}
