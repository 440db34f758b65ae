import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Document } from 'mongodb';
import { type CardNetwork, startCardNetwork } from '../../../examples/bank/card-network.ts';
import { bank } from '../../../examples/bank/module.ts';
import { consumerLag } from '../../../src/engine/delivery/delivery-health.ts';
import { buildModel } from '../../../src/index.ts';
import type { MongoOptions, PrivateServer, RedisOptions } from '../../../src/services/index.ts';
import { type Connection, connect } from '../../../src/store/connect.ts';
import { createDeliveryStore, type DeliveryStore } from '../../../src/store/delivery-store.ts';
import { until } from '../../setup/until.ts';
import { BankClients } from './bank-clients.ts';
import {
  checkBalances,
  checkEffects,
  checkFollower,
  checkLedger,
  checkReads,
  checkRealTime,
  checkSet,
  checkStreams,
  checkTransfers,
  type Finding,
  readStored,
} from './checkers.ts';
import type { Size } from './fault.ts';
import { History } from './history.ts';
import { Processes, type RoleProcess, ready, type StartRole } from './processes.ts';
import { type ProfileName, profiles } from './profiles.ts';
import { type Random, seeded } from './random.ts';
import { faultMongo, faultRedis, ReplicaSet } from './servers.ts';
import { TcpProxy } from './tcp-proxy.ts';
import { BalanceFollower } from './view-followers.ts';
import { CheckpointWatcher, EventFollower } from './watchers.ts';

const NAMES = { database: 'faults', prefix: 'faults' };
const model = buildModel([bank]);

export interface StageOptions {
  readonly profile: ProfileName;
  readonly seed: number;
  /** Holds what lasts as long as the stage. */
  readonly dataRoot: string;
  /** A replica set of one, or `three` members. */
  readonly mongo?: Partial<MongoOptions> | 'three';
  readonly redis?: Partial<RedisOptions>;
  /** Every process reaches MongoDB and Redis through links of its own. Default false. */
  readonly linked?: boolean;
  /** Default full. */
  readonly size?: Size;
}

/** The bank on servers of its own, with everything that a fault needs: processes, clients, watchers, checkers. */
export class Stage {
  readonly profile: ProfileName;
  readonly random: Random;
  readonly dataDir: string;
  readonly processes: Processes;
  readonly history: History;
  readonly clients: BankClients;
  /** Undefined with three members. */
  readonly #mongo: PrivateServer | undefined;
  readonly #set: ReplicaSet | undefined;
  readonly redis: PrivateServer;
  readonly connection: Connection;
  readonly store: DeliveryStore;
  readonly checkpoints: CheckpointWatcher;
  /** Where cards are charged and owners are told; it has faults of its own to switch on. */
  readonly network: CardNetwork;
  readonly links: TcpProxy[] = [];
  /** Of each linked process: resolves when it has ended and its links are closed. */
  readonly #unlinked: Promise<void>[] = [];
  readonly #linked: boolean;
  readonly #size: Size | undefined;
  readonly #followers: EventFollower[] = [];
  /** The first position that each of them is to see. */
  readonly #firsts: number[] = [];
  #balances: BalanceFollower | undefined;
  #ports: number[] = [];

