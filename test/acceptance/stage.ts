import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { bank } from '../../examples/bank/module.ts';
import { consumerLag } from '../../src/engine/delivery/delivery-health.ts';
import { verifyLog } from '../../src/engine/log/verify.ts';
import { buildModel } from '../../src/index.ts';
import { findMongod, findRedisServer, type PrivateServer, startMongo, startRedis } from '../../src/services/index.ts';
import { type Connection, connect } from '../../src/store/connect.ts';
import { createDeliveryStore, type DeliveryStore } from '../../src/store/delivery-store.ts';
import { compileProcesses } from '../setup/compiled.ts';
import {
  DEPOSIT,
  OPEN,
  post,
  postAnywhere,
  type RoleProcess,
  type RoleProcesses,
  roleProcesses,
} from '../setup/role-processes.ts';
import { until } from '../setup/until.ts';

const ACCOUNT_COUNT = 200;
const model = buildModel([bank]);

/** The bank on servers of its own: two gateway and two worker processes with the settings of production. */
export interface Stage {
  readonly mongo: PrivateServer;
  readonly redis: PrivateServer;
  readonly ports: readonly number[];
  readonly gateways: readonly (RoleProcess & { readonly port: number })[];
  readonly processes: RoleProcesses;
  readonly connection: Connection;
  readonly store: DeliveryStore;
  readonly workers: readonly RoleProcess[];
  /**
   * Sends one deposit, to one gateway, or until one of them answers; what it adds is noted when it is acknowledged. Returns
   * where it is in its stream.
   */
  deposit(n: number, to?: 'one' | 'any'): Promise<{ readonly id: string; readonly version: number }>;
  /** How many events were acknowledged. */
  acknowledged(): number;
  /** Resolves when the views show everything acknowledged and every checkpoint is at the end of the log: how long each took. */
  untilLevel(timeoutMs: number): Promise<{ readonly shownMs: number; readonly checkpointsMs: number }>;
  /** How many acknowledged deposits the statement does not show yet. */
  missing(): Promise<number>;
  /** What each account holds as acknowledged. */
  readonly sums: ReadonlyMap<string, number>;
  /** Throws unless log, balances and statements hold exactly what was acknowledged. */
  expectExact(): Promise<string>;
}