  private constructor(
    options: StageOptions,
    dataDir: string,
    servers: { mongo: PrivateServer | undefined; set: ReplicaSet | undefined; redis: PrivateServer },
    connection: Connection,
    network: CardNetwork,
  ) {
    this.network = network;
    this.profile = options.profile;
    this.random = seeded(options.seed);
    this.dataDir = dataDir;
    this.#mongo = servers.mongo;
    this.#set = servers.set;
    this.redis = servers.redis;
    this.connection = connection;
    this.#linked = options.linked ?? false;
    this.#size = options.size;
    this.store = createDeliveryStore(connection.client, connection.db, 'main');
    this.checkpoints = new CheckpointWatcher(connection.client, NAMES.database);
    this.history = new History(join(dataDir, 'history.jsonl'));
    this.clients = new BankClients({ history: this.history, random: this.random, ports: () => this.#ports });
    this.processes = new Processes({
      logDir: join(dataDir, 'logs'),
      env: {
        NODE_ENV: 'test',
        MONGODB_URL: servers.mongo?.url ?? servers.set?.url ?? '',
        MONGODB_DATABASE: NAMES.database,
        REDIS_URL: servers.redis.url,
        REDIS_PREFIX: NAMES.prefix,
        LOG_PRETTY: 'false',
        LOG_LEVEL: 'info',
        CARD_NETWORK_URL: network.url,
        BANK_NOTIFY_URL: `${network.url}/notifications`,
        ...profiles[options.profile].env,
      },
    });
  }

  /** Starts the servers only. */
  static async open(options: StageOptions): Promise<Stage> {
    const dataDir = await mkdtemp(join(options.dataRoot, 'fault-'));
    const { electionTimeoutMs } = profiles[options.profile];
    const three = options.mongo === 'three';
    const [mongo, set, redis] = await Promise.all([
      options.mongo === 'three' ? undefined : faultMongo(dataDir, options.mongo),
      three ? ReplicaSet.start(dataDir, electionTimeoutMs) : undefined,
      faultRedis(dataDir, options.redis),
    ]);
    const url = mongo?.url ?? set?.url ?? '';
    const connection = await connect({ url, database: NAMES.database, appName: 'faults' });
    return new Stage(options, dataDir, { mongo, set, redis }, connection, await startCardNetwork());
  }

  /** What is to take this long where nothing else runs. A brief run shares the machine with other tests: its limits only end it. */
  mostMs(targetMs: number): number {
    return this.#size === 'brief' ? 6 * targetMs : targetMs;
  }
  get mongo(): PrivateServer {
    if (this.#mongo === undefined) throw new Error('this stage has three members');
    return this.#mongo;
  }
  get members(): ReplicaSet {
    if (this.#set === undefined) throw new Error('this stage has one mongod');
    return this.#set;
  }
  get mongoUrl(): string {
    return this.#mongo?.url ?? this.#set?.url ?? '';
  }
  get db() {
    return this.connection.db;
  }

  admin(command: Document): Promise<Document> {
    return this.connection.client.db('admin').command(command);
  }

  /** MongoDB's failpoint on commands; `off` ends it. */
  failCommands(mode: 'off' | 'alwaysOn' | { readonly times: number }, data: Document = {}): Promise<Document> {
    return this.admin({ configureFailPoint: 'failCommand', mode, ...(mode === 'off' ? {} : { data }) });
  }

  /** Starts a process and waits until it serves or works. */
  async start(role: StartRole['role'], options: Omit<StartRole, 'role'> = {}): Promise<RoleProcess> {
    const started = await this.begin(role, options);
    await ready(started);
    return started;
  }

  /** Starts a process without waiting for it. Gateways are known to clients from now on. */
  async begin(role: StartRole['role'], options: Omit<StartRole, 'role'> = {}): Promise<RoleProcess> {
    const links = this.#linked ? await this.#link() : undefined;
    const started = await this.processes.start({ ...options, role, env: { ...links?.env, ...options.env } });
    if (links !== undefined) this.#unlinked.push(started.exited.then(() => this.#unlink(links.proxies)));
    if (started.port !== 0 && !this.#ports.includes(started.port)) this.#ports.push(started.port);
    return started;
  }

  /** Clients do not ask this gateway any more. */
  forgetPort(port: number): void {
    this.#ports = this.#ports.filter((known) => known !== port);
  }

  get ports(): readonly number[] {
    return this.#ports;
  }

  async #link(): Promise<{ readonly proxies: readonly TcpProxy[]; readonly env: Record<string, string> }> {
    const [mongo, redis] = await Promise.all([TcpProxy.to(this.mongo.port), TcpProxy.to(this.redis.port)]);
    const proxies = [mongo, redis];
    this.links.push(...proxies);
    return {
      proxies,
      env: {
        // Direct: a client that looks for the members of the set would find the way around its link.
        MONGODB_URL: `mongodb://127.0.0.1:${mongo.port}/?directConnection=true`,
        REDIS_URL: `redis://127.0.0.1:${redis.port}`,
      },
    };
  }

  /** Its process is gone: there is nothing to break any more. */
  async #unlink(proxies: readonly TcpProxy[]): Promise<void> {
    for (const proxy of proxies) this.links.splice(this.links.indexOf(proxy), 1);
    await Promise.all(proxies.map((proxy) => proxy.close()));
  }

  /** Gateways and workers, followers and open accounts: what most faults begin with. */
  async populate(counts: { gateways: number; workers: number; accounts?: number }): Promise<{
    readonly gateways: RoleProcess[];
    readonly workers: RoleProcess[];
  }> {
    const [workers, gateways] = await Promise.all([
      Promise.all(Array.from({ length: counts.workers }, () => this.start('worker'))),
      Promise.all(Array.from({ length: counts.gateways }, () => this.start('gateway'))),
    ]);
    await this.follow();
    await this.clients.open(counts.accounts ?? 20);
    return { gateways, workers };
  }

  /** A subscriber of all events from now on (no command may be under way), and one of all balances. */
  async follow(): Promise<EventFollower> {
    // What was acknowledged gets its position a moment later.
    const end = await until('all events have their position', async () => {
      const [count, position] = await Promise.all([this.#eventCount(), this.store.log.end()]);
      return count === position ? position : undefined;
    });
    this.#firsts.push(end + 1);
    const follower = new EventFollower(() => this.#ports, this.#followers.length).start();
    this.#followers.push(follower);
    this.#balances ??= new BalanceFollower(() => this.#ports, 1).start();
    await until('the subscriber has a cursor', () => follower.begun || undefined, { timeoutMs: 20_000 });
    return follower;
  }

  async #eventCount(): Promise<number> {
    const [found] = await this.db
      .collection('commits')
      .aggregate<{ count: number }>([{ $group: { _id: null, count: { $sum: { $size: '$events' } } } }])
      .toArray();
    return found?.count ?? 0;
  }

  /** Waits until log, consumers and subscribers have everything that was acknowledged; how long that took. */
  async drained(usualMs: number): Promise<number> {
    const timeoutMs = this.mostMs(usualMs);
    const begun = performance.now();
    let seen: unknown;
    // What costs most comes last: a look must not slow what it waits for.
    const look = async (): Promise<true | undefined> => {
      const lags = await consumerLag(this.store, model);
      const followers = this.#followers.map(({ position }) => position);
      seen = { consumers: lags.map(({ consumer, position, end }) => ({ consumer, position, end })), followers };
      if (!lags.every(({ position, end }) => position >= end && followers.every((at) => at >= end))) return undefined;
      const open = await this.#openWork();
      seen = { ...(seen as object), open };
      if (open > 0) return undefined;
      const eventCount = await this.#eventCount();
      seen = { ...(seen as object), eventCount };
      const level = lags.every(({ position }) => position >= eventCount) && followers.every((at) => at >= eventCount);
      return level && (await this.#balancesShown()) ? true : undefined;
    };
    await until('everything acknowledged is in log, views and subscriptions', () => look().catch(() => undefined), {
      timeoutMs,
      seen: () => ({ ...(seen as object), unexpectedEnds: this.processes.unexpectedEnds() }),
    });
    return Math.round(performance.now() - begun);
  }

  /** Commands that wait for a worker, and transfers under way: more events are to come. */
  async #openWork(): Promise<number> {
    const waiting = { state: { $in: ['RECEIVED', 'RUNNING'] } };
    const [queued, requested, ended] = await Promise.all([
      this.db.collection('queued_commands').countDocuments(waiting),
      this.db.collection('events').countDocuments({ type: 'TransferRequested' }),
      this.db.collection('events').countDocuments({ type: { $in: ['TransferCompleted', 'TransferFailed'] } }),
    ]);
    return queued + requested - ended;
  }

  /** What was shown was taken away on purpose, as before a rebuild: versions begin anew. */
  forgetShown(): void {
    this.#balances?.shown.forgetVersions();
  }

  async #balancesShown(): Promise<boolean> {
    if (this.#balances === undefined) return true;
    const documents = await this.db.collection<{ _id: string; balance: number }>('view_account_g1').find().toArray();
    return documents.every(({ _id, balance }) => this.#balances?.shown.documents.get(_id)?.balance === balance);
  }

  /** All invariants that hold after any fault. */
  async findings(): Promise<readonly Finding[]> {
    await Promise.all([...this.#followers.map((one) => one.end()), this.#balances?.end()]);
    await this.checkpoints.end();
    const stored = await readStored(this.db, this.store);
    const { history } = this;
    return [
      checkSet(history, stored),
      checkStreams(history, stored),
      checkRealTime(history),
      checkReads(history, stored),
      checkEffects(stored),
      checkLedger(history, stored),
      checkTransfers(history, stored),
      ...this.#followers.map((follower, index) => checkFollower(follower, stored, this.#firsts[index] ?? 1)),
      ...(this.#balances === undefined ? [] : [checkBalances(this.#balances, stored)]),
      {
        name: 'checkpoints: never back, never beyond the log',
        lookedAt: this.checkpoints.lookCount,
        violations: this.checkpoints.violations.slice(0, 20),
      },
      {
        name: 'processes: only those ended that were ended',
        lookedAt: this.processes.all.length,
        violations: this.processes.unexpectedEnds(),
      },
    ];
  }

  /** Throws with everything that violates an invariant. */
  async expectInvariants(): Promise<void> {
    const violated = (await this.findings()).filter(({ violations }) => violations.length > 0);
    if (violated.length === 0) return;
    const lines = violated.map(({ name, violations }) => `${name}\n    ${violations.join('\n    ')}`);
    throw new Error(`invariants are violated (seed ${this.random.seed}):\n  ${lines.join('\n  ')}`);
  }

  /** Copies the history of the clients and the logs of all processes and servers. */
  async keep(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    for (const name of [
      'history.jsonl',
      'logs',
      'mongo.log',
      'redis.log',
      'member-0/mongo.log',
      'member-1/mongo.log',
      'member-2/mongo.log',
    ]) {
      await cp(join(this.dataDir, name), join(folder, name), { recursive: true }).catch(() => undefined);
    }
  }

  /** Kills and removes everything. */
  async close(): Promise<void> {
    await this.processes.killAll();
    await Promise.all([...this.#followers.map((one) => one.end()), this.#balances?.end()]);
    await this.checkpoints.end();
    await Promise.all(this.#unlinked);
    await this.store.partitions.close().catch(() => undefined);
    await this.connection.client.close().catch(() => undefined);
    await Promise.all([this.#mongo?.kill(), this.#set?.kill(), this.redis.kill(), this.network.close()]);
    await rm(this.dataDir, { recursive: true, force: true });
  }
}