/** Sets the stage, plays, and clears everything away; the process ends with 1 when the play throws. */
export async function onStage(
  play: (stage: Stage) => Promise<void>,
  /** Added to the settings of all processes. */
  env: NodeJS.ProcessEnv = {},
): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'millrace-acceptance-'));
  const closers: (() => Promise<unknown>)[] = [() => rm(dataDir, { recursive: true, force: true })];
  try {
    await compileProcesses(dataDir);
    const args = ['--setParameter', 'enableTestCommands=1'];
    const mongo = await startMongo((await findMongod()).path, { dataDir, cacheGB: 0.5, oplogMB: 512, args });
    closers.push(() => mongo.kill());
    const redis = await startRedis((await findRedisServer()).path, { dataDir });
    closers.push(() => redis.kill());
    const names = { database: 'acceptance', prefix: 'acceptance' };
    const processes = roleProcesses({ mongoUrl: mongo.url, redisUrl: redis.url, ...names }, env);
    closers.push(() => processes.killAll());
    const workers = [processes.worker(), processes.worker()];
    const gateways = await Promise.all([processes.gateway(), processes.gateway()]);
    const connection = await connect({ url: mongo.url, database: names.database, appName: 'acceptance' });
    closers.push(() => connection.client.close());
    const store = createDeliveryStore(connection.client, connection.db, 'main');
    closers.push(() => store.partitions.close());
    const ports = gateways.map(({ port }) => port);
    const stage = {
      mongo,
      redis,
      ports,
      gateways,
      processes,
      connection,
      store,
      workers,
      ...bookkeeping(ports, store, connection),
    };
    await stage.open();
    const workersAlive = async () => (await store.instances.list()).filter(({ role }) => role === 'worker').length;
    await until('both workers are registered', async () => (await workersAlive()) >= 2 || undefined);
    await stage.untilLevel(20_000);
    await play(stage);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

type DepositAnswer = { readonly deposit: { readonly __typename: string; readonly version: number } };
const depositAt = (to: 'one' | 'any', ports: readonly number[], variables: object): Promise<DepositAnswer> =>
  to === 'one' ? post(ports[0] ?? 0, DEPOSIT, variables) : postAnywhere(ports, DEPOSIT, variables);

function bookkeeping(ports: readonly number[], store: DeliveryStore, { db }: Connection) {
  const sums = new Map<string, number>();
  let acknowledged = 0;
  let deposits = 0;
  const idOf = (n: number): string => `a${n % ACCOUNT_COUNT}`;
  const portOf = (n: number): number => ports[n % ports.length] ?? 0;

  const open = async (): Promise<void> => {
    for (let n = 0; n < ACCOUNT_COUNT; n++) {
      await post(portOf(n), OPEN, { id: idOf(n) });
      sums.set(idOf(n), 0);
      acknowledged++;
    }
  };
  const deposit = async (n: number, to: 'one' | 'any' = 'one'): Promise<{ id: string; version: number }> => {
    const [id, amount] = [idOf(n), 1 + (n % 9)];
    const variables = { id, amount, commandId: randomUUID() };
    const answer = await depositAt(to, [portOf(n), portOf(n + 1)], variables);
    if (answer.deposit.__typename !== 'CommandAccepted') throw new Error(`refused: ${JSON.stringify(answer)}`);
    sums.set(id, (sums.get(id) ?? 0) + amount);
    acknowledged++;
    deposits++;
    return { id, version: answer.deposit.version };
  };
  const balances = () => db.collection<{ _id: string; balance: number }>('view_account_g1').find().toArray();
  const missing = async (): Promise<number> => deposits - (await db.collection('view_movement_g1').countDocuments());
  const untilLevel = async (timeoutMs: number): Promise<{ shownMs: number; checkpointsMs: number }> => {
    const begun = performance.now();
    const sinceMs = (): number => Math.round(performance.now() - begun);
    let seen: unknown;
    const shown = async (): Promise<true | undefined> => {
      const wrong = (await balances()).filter(({ _id, balance }) => sums.get(_id) !== balance).length;
      const absent = await missing();
      seen = { acknowledged, wrong, absent };
      return (wrong === 0 && absent === 0) || undefined;
    };
    await until('the views show everything acknowledged', shown, { timeoutMs, seen: () => seen });
    const shownMs = sinceMs();
    const level = async (): Promise<true | undefined> => {
      const lag = await consumerLag(store, model);
      seen = lag.map(({ consumer, position, end }) => ({ consumer, position, end, acknowledged }));
      return lag.every(({ position }) => position >= acknowledged) || undefined;
    };
    await until(`all checkpoints at ${acknowledged}`, level, { timeoutMs: timeoutMs - shownMs, seen: () => seen });
    return { shownMs, checkpointsMs: sinceMs() };
  };
  const expectExact = async (): Promise<string> => {
    const verified = await verifyLog(store);
    if (!verified.ok || verified.eventCount !== acknowledged) {
      throw new Error(`the log is not what was acknowledged (${acknowledged}): ${JSON.stringify(verified)}`);
    }
    const held = await balances();
    const wrong = held.filter(({ _id, balance }) => sums.get(_id) !== balance);
    if (held.length !== sums.size || wrong.length > 0) throw new Error(`wrong balances: ${JSON.stringify(wrong)}`);
    if ((await missing()) !== 0) throw new Error(`${await missing()} movements are missing`);
    return `${verified.eventCount} events in the log as acknowledged, ${held.length} balances equal their sums, ${deposits} movements.`;
  };
  return { open, deposit, acknowledged: () => acknowledged, missing, sums, untilLevel, expectExact };
}

/** Starts `perSecond` runs a second, whatever they take, until `signal`; resolves when all have ended, throws when one failed. */
export async function atRate(
  perSecond: number,
  signal: AbortSignal,
  run: (n: number) => Promise<unknown>,
): Promise<void> {
  const begun = performance.now();
  const running: Promise<unknown>[] = [];
  const failures: unknown[] = [];
  for (let n = 0; !signal.aborted; n++) {
    running.push(run(n).catch((error: unknown) => failures.push(error)));
    await wait(Math.max(0, begun + ((n + 1) * 1_000) / perSecond - performance.now()));
  }
  await Promise.all(running);
  if (failures.length > 0) throw new AggregateError(failures, `${failures.length} of ${running.length} failed`);
}

export interface Spread {
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export function spreadOf(timesMs: readonly number[]): Spread {
  const sorted = [...timesMs].sort((a, b) => a - b);
  const at = (share: number): number =>
    Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0) * 10) / 10;
  return { count: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}
